"""Options written as text: who answers when the store fails, and how the cookie was before."""

from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware
from session_middleware.config import options
from session_middleware.testing import FaultyStore
from tests.apps import list_app, visit
from tests.wsgi.acts import a_session, read

HERE = "tests.test_config_of_faults"


def unavailable(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("503 Closed", [("Content-Type", "application/json")])
    return [b"{}"]


@pytest.mark.parametrize("name", [f"{HERE}:unavailable", f"{HERE}.unavailable"])
def test_the_page_of_a_failed_store_is_named(name: str) -> None:
    """Promise 6: what an ini file names answers in place of the text of ours."""
    store = FaultyStore(MemoryStore())
    cookie = a_session(store)
    site = SessionMiddleware(list_app(read), store, **options({"unavailable": name}, ""))
    store.fail("load")
    response = visit(site, cookie=cookie)

    assert (response.status, response.body) == ("503 Closed", b"{}")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "write the name of a WSGI application, such as shop.pages:unavailable"),
        (f"{HERE}:no_such", "write the name of a WSGI application, such as shop.pages:unavailable"),
        ("no_such_module:page", "No module named 'no_such_module'"),
        (HERE, "write a WSGI application"),
    ],
)
def test_a_name_of_nothing_does_not_start(name: str, why: str) -> None:
    """Promise 15: and what to write."""
    with pytest.raises(ConfigurationError) as caught:
        SessionMiddleware.from_config(list_app(read), {"session.store": "memory:", "session.unavailable": name})

    assert why in str(caught.value)


def test_the_former_cookie_is_written_with_its_parts() -> None:
    """Promise 4: who changes the cookie in an ini file signs nobody out."""
    texts = {"cookie.domain": "example.com", "cookie.former.name": "session", "cookie.former.secure": "true"}

    assert options(texts, "") == {"cookie": CookiePolicy(domain="example.com", former=(CookiePolicy(secure=True),))}
    assert options({"cookie.former.name": "sid"}, "") == {"cookie": CookiePolicy(former=(CookiePolicy(name="sid"),))}


@pytest.mark.parametrize(("key", "text"), [("former.path", "app"), ("former.secure", "maybe"), ("former.former", "x")])
def test_a_former_cookie_that_no_browser_had_is_refused(key: str, text: Any) -> None:
    """Promise 15: the same checks."""
    with pytest.raises(ConfigurationError):
        options({f"cookie.{key}": text}, "")
