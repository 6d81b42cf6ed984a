"""What every store gets of sealed sessions."""

from collections.abc import Callable
from typing import Any

import pytest

from session_middleware import Send, SessionManager, Store, UserIndexed
from session_middleware.seal import Seal

USER, ALIAS, VALUE, NAME = "alice@example.com", "the sid of alice", "a telling value", "a telling name"


class Listened:
    """A store around another that keeps whatever it is given, and whatever it gives."""

    def __init__(self, inner: Store) -> None:
        self._inner = inner
        self.heard: list[str] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        return self._listened(found) if callable(found) else found

    def _listened(self, verb: Callable[..., Any]) -> Callable[..., Any]:
        def asked(*args: Any, **options: Any) -> Any:
            result = verb(*args, **options)
            self.heard.append(repr((args, options, result)))
            return result

        return asked


class Indexed(Listened):
    def keys_of(self, user_id: str) -> Any:
        self.heard.append(user_id)
        return self._inner.keys_of(user_id)  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [20, pytest.param(1000, marks=pytest.mark.soak)])
def test_no_store_is_told_anything(store: Store, number: int) -> None:
    """Promise 25: no value, name, user, alias or device is in what a store gets, nor is the digest of one."""
    there = (Indexed if isinstance(store, UserIndexed) else Listened)(store)
    manager = SessionManager(there, seal=Seal(bytes(range(32)), require=True))
    for _ in range(number):
        session = manager.open()
        session[NAME] = VALUE
        verdict = manager.commit(session)
        assert isinstance(verdict, Send)
        session = manager.open(verdict.token)
        session.login(USER, alias=ALIAS)
        session.amend(device="Firefox on Linux")
        manager.commit(session)
    listed = manager.sessions_with(ALIAS)
    assert {info.data for info in listed} == {None}
    if isinstance(store, UserIndexed):
        assert manager.revoke_all(USER, keep=listed[0].id) > 0
    plain = SessionManager(store)
    told = [USER, ALIAS, VALUE, NAME, "Firefox", plain._mark_id(USER), plain._names.aliases(ALIAS)[0]]
    heard = "\n".join(there.heard)
    assert [word for word in told if word in heard] == []
    assert heard.count(listed[0].id) > 3
