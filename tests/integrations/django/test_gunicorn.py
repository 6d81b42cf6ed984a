"""Django with our sessions under gunicorn, from sign-in to sign-out."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.browser import Browser, over_http
from tests.integrations import django_site
from tests.integrations.acts import MEETING
from tests.integrations.contract import answer
from tests.integrations.django.visits import NOBODY, WAYS, sign_out, submit, whoami
from tests.servers.gunicorn import Gunicorn


@pytest.fixture(params=["middleware", "engine"], scope="class")
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gunicorn]:
    """The site with its users, under gunicorn."""
    directory = tmp_path_factory.mktemp("site")
    env = {"SITE_DATABASE": str(directory / "users.sqlite3"), "SITE_SESSIONS": " ".join(WAYS[request.param][:2])}
    if request.param == "middleware":
        env["SITE_SESSIONS"] = django_site.OURS
    arguments = ("--worker-class", "gthread", "--threads", "8")
    site = "tests.integrations.django_site:make_with_users()"
    with Gunicorn(site, *arguments, cwd=directory, env=env) as server:
        yield server


class TestUnderGunicorn:
    """With a real HTTP client; what needs no users is in the contract."""

    def test_a_visit_from_sign_in_to_sign_out(self, server: Gunicorn) -> None:
        """Promises 5, 8, 11 and 16, one after the other, in one browser."""
        browser = Browser(over_http(server.url))
        answer(browser, "append?value=tea")
        before = browser.token
        assert submit(browser, "/admin/login/", username="alice", password="wonder", next="/admin/").status == 302
        assert browser.token not in (before, None)
        assert "Site administration" in browser.get("/admin/").text

        page = browser.get("/sign-in-and-fail")
        assert page.status == 500
        answer(browser, "append?value=coffee")
        assert answer(browser, "show")["data"]["cart"] == {"items": ["tea", "coffee"]}

        assert submit(browser, "/admin/auth/group/1/change/", name="writers").status == 302
        assert "was changed successfully" in browser.get("/admin/auth/group/").text
        assert "was changed successfully" not in browser.get("/admin/auth/group/").text

        signed_in = browser.token
        sign_out(browser)
        for dead in (before, signed_in):
            browser.token = str(dead)
            assert whoami(browser) == NOBODY
        assert "Forbidden" not in server.log()

    def test_parallel_requests_keep_each_others_changes(self, server: Gunicorn) -> None:
        """Promise 3: all of them have the session open before any of them is stored."""
        browser = Browser(over_http(server.url))
        answer(browser, "put?key=before&value=yes")
        others = [Browser(over_http(server.url)) for _ in range(MEETING)]
        for other in others:
            other.cookies = dict(browser.cookies)
        with ThreadPoolExecutor(MEETING) as pool:
            met = list(pool.map(answer, others, [f"meet?key=k{number}&value=v" for number in range(MEETING)]))

        assert met == [{"known": 1}] * MEETING
        assert answer(browser, "show")["data"] == {"before": "yes"} | {f"k{number}": "v" for number in range(MEETING)}
