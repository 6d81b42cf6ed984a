"""``request.session`` under our middleware for Django."""

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpResponse
from django.test import RequestFactory, override_settings

from session_middleware import ConflictError, MemoryStore
from session_middleware.integrations.django import SessionMiddleware, SessionStore, manager
from session_middleware.testing import FaultyStore
from tests.integrations.django_api.sessions import NOW, OLD_KEY, OldSessions, a_token, carrying_over, the_requests


class TestRequestSession:
    """``request.session`` under our middleware."""

    def test_the_key_is_the_id(self) -> None:
        """Promise 11: what an application keeps or logs of it is no cookie."""
        token = a_token(name="value")
        session = the_requests(token)

        assert session.session_key == session.id != token
        assert session.exists(session.session_key)
        assert session.exists(token)
        assert not session.exists("junk")
        assert (the_requests(None).session_key, the_requests(None).is_empty()) == (None, True)

    def test_load_answers_what_is_stored(self) -> None:
        """As Django's engines do, whatever the request has changed, and others meanwhile; of a new session nothing."""
        token = a_token(name="value")
        session, new, snapshot = the_requests(token), the_requests(None), the_requests(token)
        for changed in (session, new, snapshot):
            changed["mine"] = 1
        other = SessionStore(token)
        other["other"] = 2
        other.save()
        assert session.load() == {"name": "value", "other": 2}
        assert new.load() == {}

        other.cycle_key()
        other["_auth_user_id"] = "5"
        other.save()
        late = the_requests(token)
        assert late.load() == {"name": "value", "other": 2}
        assert session.load() == {"name": "value", "other": 2}
        SessionStore().delete(other.session_key)
        assert session.load() == {}

    @pytest.mark.parametrize("make", ["create", "save", "acreate", "asave"])
    def test_a_visitor_can_have_a_key_before_there_is_anything_to_keep(self, make: str) -> None:
        """``if not request.session.session_key: request.session.create()``: the key of a cart, kept with the response."""
        session = the_requests(None)
        method = getattr(session, make)
        async_to_sync(method)() if make.startswith("a") else method()
        key = session.session_key
        assert key is not None
        verdict: Any = manager().commit(session.underlying)

        assert the_requests(verdict.token.reveal()).session_key == key

    def test_save_stores_at_once(self) -> None:
        """A long request may show how far it has come."""
        token = a_token(done=0)
        session = the_requests(token)
        session["done"] = 50
        session.save()

        assert SessionStore(token)["done"] == 50
        SessionStore().delete(token)
        session["done"] = 100
        with pytest.raises(UpdateError):
            session.save()

    def test_what_is_saved_at_once_is_told_with_the_response(self) -> None:
        """Promise 20: the cookie lasts as long as the session that is stored already."""
        token = a_token(done=0)
        session = the_requests(token)
        session.set_expiry(timedelta(hours=2))
        session.save()
        assert SessionStore(token).expires_at == NOW + 7200
        verdict: Any = manager().commit(session.underlying)

        assert (verdict.token.reveal(), verdict.max_age) == (token, 7200)

    def test_a_new_secret_is_stored_when_the_browser_can_be_told(self) -> None:
        """Promise 20: a request that fails after ``save()`` has made nothing unreachable."""
        token = a_token(done=0)
        session = the_requests(token)
        session["done"] = 50
        session.cycle_key()
        session.save()

        assert manager().commit(session.underlying, failed=True) is None
        assert SessionStore(token)["done"] == 0

    def test_a_sign_in_meanwhile_is_not_written_to(self) -> None:
        """Promise 18: ``UpdateError``, as for a session that has ended; too many changes at once are a conflict."""
        token = a_token(done=0)
        slow, session = the_requests(token), the_requests(token)
        slow["slow"] = "yes"
        session.login("5")
        manager().commit(session.underlying)

        with pytest.raises(UpdateError):
            slow.save()
        assert [dict(info.data) for info in manager().sessions_of("5")] == [{"done": 0}]

    def test_a_save_that_keeps_losing_is_a_conflict(self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 4: it says so."""
        session = the_requests(a_token(done=0))
        session["done"] = 50
        monkeypatch.setattr(store, "update", lambda key, record, *, version: False)

        with pytest.raises(ConflictError):
            session.save()

    def test_other_sessions_can_be_ended_by_their_keys(self) -> None:
        """One sign-in at a time: the application keeps the key of the last one."""
        other = the_requests(a_token(name="value"))
        session = the_requests(a_token(name="value"))
        session.delete(other.session_key)
        assert not session.exists(other.session_key)
        session.delete(session.session_key)

        assert session.session_key is None

    def test_a_session_of_djangos_own_engine_is_carried_over_once(self) -> None:
        """Users stay signed in through the move, under another cookie, too."""
        for name in ("session", "sessionid"):
            old = OldSessions()
            with override_settings(SESSION_MIDDLEWARE={"store": MemoryStore(), "carry_over": carrying_over(old, name)}):
                request = RequestFactory().get("/", HTTP_COOKIE=f"{name}={OLD_KEY}")
                response = SessionMiddleware(lambda request: HttpResponse(request.session["_auth_user_id"]))(request)

                assert response.content == b"5"
                assert old.kept == {}
                assert set(response.cookies) == {"session", name}
                assert response.cookies[name].value == ("" if name == "sessionid" else response.cookies["session"].value)
