"""What the pages about sessions in general say, is what sessions do."""

from typing import Any

import pytest
from webtest import TestApp

from session_middleware import MemoryStore, SessionManager
from session_middleware.manager import MAX_BYTES, Send
from session_middleware.stores.redis import RedisStore
from tests.book.pages import Page


def test_what_a_session_can_do_does_what_it_says() -> None:
    """The example signs in and keeps the cookie for thirty days; the transaction has stored the sign-in."""
    names = Page("how-to/using-sessions").run()
    response = TestApp(names["application"]).get("/")

    assert response.text == "sessions of alice: 1\n"
    assert "Max-Age=2592000" in response.headers["Set-Cookie"]
    (session,) = names["manager"].sessions_of("alice")
    assert session.data == {"cart": {"items": ["tea"]}, "orders": 1}
    copy = {"HTTP_COOKIE": response.headers["Set-Cookie"].partition(";")[0]}
    ended = TestApp(sign_out_of(names), extra_environ=copy).get("/", status=303)
    assert "Max-Age=0" in ended.headers["Set-Cookie"]
    assert names["manager"].sessions_of("alice") == []


def sign_out_of(names: dict[str, Any]) -> Any:
    application = names["application"]
    application.app = names["sign_out"]
    return application


def test_the_largest_session_is_the_one_that_is_named() -> None:
    """In KiB."""
    assert f"A session may have {MAX_BYTES // 1024} KiB" in Page("how-to/using-sessions").text


def test_two_sites_on_one_server_have_each_a_prefix_and_a_namespace(caplog: pytest.LogCaptureFixture) -> None:
    """As they stand; the server may be away when they start."""
    names = Page("how-to/two-sites").run()
    managers = [names["shop"].manager, names["forum"].manager]

    assert [manager.namespace for manager in managers] == ["shop", "forum"]
    assert {type(manager.store) for manager in managers} == {RedisStore}


def test_a_namespace_keeps_tokens_apart_and_does_not_divide_the_store() -> None:
    """A cookie of one site opens nothing on the other; listing and ending see both, if they have one prefix."""
    store = MemoryStore()
    shop, forum = SessionManager(store, namespace="shop"), SessionManager(store, namespace="forum")
    session = shop.open()
    session.login("alice")
    verdict = shop.commit(session)

    assert isinstance(verdict, Send)
    assert not shop.open(verdict.token).is_new
    assert forum.open(verdict.token).is_new
    assert [info.id for info in forum.sessions_of("alice")] == [session.id]
    assert forum.revoke_everybody() == 1
