"""Whoever tests an application sets the time by freezegun or time-machine, and sessions end by it, without an option."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import freezegun
import pytest
import time_machine
from flask import Flask

from session_middleware import (
    CookiePolicy,
    Lifetime,
    MemoryStore,
    MsgpackCodec,
    SessionManager,
    SessionMiddleware,
    SQLiteStore,
    Store,
)
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions
from session_middleware.stores.base import Record
from session_middleware.tokens import Token
from tests.backends.running import EMBEDDED
from tests.servers.direct import Site

At = Callable[[datetime], AbstractContextManager[Any]]

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
PLAIN = (date, datetime)


def by_freezegun(moment: datetime) -> AbstractContextManager[Any]:
    return freezegun.freeze_time(moment)


def by_time_machine(moment: datetime) -> AbstractContextManager[Any]:
    return time_machine.travel(moment, tick=False)


@pytest.fixture(params=[by_freezegun, by_time_machine])
def at(request: pytest.FixtureRequest) -> At:
    found: At = request.param
    return found


@pytest.fixture(params=EMBEDDED)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "sessions.sqlite3")


def test_a_session_ends_when_the_test_says_so(at: At, store: Store) -> None:
    """Promise 12: both timeouts, by a clock that was put there after everything was imported and made."""
    site = Site(store)
    with at(NOON):
        token = site.sign_in("alice")
    with at(NOON + HOUR - SECOND):
        assert site.visit(lambda session: [str(session.user_id).encode()], token).body == b"alice"
    with at(NOON + 3 * HOUR):
        assert site.visit(lambda session: [str(session.user_id).encode()], token).body == b"None"
        assert site.manager.sessions_of("alice") == []


def test_a_store_takes_the_time_of_the_test(at: At, store: Store) -> None:
    """A record is expired by the same clock as the session in it."""
    with at(NOON):
        assert store.create("k" * 12, Record(b"value", int((NOON + HOUR).timestamp()), None))
        assert store.load("k" * 12) is not None
    with at(NOON + 2 * HOUR):
        assert store.load("k" * 12) is None


def test_every_way_to_make_sessions_takes_the_time_of_the_test(at: At, store: Store) -> None:
    """None of them keeps the clock that it found when it was imported."""
    made = [
        SessionManager(store),
        SessionMiddleware(lambda environ, start_response: [], store).manager,
        SessionPlugin(store).manager,
        Sessions(Flask(__name__), store).manager,
        BeakerMiddleware.from_config(lambda environ, start_response: [], {}, store=store).manager,
    ]
    with at(NOON):
        assert [manager.now() for manager in made] == [NOON.timestamp()] * len(made)


def test_the_cookie_takes_the_time_of_the_test(at: At) -> None:
    """What a browser reads is what the test has set."""
    with at(NOON):
        header = CookiePolicy().for_scheme("http").header(Token.new(), max_age=60)
    assert "Expires=Tue, 01 Jan 2030 12:01:00 GMT" in header


def test_dates_that_freezegun_made_are_kept(at: At) -> None:
    """Promise 9: they are of a subclass, and come back as the plain type."""
    codec = MsgpackCodec()
    with at(NOON):
        for value in (datetime.now(), datetime.now(UTC), date.today(), [datetime.now(UTC)], {date.today(): 1}):
            assert codec.decode(codec.encode(value)) == value
        assert type(codec.decode(codec.encode(date.today()))) is PLAIN[0]
        assert type(codec.decode(codec.encode(datetime.now()))) is PLAIN[1]


def test_a_lifetime_is_measured_from_the_time_of_the_test(at: At) -> None:
    """The absolute timeout, too."""
    manager = SessionManager(MemoryStore(), lifetime=Lifetime(idle=None, absolute=60))
    with at(NOON):
        assert manager.open().expires_at == NOON.timestamp() + 60
