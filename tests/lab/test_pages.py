"""Every page of the lab is whole, keeps to WSGI, and works without scripts."""

import importlib
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from wsgiref.validate import validator

import pytest

from tests.browser import Browser, Transport, forms_of, in_process, links_of, tags_of
from tests.lab.visits import ACTIONS, csrf_of, id_of, lines_of, sign_in

PAGES = ["/", "/attacks", "/sign-in"]

SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = "\"' onfocus=alert(1) x='"


@pytest.fixture
def validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    """The lab in process, with a validator on either side of each of its layers."""
    monkeypatch.chdir(tmp_path)
    recorder = importlib.import_module("examples.lab.app").make()
    middleware = recorder.app
    middleware.app = validator(middleware.app)
    recorder.app = validator(middleware)
    yield in_process(validator(recorder))
    middleware.manager.store.close()


def test_every_page_and_form_keeps_to_wsgi(validated: Transport) -> None:
    """PEP 3333: between the recorder, the middleware and the site, on the way in and on the way out."""
    browser = Browser(validated)
    for path in [*PAGES, "/untouched", "/nowhere", "/static/lab.css", "/probe/who"]:
        browser.get(path)
        browser.send("HEAD", path)
    sign_in(browser, "alice")
    csrf, back = csrf_of(browser), {"back": "/attacks"}
    fields = {"item": "Tea", "quantity": "1", "message": "Hello", "idle": "60", "remember": "1", "language": "ko", "id": "x"}
    answers = {path: browser.post(path, csrf=csrf, **fields, **back).status for path in ACTIONS if path != "/sign-out"}
    answers["/sessions"] = browser.get("/sessions").status
    answers["/sign-out"] = browser.post("/sign-out", csrf=csrf).status

    experiments = {path: status for path, status in answers.items() if path.startswith("/try/")}
    assert set(experiments.values()) == {503}
    assert {path for path, status in answers.items() if status == 303} >= {"/count", "/cart", "/flash", "/sign-out"}
    assert (answers["/probe/break"], answers["/probe/stream"], answers["/sessions"]) == (500, 200, 200)


def test_every_page_is_whole_and_every_link_leads_somewhere(browser: Browser) -> None:
    """What a visitor can click is there; each page has one heading of the first order, a title and a language."""
    sign_in(browser, "alice")
    links: set[str] = set()
    for path in [*PAGES, "/sessions", "/untouched"]:
        answer = browser.get(path)
        assert (answer.status, answer.header("Content-Type")) == (200, "text/html; charset=UTF-8")
        assert tags_of(answer.text).count("h1") == 1
        assert answer.text.rstrip().endswith("</html>")
        assert '<html lang="en">' in answer.text
        assert re.search("<title>[^<]+</title>", answer.text)
        assert all(form.method == "post" and form.fields["csrf"] for form in forms_of(answer.text))
        links |= links_of(answer.text)

    paths = {link for link in links if not link.startswith("#")}
    assert paths >= {"/", "/attacks", "/sessions", "/untouched?language=en"}
    assert {link for link in paths if browser.get(link).status != 200} == set()


@pytest.mark.parametrize("path", [*PAGES, "/untouched", "/nowhere", "/sessions", "/probe/who", "/static/lab.css"])
def test_every_answer_has_a_strict_content_security_policy(browser: Browser, path: str) -> None:
    """No script, style or frame but the site's own files."""
    policy = browser.get(path).header("Content-Security-Policy")

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", [*PAGES, "/untouched", "/nowhere"])
def test_no_page_has_script_or_style_inline(browser: Browser, path: str) -> None:
    """So the policy need not allow it."""
    text = browser.get(path).text

    assert re.findall("<script(?![^>]* src=)|<style|<[^>]* (?:style|on[a-z]+)=", text) == []


def test_no_page_asks_for_anything_from_elsewhere(browser: Browser) -> None:
    """Every address on a page is a path of this site."""
    assert {link for path in PAGES for link in links_of(browser.get(path).text) if link[:1] not in "/#"} == set()


def test_pages_are_not_kept_by_caches(browser: Browser) -> None:
    """After signing out, the back button shows nobody's page."""
    for path in PAGES:
        assert "no-store" in browser.get(path).header("Cache-Control")


