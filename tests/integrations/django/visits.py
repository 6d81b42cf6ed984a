"""What visitors of the Django site do, and the ways to have our sessions in it."""

import json
import re
from typing import Any

from session_middleware import SessionMiddleware
from session_middleware.testing import FaultyStore
from tests.browser import Answer, Browser, in_process
from tests.integrations import django_site

WAYS = {
    "middleware": django_site.middleware(django_site.OURS),
    "wrapped": django_site.middleware(django_site.OURS),
    "engine": django_site.middleware(django_site.UNAVAILABLE, django_site.DJANGOS),
}
USER, BACKEND = "_auth_user_id", "django.contrib.auth.backends.ModelBackend"


def a_browser(way: str, store: FaultyStore, **options: Any) -> Browser:
    site: Any = django_site.make(store, **options)
    return Browser(in_process(SessionMiddleware(site, store, **options) if way == "wrapped" else site))


def csrf_token(page: Answer) -> str:
    found = re.search('name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def submit(browser: Browser, path: str, **fields: str) -> Answer:
    return browser.post(path, csrfmiddlewaretoken=csrf_token(browser.get(path)), **fields)


def sign_in(browser: Browser, user: str = "alice", password: str = "wonder") -> None:
    assert submit(browser, "/login/", username=user, password=password).status == 302


def sign_out(browser: Browser) -> None:
    answer = browser.post("/logout/", csrfmiddlewaretoken=csrf_token(browser.get("/form")))
    assert answer.status == 302


def whoami(browser: Browser) -> Any:
    return json.loads(browser.get("/whoami").text)


NOBODY = {"name": "", "user": None}
