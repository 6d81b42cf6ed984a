"""Django's engine of sessions: the key is the token, and what code does by hand with it holds."""

import sys
from types import ModuleType
from typing import Any

import pytest
from django.contrib.sessions.backends.base import CreateError, UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangosMiddleware
from django.test import override_settings

from session_middleware import StoreUnavailable
from session_middleware.integrations.django import SessionStore, manager
from session_middleware.integrations.moving import FromDjango
from session_middleware.rules import OVERLAP
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.integrations.django_api.sessions import NOW, OLD_KEY, OldSessions, a_token, carrying_over, the_requests
from tests.integrations.django_site import DJANGOS, OURS


class TestEngine:
    """``SessionStore``: what Django's middleware, its test client and commands do with it."""

    def test_the_key_is_the_token_and_the_store_sees_only_the_id(self, store: FaultyStore) -> None:
        """Promise 11; and it fits the columns of forty characters that others have for it."""
        assert SessionStore().session_key is None
        session = SessionStore()
        session.create()
        token = session.session_key

        assert token is not None
        assert len(token) == 40
        assert Token.read(token) is not None
        assert {key for _, key in store.calls if key} == {session.id}
        assert session.exists(token)
        assert session.exists(session.id)

    @pytest.mark.parametrize("key", ["", "short", "x" * 39, "x" * 41, "0" * 32, "../../../etc/passwd" * 3, 5, None])
    def test_what_has_not_the_form_of_a_token_reaches_no_store(self, store: FaultyStore, key: Any) -> None:
        """Promise 11: and is no key."""
        session = SessionStore(key)

        assert (session.session_key, session.is_empty(), dict(session)) == (None, True, {})
        assert store.calls == []

    def test_an_unknown_token_is_never_adopted(self) -> None:
        """Promise 11: saving gives it one of ours."""
        theirs = Token.new().reveal()
        assert SessionStore(theirs).session_key == theirs
        session = SessionStore(theirs)
        session["name"] = "value"
        unsaved = session.session_key
        session.save()

        assert unsaved is None
        assert session.session_key not in (None, theirs)
        assert not session.exists(theirs)

    def test_what_is_empty_is_kept_if_it_is_saved(self) -> None:
        """``create()`` and ``save()`` make a session in any case: people ask for the key of a visitor's cart."""
        for make in (SessionStore.create, SessionStore.save, lambda session: session.save(must_create=True)):
            session = SessionStore()
            make(session)
            assert session.exists(session.session_key)

    def test_create_gives_a_session_that_is_there_another_key(self) -> None:
        """Promise 19: no second session with the data of the first, that would outlive its end."""
        session = SessionStore(a_token(name="value"))
        before, name = session.session_key, session.id
        session.create()

        assert session.session_key != before
        assert session.id == name
        assert dict(SessionStore(session.session_key)) == {"name": "value"}
        assert dict(SessionStore(before)) == {}
        SessionStore().delete(name)
        with pytest.raises(UpdateError):
            session.create()

    def test_must_create_refuses_what_is_there(self) -> None:
        """``CreateError``."""
        with pytest.raises(CreateError):
            SessionStore(a_token(name="value")).save(must_create=True)

    def test_a_private_key_may_be_assigned(self) -> None:
        """Django's own engines do it, and so do theirs that are derived; the data stay."""
        session = SessionStore(a_token(name="value"))
        _ = session["name"]
        session["_auth_user_id"] = "5"
        session._session_key = None
        assert (session.session_key, dict(session)) == (None, {"name": "value", "_auth_user_id": "5"})
        session._session_key = "junk"
        assert session.session_key is None
        session.save()
        assert [info.data["name"] for info in manager().sessions_of("5")] == ["value"]

    def test_parallel_changes_are_merged(self) -> None:
        """Promise 3: each saves what it changed over what the other has."""
        token = a_token(old="yes", cart={"items": ["tea"]})
        one, other = SessionStore(token), SessionStore(token)
        one["one"] = 1
        other["cart"]["items"].append("coffee")
        one.save()
        other.save()
        one["again"] = 1
        one.save()

        assert dict(SessionStore(token)) == {"old": "yes", "cart": {"items": ["tea", "coffee"]}, "one": 1, "again": 1}

    def test_a_save_is_a_use(self, clock: FakeClock) -> None:
        """Promise 12: the idle timeout starts anew with each save, as Django has it."""
        token = a_token(name="value")
        for _ in range(5):
            clock.advance(900)
            SessionStore(token).save()

        assert dict(SessionStore(token)) == {"name": "value"}

    def test_cycle_key_is_stored_by_save_and_only_then(self) -> None:
        """Promises 11 and 16: a request that fails in between has changed nothing; once saved, the old key is dead."""
        before = a_token(name="value")
        session = SessionStore(before)
        for _ in range(2):
            session.cycle_key()
            unsaved = session.session_key
            assert unsaved != before
            assert not session.exists(before)
            assert SessionStore().exists(before)
            assert session.load() == {"name": "value"}
            session.save()

            assert session.session_key == unsaved
            assert not SessionStore().exists(before)
            assert dict(SessionStore(session.session_key)) == session.load() == {"name": "value"}
            before = unsaved

    def test_a_session_that_has_another_key_by_now_is_not_saved_under_the_old_one(self) -> None:
        """``UpdateError``: Django would send the old token again. The changes are with the session (promise 3)."""
        token = a_token(name="value")
        slow, late = SessionStore(token), SessionStore(token)
        slow["slow"] = "yes"
        session = SessionStore(token)
        session.cycle_key()
        session.save()

        with pytest.raises(UpdateError):
            slow.save()
        late["late"] = "yes"
        assert not late.is_empty()
        with pytest.raises(UpdateError):
            late.save()
        assert dict(SessionStore(session.session_key)) == {"name": "value", "slow": "yes"}

    def test_unmodified_leaves_out_what_was_changed_before(self) -> None:
        """``session.modified = False``, so that Django's middleware does not save; later changes count again."""
        session = SessionStore(a_token(name="value"))
        session["other"] = 5
        session.modified = False
        assert not session.modified
        session["list"] = []
        session.modified = False
        session["list"].append(1)
        assert session.modified

        unopened = SessionStore(a_token(name="value"))
        unopened.modified = False
        assert not unopened.modified

    def test_what_cannot_be_saved_is_not_modified(self) -> None:
        """Promises 5 and 20: Django's middleware saves nothing then, answers no 400, and leaves the new cookie alone."""
        token = a_token(name="value")
        session = SessionStore(token)
        session.cycle_key()
        session["_auth_user_id"] = "5"
        session.save()
        late = SessionStore(token)
        late["late"] = "yes"
        assert (late.modified, late.is_empty(), late.session_key) == (False, False, token)
        with pytest.raises(UpdateError):
            late.save()
        late.flush()

        assert (late.modified, late.is_empty()) == (False, False)
        assert "late" not in SessionStore(session.session_key)

    def test_a_sign_in_by_hand_is_recorded_and_keeps_its_key(self) -> None:
        """Tests that write the user's key themselves have no use for a new token; but the index has the user."""
        token = a_token(name="value")
        session = SessionStore(token)
        session["_auth_user_id"] = "5"
        session.save()

        assert session.session_key == token
        assert (session.user_id, session.signed_in_at) == ("5", NOW)
        assert [info.id for info in manager().sessions_of("5")] == [session.id]

    def test_sessions_are_ended_by_key_and_by_id(self) -> None:
        """``delete(key)``: at once."""
        by_key, by_id = a_token(name="value"), SessionStore(a_token(name="value"))
        SessionStore().delete(by_key)
        SessionStore().delete(by_id.id)
        SessionStore().delete()
        SessionStore().delete("junk")
        token = a_token(name="value")
        own = SessionStore(token)
        _ = own["name"]
        own.delete()
        SessionStore(unopened := a_token(name="value")).delete()

        assert not SessionStore().exists(token)
        assert not SessionStore().exists(unopened)
        assert not SessionStore().exists(by_key)
        assert not SessionStore().exists(by_id.session_key)

    @pytest.mark.parametrize(
        "names",
        [
            [DJANGOS],
            [OURS, DJANGOS],
            [OURS, f"{__name__}.DerivedMiddleware"],
            [OURS, f"{__name__}.middleware_of_others"],
            [],
        ],
    )
    def test_the_id_sent_as_a_cookie_opens_nothing_and_ends_nothing(self, names: list[str]) -> None:
        """Design, "Words": wherever a cookie may reach the engine, the public id opens nothing."""
        session = SessionStore(a_token(name="value"))
        with override_settings(MIDDLEWARE=names):
            thief = SessionStore(session.id)

            assert dict(thief) == {}
            thief.flush()
        assert dict(SessionStore(session.session_key)) == {"name": "value"}

    def test_where_channels_reads_cookies_the_id_opens_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Design, "Words": it gives the engine what the cookie of a socket holds."""
        session = SessionStore(a_token(name="value"))
        monkeypatch.setitem(sys.modules, "channels.sessions", ModuleType("channels.sessions"))

        assert dict(SessionStore(session.id)) == {}

    def test_the_id_sent_to_our_middleware_opens_nothing(self) -> None:
        """Design, "Words": it reads cookies by itself, and takes tokens alone."""
        token = a_token(name="value")

        assert dict(the_requests(SessionStore(token).id)) == {}
        assert dict(the_requests(token)) == {"name": "value"}

    def test_trusted_code_opens_a_session_by_its_id(self, clock: FakeClock) -> None:
        """``SessionStore(session_key)``, as applications list and change sessions, with the keys that it tells."""
        token = a_token(name="value")
        key = the_requests(token).session_key
        session = SessionStore(key)
        assert (session.session_key, session["name"], session.load()) == (key, "value", {"name": "value"})
        session["name"] = "other"
        session.save()
        session.save()
        assert (session.session_key, dict(SessionStore(token))) == (key, {"name": "other"})

        session.flush()
        assert dict(SessionStore(token)) == {}
        late = SessionStore(key)
        assert (dict(late), late.session_key) == ({}, None)
        late["name"] = "value"
        late.save()
        assert late.session_key not in (None, key)

    def test_who_opens_by_the_id_can_change_the_secret(self) -> None:
        """``cycle_key()``: the cookie of before is dead, and the key is the new token."""
        token = a_token(name="value")
        session = SessionStore(SessionStore(token).id)
        session.cycle_key()
        session.save()
        assert len(session.session_key) == 40
        session.save()

        assert dict(SessionStore(token)) == {}
        assert dict(SessionStore(session.session_key)) == {"name": "value"}

    def test_what_was_opened_by_the_id_and_has_ended_is_not_saved(self) -> None:
        """``UpdateError``, promise 5."""
        token = a_token(name="value")
        session = SessionStore(SessionStore(token).id)
        session["late"] = "yes"
        SessionStore(token).flush()

        with pytest.raises(UpdateError):
            session.save()

    def test_opening_by_the_id_does_not_use_a_secret_up(self, store: FaultyStore) -> None:
        """Promise 20: a secret that was renewed works until its browser has used the next one, whatever others open."""
        old, clock = OldSessions(), FakeClock()
        options = {"store": store, "clock": clock, "carry_over": lambda: carrying_over(old, "session")}
        with override_settings(SESSION_MIDDLEWARE=options):
            session = SessionStore(OLD_KEY)
            session.save()
            other = SessionStore(session.id)
            other["other"] = 1
            other.save()
            clock.advance(OVERLAP + 1)

            assert dict(SessionStore(OLD_KEY)) == {"_auth_user_id": "5", "other": 1}

    def test_what_carries_sessions_over_may_open_one_of_ours(self, store: FaultyStore) -> None:
        """While the settings are read: it gets the store, and nobody waits for themselves."""

        def carry_over() -> FromDjango:
            opened.append(SessionStore())
            opened[0].save()
            return carrying_over(old, "session")

        opened: list[SessionStore] = []
        old = OldSessions()
        with override_settings(SESSION_MIDDLEWARE={"store": store, "carry_over": carry_over}):
            assert SessionStore(OLD_KEY).load() == {"_auth_user_id": "5"}
            assert SessionStore().exists(opened[0].session_key)
        assert len(opened) == 1

    @pytest.mark.parametrize("use", ["load", "save", "flush", "exists"])
    def test_a_store_that_fails_is_no_answer(self, store: FaultyStore, use: str) -> None:
        """Promise 7: it does not read as "no session"."""
        token = a_token(name="value")
        session = SessionStore(token)
        store.fail(times=None)

        with pytest.raises(StoreUnavailable):
            getattr(session, use)(*([token] if use == "exists" else []))
        with pytest.raises(StoreUnavailable):
            _ = session["name"]
        assert (session.session_key, session.is_empty(), session.modified) == (token, False, False)
        store.heal()

    def test_a_save_that_fails_can_be_tried_again(self, store: FaultyStore) -> None:
        """Promise 6."""
        session = SessionStore(a_token(name="value"))
        session["name"] = "other"
        store.fail("update")
        with pytest.raises(StoreUnavailable):
            session.save()
        session.save()

        assert session.load() == {"name": "other"}

    @pytest.mark.parametrize("old_key", ["k" * 32, "k" * 40])
    def test_a_session_of_djangos_own_engine_is_carried_over_once(self, store: FaultyStore, old_key: str) -> None:
        """Users stay signed in through the move: the old key opens it until the new one, which Django sends, was used."""
        old, clock = OldSessions(old_key), FakeClock()
        options = {"store": store, "clock": clock, "carry_over": lambda: carrying_over(old, "session")}
        with override_settings(SESSION_MIDDLEWARE=options):
            session = SessionStore(old_key)
            assert (session.is_empty(), session.modified) == (False, True) or len(old_key) == 40
            assert SessionStore(old_key).load() == dict(session) == {"_auth_user_id": "5"}
            assert (session.is_empty(), session.modified, session.session_key) == (False, True, old_key)
            session.save()

            assert old.kept == {}
            assert Token.read(session.session_key) is not None
            assert dict(SessionStore(session.session_key)) == dict(SessionStore(old_key)) == {"_auth_user_id": "5"}
            assert [info.user_id for info in manager().sessions_of("5")] == ["5"]
            SessionStore(session.session_key).save()
            clock.advance(OVERLAP)
            assert dict(SessionStore(session.session_key)) == {"_auth_user_id": "5"}
            assert dict(SessionStore(old_key)) == {}
            assert SessionStore("no key").is_empty()

    def test_a_request_with_the_old_key_that_comes_late_leaves_the_new_one_alone(self, store: FaultyStore) -> None:
        """Promise 20: Django would send the old key again; what was changed is kept."""
        old = OldSessions()
        options = {"store": store, "carry_over": lambda: carrying_over(old, "session")}
        with override_settings(SESSION_MIDDLEWARE=options):
            session = SessionStore(OLD_KEY)
            session.save()
            late = SessionStore(OLD_KEY)
            late["late"] = "yes"
            with pytest.raises(UpdateError):
                late.save()

            assert SessionStore(session.session_key)["late"] == "yes"


class DerivedMiddleware(DjangosMiddleware):  # type: ignore[misc]  # Django has no types
    """As people derive one from Django's."""


# As people write one that is derived from nothing.
middleware_of_others = type("SessionMiddleware", (), {})
