"""What a commit stores: changes laid over those of others, or nothing; new sessions, each under an id of its own."""

import logging
from collections.abc import Callable, Iterator

import pytest

from session_middleware import ConflictError, Forget, MemoryStore, Record, Session
from session_middleware.record import Kind, Previous
from session_middleware.stores.base import Version
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token, well_formed
from tests.backends.running import SWEPT
from tests.sites import DATA, MADE_UP, Bare, Site, login, regenerate, setting


class TestChanges:
    def test_changes_of_different_keys_all_survive(self, site: Site) -> None:
        """Promise 3: set, deleted, nested, whichever commits last."""
        token = site.begin({"a": 1, "b": 1, "list": [1], "gone": 1})
        first, second = site.loaded(token), site.loaded(token)
        first["a"] = 2
        del first["gone"]
        second["list"].append(2)
        second["new"] = 1
        site.manager.commit(first)
        site.manager.commit(second)

        assert site.data(token) == {"a": 2, "b": 1, "list": [1, 2], "new": 1}
        assert second == site.data(token)

    def test_of_one_key_the_last_commit_wins(self, site: Site) -> None:
        """Promise 3: as documented; the value is kept whole."""
        token = site.begin({"a": {"x": 1}})
        first, second = site.loaded(token), site.loaded(token)
        first["a"]["y"] = 1
        second["a"]["z"] = 1
        site.manager.commit(second)
        site.manager.commit(first)

        assert site.data(token) == {"a": {"x": 1, "y": 1}}

    def test_a_key_that_one_request_deletes_and_another_changes_follows_the_last(self, site: Site) -> None:
        """Promise 3, for the deletion too."""
        token = site.begin({"a": 1, "b": 1})
        first, second = site.loaded(token), site.loaded(token)
        del first["a"], second["b"]
        first["b"] = second["a"] = 2
        site.manager.commit(first)
        site.manager.commit(second)

        assert site.data(token) == {"a": 2}

    def test_lifetimes_are_merged_one_by_one(self, site: Site) -> None:
        """Promise 3: what one request set is not undone by another that set something else."""
        token = site.begin()
        first, second = site.loaded(token), site.loaded(token)
        first.set_lifetime(idle=600)
        second.set_lifetime(absolute=900)
        site.manager.commit(first)
        site.manager.commit(second)
        site.clock.advance(599)
        site.request(token, setting("a", 2))

        assert site.open(token).expires_at == site.open(token).created_at + 900

    def test_the_same_change_twice_is_written_once(self, site: Site) -> None:
        """Promise 2: there is nothing left to store."""
        token = site.begin()
        first, second = site.loaded(token), site.loaded(token)
        first["a"] = second["a"] = 2
        site.manager.commit(first)

        assert site.calls(lambda: site.manager.commit(second)) == ["update", "load"]

    def test_values_that_the_application_holds_stay_the_same_objects(self, site: Site) -> None:
        """Promise 8: a late change inside one of them is still stored."""
        token = site.begin({"held": [1], "theirs": [1]})
        session = site.loaded(token)
        held = session["held"]
        session["mine"] = 1
        site.request(token, lambda other: other["theirs"].append(2))
        site.manager.commit(session)
        session.announced = True
        held.append(2)
        site.manager.commit(session)

        assert site.data(token) == {"held": [1, 2], "theirs": [1, 2], "mine": 1}

    def test_a_write_to_a_session_that_has_ended_is_dropped(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 5: the request keeps its response; one log line, and nothing for the browser."""
        caplog.set_level(logging.INFO, "session_middleware")
        token = site.begin()
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        session["a"] = 2

        assert site.manager.commit(session) is None
        session.announced = True
        session["a"] = 3
        assert site.manager.commit(session) is None
        assert site.live() == []
        assert caplog.text.count(f"session {session.id} ended while a request was using it") == 1
        assert token.reveal()[12:] not in caplog.text


class TestNewSecrets:
    """``regenerate()`` beside what other requests do to the session."""

    def test_a_write_is_laid_over_a_session_with_a_new_secret(self, site: Site) -> None:
        """Promise 3: who had the session before loses nothing, and the browser is told nothing more."""
        token = new = site.begin()
        session = site.loaded(token)
        for _ in range(5):
            new = site.follow(new, regenerate)
        session["mine"] = 1

        assert site.manager.commit(session) is None
        assert site.data(new) == {**DATA, "regenerated": True, "mine": 1}
        assert len(site.live()) == 1

    def test_a_regenerate_meets_a_change(self, site: Site) -> None:
        """Promise 3: what was written meanwhile is there."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, setting("theirs", 1))
        regenerate(session)

        assert site.data(site.sent(session)) == {**DATA, "regenerated": True, "theirs": 1}
        assert not site.is_alive(token)

    def test_of_two_regenerates_one_names_the_token(self, site: Site) -> None:
        """Promise 11: the later one stores its changes and sends no cookie, so no response names a dead token."""
        token = site.begin()
        first, second = site.loaded(token), site.loaded(token)
        first["first"] = second["second"] = 1
        first.regenerate()
        second.regenerate()
        new = site.sent(first)

        assert site.manager.commit(second) is None
        assert site.data(new) == {**DATA, "first": 1, "second": 1}
        assert len(site.live()) == 1

    def test_a_regenerate_of_a_session_that_has_ended_keeps_nothing(self, site: Site) -> None:
        """Promise 5: it sends no cookie, and no record is left."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        regenerate(session)

        assert site.manager.commit(session) is None
        assert session.is_gone
        assert not session.tells
        assert site.live() == []

    def test_a_change_in_place_does_not_bring_back_what_another_has_deleted(self, site: Site) -> None:
        """Promise 3: nobody asked for the key to be there; an assignment does."""
        token = site.begin({"cart": [1], "list": [1]})
        session = site.loaded(token)
        session["cart"].append(2)
        session["list"] = [*session["list"], 2]
        site.request(token, Session.clear)
        site.manager.commit(session)

        assert site.data(token) == session == {"list": [1, 2]}


class Stubborn(MemoryStore):
    """A store in which somebody else is always faster."""

    stubborn = False

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return not self.stubborn and super().update(key, record, version=version)


class TestGivingUp:
    """Promise 4: after less than four seconds, with an error that names the id; nothing is lost without a word."""

    @pytest.fixture
    def store(self) -> Stubborn:
        return Stubborn()

    @pytest.fixture(autouse=True)
    def _no_pause(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        pauses: list[float] = []
        monkeypatch.setattr("session_middleware.repository.time.sleep", pauses.append)
        yield
        assert 0 < sum(pauses) < 4
        assert max(pauses) < 0.1

    @pytest.mark.parametrize("act", [setting("a", 2), regenerate, login("alice"), lambda s: s.set_lifetime(idle=60)])
    def test_a_commit_that_is_always_too_late_raises(
        self, site: Site, store: Stubborn, act: Callable[[Session], object]
    ) -> None:
        """And leaves everything as it was."""
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True
        act(session)

        with pytest.raises(ConflictError, match=f"session {session.id} keeps changing"):
            site.manager.commit(session)
        assert site.data(token) == DATA
        assert site.live() == [DATA]

    def test_a_transaction_that_is_always_too_late_raises(self, site: Site, store: Stubborn) -> None:
        """It can be tried again."""
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True

        with pytest.raises(ConflictError, match=f"session {session.id} keeps changing"):
            session.transact(lambda data: data.update(a=2))
        assert site.data(token) == DATA
        store.stubborn = False
        session.transact(lambda data: data.update(a=2))
        assert site.data(token) == {**DATA, "a": 2}

    def test_an_end_that_is_always_too_late_raises(self, site: Site, store: Stubborn) -> None:
        """Promise 5: it never claims what it did not do."""
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True
        session.invalidate()

        with pytest.raises(ConflictError, match="keeps changing and could not be ended"):
            site.manager.commit(session)
        assert site.data(token) == DATA
        store.stubborn = False
        assert site.manager.commit(session) == Forget()
        assert site.records() == []

    def test_a_mark_that_is_always_too_late_raises(self, site: Site, store: Stubborn) -> None:
        """Promise 19: nobody is told that a user was signed out everywhere when that is not certain."""
        token = site.begin(user_id="alice")
        site.manager.revoke_all("alice", keep=token.id)
        store.stubborn = True

        with pytest.raises(ConflictError, match="signed out everywhere by too many requests"):
            site.manager.revoke_all("alice")
        assert site.is_alive(token)

    def test_a_revocation_never_gives_up(self, site: Site, store: Stubborn) -> None:
        """Promise 19: in the end the record is removed, whatever it may have become."""
        token = site.begin()
        store.stubborn = True

        assert site.manager.revoke(token.id)
        assert site.records() == []

    def test_a_note_that_is_always_too_late_is_forgotten(self, site: Site, store: Stubborn) -> None:
        """Promise 2: a reader is never bothered."""
        token = site.begin()
        state = site.loaded(token).state
        assert state is not None
        assert state.found is not None
        before = Previous(b"p" * 16, Kind.RENEWED, None)
        site.manager._sessions.replace(state.found, state.envelope._replace(previous=(before,)), state.found.values)
        store.stubborn = True

        assert site.request(token, len) is None


class TestCreating:
    def test_an_id_that_is_taken_is_not_touched(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 11, A-7.2.3: creating is not saving; another id is drawn."""
        taken = site.begin({"theirs": 1})
        drawn = iter([taken, taken, MADE_UP])
        monkeypatch.setattr(Token, "new", lambda key=None: next(drawn))

        assert site.begin({"mine": 1}) == MADE_UP
        assert site.data(taken) == {"theirs": 1}

    def test_tokens_are_fresh(self, site: Site) -> None:
        """Promise 11: 40 characters of base64url, neither id nor secret ever the same."""
        found = [site.begin({"a": 1}).reveal() for _ in range(100)]

        assert all(map(well_formed, found))
        assert len({text[:12] for text in found}) == len({text[12:] for text in found}) == 100

    def test_use_stores_a_session_without_data(self, site: Site) -> None:
        """For an integration whose framework keeps empty sessions; and it restarts the idle timeout of another one."""
        session = site.open()
        session.use()
        assert session.modified
        token = site.sent(session)
        site.clock.advance(30)
        site.request(token, Session.use)

        assert site.data(token) == {}
        assert site.open(token).last_seen_at == site.clock()

    def test_revert_undoes_what_is_not_stored_yet(self, site: Site) -> None:
        """The data alone."""
        token = site.begin()
        session = site.open(token)
        session.set_lifetime(idle=600)
        session["a"] = 2
        session["list"].append(2)
        session.revert()
        assert session == DATA
        site.manager.commit(session)

        assert site.data(token) == DATA
        assert site.open(token).expires_at == site.clock() + 600

    @pytest.mark.parametrize("store", SWEPT, indirect=True)
    def test_expired_records_are_swept_as_sessions_are_created(self, site: Site) -> None:
        """Promise 13: a bounded batch now and then, no cron; never by readers."""
        for number in range(150):
            site.store.inner.create(f"{number:012}", Record(b"old", 1, None))
        found = site.calls(lambda: [site.begin({"a": 1}) for _ in range(150)])

        assert found.count("sweep") == 3
        assert not site.store.inner.sweep(1000)  # type: ignore[attr-defined]  # both stores can
        assert "sweep" not in site.calls(lambda: [site.is_alive(MADE_UP) for _ in range(200)])

    @pytest.mark.parametrize("store", SWEPT, indirect=True)
    def test_a_failing_sweep_harms_nobody(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 13: the session is created; one log line."""
        site.store.fail("sweep")

        assert site.is_alive(site.begin())
        assert "could not remove expired sessions" in caplog.text

    def test_a_store_that_cleans_itself_is_not_swept(self, clock: FakeClock) -> None:
        """Sweeping is optional."""
        site = Site(Bare(), clock)

        assert site.calls(site.begin) == ["create"]
