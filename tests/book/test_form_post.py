"""What the page about forms that come from another site says, is what a browser does."""

import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pytest
from webtest import TestApp
from werkzeug.serving import make_server

from tests.book.pages import Page

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

    from playwright.sync_api import Browser


@pytest.fixture
def site() -> dict[str, Any]:
    return Page("how-to/form-post").run()


@pytest.mark.parametrize("path", ["/signed-in", "/signed-in?again"])
def test_a_form_of_another_site_comes_without_the_cookie(site: dict[str, Any], chromium: "Browser", path: str) -> None:
    """Sent again by our own page, it comes with it, and somebody is signed in; without that detour nobody is."""
    seen: list[tuple[str, bool]] = []

    def both_sites(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        host, port = environ["HTTP_HOST"].split(":")
        if host == "localhost":  # the provider, another site than 127.0.0.1
            state = environ["QUERY_STRING"].partition("=")[2]
            start_response("200 OK", [("Content-Type", "text/html")])
            fields = f'<input name="state" value="{state}"><input name="answer" value="17">'
            form = f'<form method="post" action="http://127.0.0.1:{port}{path}">{fields}<button>Allow</button></form>'
            return [form.encode()]
        if environ["REQUEST_METHOD"] == "POST":
            seen.append((environ["QUERY_STRING"], "session=" in environ.get("HTTP_COOKIE", "")))
        return list(site["application"](environ, start_response))

    server = make_server("127.0.0.1", 0, both_sites, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        site["PROVIDER"] = f"http://localhost:{server.port}/"
        page = chromium.new_page()
        page.goto(f"http://127.0.0.1:{server.port}/begin")
        page.get_by_role("button", name="Allow").click()
        if path == "/signed-in":
            page.wait_for_url(f"http://127.0.0.1:{server.port}/")
            assert "hello, 17" in page.content()
            assert seen == [("", False), ("again", True)]
        else:
            page.wait_for_url(f"http://127.0.0.1:{server.port}{path}")
            assert "not begun here" in page.content()
            assert seen == [("again", False)]
        page.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_first_form_touches_no_session(site: dict[str, Any]) -> None:
    """No cookie is set; what it brings is in the second form, as text."""
    response = TestApp(site["application"]).post("/signed-in", {"state": "<b>", "answer": '"17"'})

    assert "Set-Cookie" not in response.headers
    assert "Vary" not in response.headers
    assert dict(response.form.submit_fields()) == {"state": "<b>", "answer": '"17"'}


def test_an_answer_counts_once(site: dict[str, Any]) -> None:
    """And only in the browser that has begun."""
    browser, other = TestApp(site["application"]), TestApp(site["application"])
    state = browser.get("/begin").location.partition("=")[2]
    answer = {"state": state, "answer": "17"}

    other.post("/signed-in?again", answer, status=403)
    browser.post("/signed-in?again", answer, status=303)
    browser.post("/signed-in?again", answer, status=403)
    assert browser.get("/").text == "hello, 17"
