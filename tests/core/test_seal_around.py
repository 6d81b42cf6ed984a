"""What a seal needs, what it leaves alone, and what it says."""

import importlib.util
import re
import sys

import pytest

from session_middleware import MemoryStore, Send, SessionManager
from session_middleware.seal import Seal
from tests.core.test_seal import OLD


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 15: whoever has not asked for sealing needs no cipher."""
    spec = importlib.util.find_spec("session_middleware.seal")
    assert spec is not None
    assert spec.loader is not None
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'session-middleware[seal]'")):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_a_session_without_a_seal_is_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Where all need one, each that has none opens nothing; there may be very many of them."""
    store = MemoryStore()
    plain = SessionManager(store)
    tokens = []
    for number in range(3):
        session = plain.open()
        session["a"] = number
        verdict = plain.commit(session)
        assert isinstance(verdict, Send)
        tokens.append(verdict.token)
    strict = SessionManager(store, seal=Seal(OLD, require=True))
    assert [dict(strict.open(token)) for token in tokens] == [{}, {}, {}]

    assert caplog.text.count("sessions without a seal are not opened") == 1
    assert [dict(plain.open(token)) for token in tokens] == [{"a": 0}, {"a": 1}, {"a": 2}]


def test_what_was_written_over_is_not_replaced() -> None:
    """The version that was found is not known any more: it has to be loaded again."""
    manager = SessionManager(MemoryStore())
    session = manager.open()
    session["a"] = 1
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    found = manager._sessions.find(verdict.token.id)
    assert found is not None
    assert manager._sessions.replace(found._replace(version=None), found.envelope, found.values) is None
    assert manager._sessions.replace(found, found.envelope, found.values) is not None
