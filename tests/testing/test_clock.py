"""A clock in the hand of a test."""

import time
from datetime import timedelta

import pytest
import webtest

from session_middleware import Lifetime, SessionMiddleware, SQLiteStore
from session_middleware.testing import FakeClock, clock_in_hand, session_of, sign_in
from tests.testing import sites


def test_sessions_end_when_the_clock_says_so() -> None:
    """Promise 12: the idle timeout, to the second, without an option of the application."""
    client = webtest.TestApp(sites.wsgi(lifetime=Lifetime(idle=600, absolute=3600)))
    with clock_in_hand() as clock:
        sign_in(client, "alice")
        clock.advance(599)
        assert client.get("/").text == "alice []"
        clock.advance(timedelta(minutes=10))
        assert client.get("/").text == "None []"


def test_the_stores_of_this_process_go_by_it(tmp_path: object) -> None:
    """A record is gone from the store, too, and not only for the application."""
    site = SessionMiddleware(sites.app, SQLiteStore(f"{tmp_path}/sessions.sqlite3"))
    client = webtest.TestApp(site)
    with clock_in_hand(1_900_000_000) as clock:
        session_id = sign_in(client, "alice")
        assert site.manager.store.load(session_id) is not None
        clock.advance(86400)
        assert site.manager.store.load(session_id) is None
        assert session_of(client) is None


def test_the_time_is_put_back() -> None:
    """Also where the block raises."""
    before = time.time

    def fail() -> None:
        with clock_in_hand() as clock:
            assert time.time is clock
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert time.time is before


def test_a_fake_clock_begins_where_it_is_told() -> None:
    """Or now; and it goes back, too."""
    clock = FakeClock(100)
    clock.advance(-1)
    assert clock() == 99
    assert abs(FakeClock()() - time.time()) < 60