@pytest.mark.parametrize(
    ("name", "kind"), [("lab.css", "text/css"), ("lab.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
)
def test_a_static_file_does_not_touch_the_session(browser: Browser, name: str, kind: str) -> None:
    """Promise 1: no cookie, no Vary."""
    answer = browser.get(f"/static/{name}")

    assert answer.status == 200
    assert answer.header("Content-Type").startswith(kind)
    assert answer.all("Set-Cookie") == answer.all("Vary") == []


def test_the_page_that_touches_nothing_gets_no_session(browser: Browser) -> None:
    """Promise 1: neither without a session nor with one; the lab's own cookie is another matter."""
    assert [cookie.partition("=")[0] for cookie in browser.get("/untouched").all("Set-Cookie")] == ["lab"]
    sign_in(browser, "alice")
    answer = browser.get("/untouched")

    assert answer.all("Set-Cookie") == answer.all("Vary") == []


def test_what_is_not_there_is_not_found(browser: Browser) -> None:
    """404, without a session for whoever tries addresses."""
    for path in ("/nowhere", "/static/", "/static/../app.py", "/%ff", "/cart/"):
        answer = browser.get(path)
        assert answer.status == 404
        assert answer.all("Set-Cookie") == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/sign-out", "POST"),
        ("GET", "/sessions/revoke", "POST"),
        ("GET", "/try/parallel", "POST"),
        ("POST", "/attacks", "GET, HEAD"),
        ("POST", "/untouched", "GET, HEAD"),
        ("DELETE", "/sign-in", "GET, HEAD, POST"),
        ("POST", "/static/lab.css", "GET, HEAD"),
    ],
)
def test_a_method_that_a_page_does_not_have_is_refused(browser: Browser, method: str, path: str, allowed: str) -> None:
    """405, and which ones it has (RFC 9110, 15.5.6)."""
    answer = browser.send(method, path)

    assert (answer.status, answer.header("Allow")) == (405, allowed)


def test_head_is_get_without_the_body(browser: Browser) -> None:
    """RFC 9110, 9.3.2; also for a page whose end is made after the headers have left."""
    answer = browser.send("HEAD", "/sign-in")

    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.header("Content-Length")) > 500
    assert browser.send("HEAD", "/").body == b""


@pytest.mark.parametrize("path", PAGES)
def test_an_id_is_given_once(browser: Browser, path: str) -> None:
    """Else a label leads to the wrong place."""
    ids = re.findall(r' id="([^"]+)"', browser.get(path).text)

    assert sorted(ids) == sorted(set(ids))


def test_what_visitors_write_is_shown_as_text(transport: Transport) -> None:
    """In the cart, in a message, in the list of sessions, among the data and in the form that comes back."""
    attack = f"{ATTRIBUTE}{SCRIPT}{{title}}&lt;"
    element = "<b onfocus=alert(1)>"
    browser = sign_in(Browser(transport, user_agent=f"{element}/1.0 CFNetwork/1 Darwin/1"), "alice")
    browser.submit("/", "/cart", item=attack, quantity="1")
    browser.submit("/", "/flash", message=attack)
    wrong = browser.submit("/sign-in", "/sign-in", user=attack, password="x")
    browser.get("/" + "%3Cscript%3Ealert(1)%3C/script%3E", Cookie=f"{SCRIPT}={SCRIPT}")
    texts = [browser.get("/").text, browser.get("/sessions").text, browser.get("/").text, wrong.text]

    for text in texts:
        assert SCRIPT not in text
        assert not re.search("<[^>]* onfocus", re.sub('"[^"]*"', '""', text))
    assert f"<strong>{attack}</strong>" in unescape(texts[0])
    assert lines_of(browser) == [f"1 × {attack}"]
    assert f"<h2>{element} on iOS, 127.0.0.0/24</h2>" in unescape(texts[1])
    assert browser.submit("/", "/cart/remove", item=attack).status == 303
    assert lines_of(browser) == []


def test_the_lab_shows_both_sides(browser: Browser) -> None:
    """The attributes, the id and the data; neither the token nor the secret of the forms."""
    sign_in(browser, "alice")
    browser.submit("/", "/cart", item="a book", quantity="1")
    answer = browser.get("/")
    text = unescape(answer.text)

    for attribute in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert f"<code>{attribute}</code>" in text
    assert id_of(browser) in text
    assert "'a book'" in text
    assert text.count(csrf_of(browser)) == len(forms_of(answer.text))
    assert browser.token is not None
    assert browser.token not in str(answer.headers)
