"""A session is not lost while it is carried over, whatever fails."""

import logging
import time
from typing import Any

import pytest

from session_middleware import MemoryStore, PayloadError, Record, takeover
from session_middleware.carry_over import Carried
from session_middleware.testing import FaultyStore
from tests.takeover.library import (
    ANNA,
    Act,
    Library,
    OldSession,
    Site,
    fails,
    increment,
    own,
    regenerating,
    removed,
    setting,
    sign_out,
    signing_in,
    told,
)


class TestFailure:
    @pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Service Unavailable", None])
    def test_a_failed_request_loses_nothing(self, site: Site, status: str | None) -> None:
        """Promise 16: it changes nothing and tells nothing; the next one finds everything."""
        for _ in range(2):
            if status is None:
                with pytest.raises(RuntimeError):
                    site.request(fails)
            else:
                assert site.request(regenerating, status=status).set_cookies == []
        assert site.opened(own(site.request())) == ANNA
        assert site.seen == ANNA
        assert site.library.sessions == {}

    def test_a_failed_request_ends_what_it_has_ended(self, site: Site) -> None:
        """Promise 16."""
        assert removed(site.request(sign_out, status="500 Internal Server Error")) == ["session", "old"]
        assert site.sees() == {}

    @pytest.mark.parametrize("call", ["read", "remove"])
    def test_a_failing_library_is_a_503_and_not_a_sign_out(self, site: Site, call: str) -> None:
        """Promise 7: no cookie is set or removed; when it answers again, the visitor is signed in."""
        site.library.fault = call
        response = site.request(setting("lost"))
        assert (response.status[:3], response.set_cookies) == ("503", [])
        assert response.values("Retry-After")
        site.library.fault = ""
        assert site.opened(own(site.request())) == ANNA

    def test_a_process_that_dies_between_the_two_stores_loses_nothing(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The session is there twice, and the next request removes the old one."""

        def die(self: OldSession) -> None:
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(OldSession, "remove", die)
            with pytest.raises(SystemExit):
                site.request()
        assert "anna" in site.library.sessions
        assert site.opened(own(site.request(setting("kept")))) == ANNA | {"kept": True}
        assert site.library.sessions == {}

    @pytest.mark.parametrize("applied", [False, True], ids=["not done", "done, not acknowledged"])
    @pytest.mark.parametrize("act", [dict, setting("a"), increment, regenerating, signing_in("7"), sign_out])
    def test_a_failure_of_our_store_at_any_call_loses_nothing(self, site: Site, act: Act, applied: bool) -> None:
        """Promise 7: whichever call fails, the session is there, once, for who tries again with what the browser has."""
        faulty = site.manager.store
        assert isinstance(faulty, FaultyStore)
        for at in range(1, 9):
            site.library.sessions["anna"] = Carried(ANNA, "7")
            faulty.fail("create", "load", "update", "delete", at=at, applied=applied)
            calls = len(faulty.calls)
            first = site.request(act)
            struck = len(faulty.calls) - calls >= at
            faulty.heal()
            if first.status[:3] == "503":
                assert first.set_cookies == []
                first = site.request(act)
            elif told(first) == [] and act is not sign_out:
                assert act is dict
                assert struck
                assert site.sees() == ANNA
            for token in told(first):
                assert site.opened(token).items() >= ANNA.items()
            if act is sign_out:
                assert site.sees() == {}
                assert site.manager.sessions_of("7") == []
            elif told(first) or act is dict:
                assert len(site.manager.sessions_of("7")) == 1
            site.manager.revoke_everybody()
            faulty.delete(site.token.id)
            if not struck:
                assert at > 4
                return
        raise AssertionError("there are more calls")

    def test_a_store_that_fails_for_long_leaves_the_session_there(self, site: Site, faulty: FaultyStore) -> None:
        for at in (1, 2):
            faulty.fail("create", "load", at=at, times=None)
            assert site.request().status[:3] == "503"
            assert "anna" in site.library.sessions
            faulty.heal()
        assert site.opened(own(site.request())) == ANNA

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            ({"a": object()}, "session['a']: object"),
            ({"a": [{"b": 1j}]}, "session['a'][0]['b']: complex"),
            ({1: "a"}, "a key of type int"),
            ({"\ud800": "a"}, "a key with a lone surrogate"),
            ({"a": "x" * 2000}, "over the limit"),
        ],
    )
    def test_what_cannot_be_kept_is_skipped_with_one_line(
        self, library: Library, data: dict[Any, Any], reason: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: an empty session and one line, and the old record is left alone."""
        library.sessions["anna"] = Carried(data)
        site = Site(MemoryStore(), library, max_bytes=1024)
        caplog.set_level(logging.INFO)
        assert site.sees() == {}
        (record,) = caplog.records
        assert reason in record.getMessage()
        assert f"session {site.token.id} is not carried over" in record.getMessage()
        assert "anna" not in record.getMessage()
        assert "anna" in library.sessions

    def test_what_the_library_refuses_is_skipped_with_its_reason(
        self, library: Library, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: OldSession, now: float) -> Carried:
            raise PayloadError("convert it like this")

        monkeypatch.setattr(OldSession, "read", refuse)
        site = Site(MemoryStore(), library)
        assert site.opened(own(site.request(setting("new")))) == {"new": True}
        assert [record.getMessage()[-20:] for record in caplog.records] == ["convert it like this"]

    def test_a_session_that_is_skipped_is_logged_once(
        self, library: Library, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its cookie comes with every request. What is remembered for that is bounded."""
        library.sessions = {name: Carried({"a": object()}) for name in ("anna", "bert")}
        site = Site(MemoryStore(), library)
        for name in ("anna", "anna", "bert", "anna", "bert"):
            site.request(cookie=f"{library.name}={name}")
        assert len(caplog.records) == 2

        monkeypatch.setattr(takeover, "_MOST_TOLD", 1)
        again = Site(MemoryStore(), library)
        for name in ("anna", "bert", "bert", "anna"):
            again.request(cookie=f"{library.name}={name}")
        assert len(caplog.records) == 5

    def test_a_damaged_record_opens_nothing(self, library: Library, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 10: never an exception, nothing is overwritten in place, and the old record is left where it is."""
        store = MemoryStore()
        site = Site(store, library)
        assert store.create(site.token.id, Record(b"damaged", int(time.time()) + 60, None))
        assert site.sees() == {}
        assert {record.levelname for record in caplog.records} == {"ERROR"}
        stored = store.load(site.token.id)
        assert stored is not None
        assert stored.value == b"damaged"
        assert "anna" in library.sessions
