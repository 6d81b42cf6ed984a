"""What the manager promises: what is opened, what a commit stores, what is merged, listed and ended."""

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
    ConflictError,
    Forget,
    JSONCodec,
    Lifetime,
    MemoryStore,
    PayloadError,
    Record,
    Send,
    Session,
    SessionManager,
    SessionTooLarge,
    Store,
    Stored,
    StoreUnavailable,
    tokens,
)
from session_middleware.record import Moved, pack, pack_moved
from session_middleware.repository import Repository
from session_middleware.stores.base import Version
from session_middleware.testing import FakeClock, FaultyStore
from tests.backends.running import SWEPT
from tests.sites import DATA, AgedStore, Site, setting

HOUR = 3600
DAY = 86400
MOVED_FOR = 30


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def site(store: Store, clock: FakeClock) -> Site:
    return Site(store, clock)


class Stubborn(MemoryStore):
    """A store in which somebody else is always faster."""

    stubborn = False

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return not self.stubborn and super().update(key, record, version=version)


@pytest.fixture
def stubborn(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Site, Stubborn]]:
    """A site on a store that can be told to refuse every update; no pause between tries takes time."""
    pauses: list[float] = []
    monkeypatch.setattr("session_middleware.repository.time.sleep", pauses.append)
    store = Stubborn()
    yield Site(store, clock), store
    assert 0 < sum(pauses) < 4
    assert max(pauses) < 0.1


def login(user_id: str, **data: object) -> Callable[[Session], object]:
    def act(session: Session) -> None:
        session.login(user_id)
        session.update(data)

    return act


def regenerate(session: Session) -> None:
    session["moved"] = True
    session.regenerate()


def sent(verdict: object) -> str:
    assert isinstance(verdict, Send), verdict
    return verdict.token


def times(session: Session) -> tuple[float, float, float]:
    return session.created_at, session.last_seen_at, session.expires_at


class TestOptions:
    @pytest.mark.parametrize("lifetime", [3600, None, Lifetime, "1 h"])
    def test_a_lifetime_that_is_none_is_refused(self, lifetime: Any) -> None:
        """Promise 15: the error says what to write instead."""
        with pytest.raises(ConfigurationError, match=r"write Lifetime\(idle=\.\.\., absolute=\.\.\.\)"):
            SessionManager(MemoryStore(), lifetime=lifetime)

    @pytest.mark.parametrize("codec", [JSONCodec, "json", object()])
    def test_a_codec_that_is_none_is_refused(self, codec: Any) -> None:
        """Promise 15: the error says what to write instead."""
        with pytest.raises(ConfigurationError, match=r"write MsgpackCodec\(\), JSONCodec\(\)"):
            SessionManager(MemoryStore(), codec=codec)

    @pytest.mark.parametrize("max_bytes", [0, -1, 1023, 1e6, True, "1024", None])
    def test_a_limit_that_cannot_be_is_refused(self, max_bytes: Any) -> None:
        """Promise 15: the error says what to write instead."""
        with pytest.raises(ConfigurationError, match="write a number of bytes, at least 1024"):
            SessionManager(MemoryStore(), max_bytes=max_bytes)

    def test_another_codec_may_be_used(self) -> None:
        """What it refuses is refused, and nothing is stored."""
        manager = SessionManager(MemoryStore(), codec=JSONCodec())
        session = manager.open()
        session["a"] = [1]
        assert dict(manager.open(sent(manager.commit(session)))) == {"a": [1]}
        session["a"] = (1,)

        with pytest.raises(PayloadError, match=r"session\['a'\]: tuple"):
            manager.commit(session)

    def test_by_default_it_goes_by_the_time_of_the_system(self) -> None:
        """The clock is there to be replaced in tests."""
        before = time.time()

        assert before <= SessionManager(MemoryStore()).open().created_at <= time.time()

    def test_namespaces_keep_tokens_apart(self, store: Store, clock: FakeClock) -> None:
        """Two installations on one store: the token of one opens nothing in the other."""
        one, other = Site(store, clock, namespace="one"), Site(store, clock, namespace="other")
        token = one.begin()

        assert one.is_alive(token)
        assert not other.is_alive(token)


class TestOpen:
    @pytest.mark.parametrize(
        "token", ["", "x", "A" * 42, "A" * 44, "A" * 42 + "=", "A" * 42 + "\n", " " + "A" * 42, "é" * 43, "A" * 65536]
    )
    def test_what_has_not_the_form_of_a_token_reaches_no_store(self, site: Site, token: str) -> None:
        """Promise 11: it is no token, and the session is a new one."""
        session = site.manager.open(token)

        assert site.calls(lambda: dict(session)) == []
        assert session.is_new

    def test_a_token_is_never_adopted(self, site: Site) -> None:
        """Promise 11: what a client made up becomes no session of its own; the server picks another token."""
        made_up = "A" * 43
        session = site.manager.open(made_up)
        session["a"] = 1
        token = site.sent(session)

        assert token != made_up
        assert not site.is_alive(made_up)
        assert site.records() == [site.open(token).id]

    def test_the_store_never_sees_a_token(self, site: Site) -> None:
        """Promise 11: neither as a key nor in a value."""
        token = site.begin(user_id="alice")
        new = sent(site.request(token, Session.regenerate))

        for key in site.records():
            stored = site.store.load(key)
            assert stored is not None
            for secret in (token, new):
                assert secret != key
                assert secret.encode() not in stored.value

    def test_one_live_token_of_several_is_used(self, site: Site) -> None:
        """A stale cookie beside the good one does no harm."""
        token, dead = site.begin(), "A" * 43

        for several in ([token, dead], [dead, token], [dead, "B" * 43, token]):
            assert dict(site.open(*several)) == DATA

    def test_two_live_tokens_open_neither(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A cookie tossed from another host must not choose the session."""
        first, second = site.begin({"mine": 1}), site.begin({"planted": 1})
        session = site.open(first, second)

        assert session == {}
        assert session.is_new
        assert "2 live sessions in one request: none of them is used" in caplog.text
        assert site.manager.commit(session) is None

    def test_signing_out_with_two_live_tokens_ends_both(self, site: Site) -> None:
        """Promise 5: whichever was meant."""
        first, second = site.begin(), site.begin()
        session = site.open(first, second)
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(first)
        assert not site.is_alive(second)

    def test_a_write_with_two_live_tokens_begins_a_third_session(self, site: Site) -> None:
        """It changes neither of the two."""
        first, second = site.begin({"a": 1}), site.begin({"a": 2})
        session = site.open(first, second)
        session["a"] = 3

        assert site.data(site.sent(session)) == {"a": 3}
        assert (site.data(first), site.data(second)) == ({"a": 1}, {"a": 2})

    @pytest.mark.parametrize("kind", ["bytes", "truncated", "flipped", "of another key", "payload", "empty"])
    def test_a_damaged_record_is_a_fresh_session(self, site: Site, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 10: one log line, no exception, and the record is left as it is."""
        token, other = site.begin(), site.begin()
        key = site.open(token).id
        before, another = site.store.inner.load(key), site.store.inner.load(site.open(other).id)
        assert before is not None
        assert another is not None
        session = site.loaded(token)
        envelope = session.progress and session.progress.envelope
        assert envelope
        damaged = {
            "bytes": b"not a record",
            "truncated": before.value[:-1],
            "flipped": before.value[:-1] + bytes([before.value[-1] ^ 1]),
            "of another key": another.value,
            "payload": pack(key, envelope, b"\xc1"),
            "empty": b"",
        }[kind]
        assert site.store.inner.update(key, Record(damaged, int(site.clock()) + 99, None), version=before.version)
        session = site.open(token)
        session["fresh"] = 1
        fresh = site.sent(session)

        assert site.data(fresh) == {"fresh": 1}
        assert fresh != token
        found = site.store.inner.load(key)
        assert found is not None
        assert found.value == damaged
        assert [record.message.partition(":")[0] for record in caplog.records if record.levelno == logging.ERROR] == [
            f"session {key}"
        ]

    def test_a_record_over_the_limit_is_not_even_decoded(self, store: Store, clock: FakeClock) -> None:
        """Promise 10: whoever can write to the store cannot make a request take its memory."""
        token = Site(store, clock).begin({"a": "x" * 5000})

        assert not Site(store, clock, max_bytes=4096).is_alive(token)


class TestTimeouts:
    def test_the_idle_timeout_holds_to_the_second(self, site: Site) -> None:
        """Promise 12: one second before it the session lives, at it it is dead, whatever the store still holds."""
        token = site.begin(user_id="alice")
        site.clock.advance(HOUR - 1)
        assert site.is_alive(token)
        site.clock.advance(1)

        assert not site.is_alive(token)
        assert site.data(token) == {}
        assert site.manager.sessions_of("alice") == []
        assert site.records() != []

    def test_the_absolute_timeout_holds_to_the_second(self, site: Site) -> None:
        """Promise 12: however much the session is used."""
        token = site.begin()
        for number in range(24):
            site.clock.advance(HOUR - 1)
            site.request(token, setting("n", number))
        assert site.is_alive(token)
        site.clock.advance(23)
        assert site.is_alive(token)
        site.clock.advance(1)

        assert not site.is_alive(token)

    def test_use_prolongs_the_idle_timeout(self, site: Site) -> None:
        """N-2: activity resets the idle timeout, and only that."""
        token = site.begin()
        for _ in range(20):
            site.clock.advance(HOUR - 1)
            site.request(token, len)

        assert site.is_alive(token)

    def test_use_is_noted_once_a_minute(self, site: Site) -> None:
        """Promise 2: a mere read is noted by one update, and not again before the interval has passed."""
        token = site.begin()

        def read() -> list[str]:
            return site.calls(lambda: site.request(token, len))

        site.clock.advance(59)
        assert read() == ["load"]
        site.clock.advance(1)
        assert read() == ["load", "update"]
        assert read() == ["load"]
        assert site.open(token).last_seen_at == site.clock()
        site.clock.advance(59)
        assert read() == ["load"]
        site.clock.advance(1)
        assert read() == ["load", "update"]

    @pytest.mark.parametrize(("idle", "interval"), [(100, 10), (600, 60), (None, 60), (DAY, 60)])
    def test_use_is_noted_once_in_a_tenth_of_a_short_idle_timeout(
        self, site: Site, idle: float | None, interval: int
    ) -> None:
        """At most once per min(60 s, idle / 10)."""
        token = site.begin()
        site.request(token, lambda session: session.set_lifetime(idle=idle))
        site.clock.advance(interval - 1)
        assert site.calls(lambda: site.request(token, len)) == ["load"]
        site.clock.advance(1)

        assert site.calls(lambda: site.request(token, len)) == ["load", "update"]

    def test_a_failed_request_is_no_use(self, site: Site) -> None:
        """Promise 16: a failed request changes nothing."""
        token = site.begin()
        site.clock.advance(600)

        assert site.calls(lambda: site.request(token, len, failed=True)) == ["load"]

    def test_a_use_that_loses_the_race_is_lost_silently(self, site: Site) -> None:
        """It neither undoes what the other request wrote nor tells anybody."""
        token = site.begin()
        site.clock.advance(600)
        session = site.loaded(token)
        site.request(token, setting("a", 2))

        assert site.calls(lambda: site.manager.commit(session)) == ["update"]
        assert site.data(token) == {**DATA, "a": 2}

    def test_a_use_that_the_store_cannot_note_harms_nobody(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """Promise 7: the reader gets its response; one log line, with the id."""
        token = site.begin()
        site.clock.advance(600)
        session = site.loaded(token)
        site.store.fail("update")

        assert site.manager.commit(session) is None
        assert f"session {session.id}: its use could not be noted" in caplog.text
        assert token not in caplog.text

    @pytest.mark.parametrize(
        "act",
        [
            pytest.param(len, id="read"),
            pytest.param(setting("a", 2), id="write"),
            pytest.param(regenerate, id="regenerate"),
            pytest.param(lambda session: session.transact(lambda data: data.update(a=2)), id="transact"),
        ],
    )
    def test_a_request_that_outlives_its_session_does_not_bring_it_back(
        self, site: Site, act: Callable[[Session], object]
    ) -> None:
        """Promises 5 and 12: ended is ended, also while a slow request was running, whatever the store still holds."""
        token = site.begin()
        site.clock.advance(HOUR - 1)
        session = site.loaded(token)
        site.clock.advance(1)
        act(session)

        assert site.manager.commit(session) is None
        assert not site.is_alive(token)
        assert site.live() == []

    def test_a_sign_in_that_outlives_its_session_starts_anew(self, site: Site) -> None:
        """With what this request wrote and nothing of what had ended."""
        token = site.begin()
        session = site.loaded(token)
        site.clock.advance(HOUR)
        login("alice", mine=1)(session)

        assert site.data(site.sent(session)) == {"mine": 1}
        assert len(site.live()) == 1

    def test_a_session_that_another_request_prolonged_takes_the_changes_of_a_slow_one(self, site: Site) -> None:
        """Promise 3: what the slow request had loaded would have ended; the session has not."""
        token = site.begin()
        slow, slower = site.loaded(token), site.loaded(token)
        site.clock.advance(HOUR - 1)
        site.request(token, setting("theirs", 1))
        site.clock.advance(1)
        slow["mine"] = 1
        slower.regenerate()

        assert site.manager.commit(slow) is None
        assert site.data(site.sent(slower)) == {**DATA, "theirs": 1, "mine": 1}


class TestMerge:
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
        assert token not in caplog.text

    def test_a_write_that_is_always_too_late_gives_up(self, stubborn: tuple[Site, Stubborn]) -> None:
        """Promise 4: after about a second; nothing is lost silently, and the id is in the message."""
        site, store = stubborn
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True
        session["a"] = 2

        with pytest.raises(ConflictError, match=f"session {session.id} keeps changing"):
            site.manager.commit(session)
        assert site.data(token) == DATA

    def test_a_transaction_that_is_always_too_late_gives_up(self, stubborn: tuple[Site, Stubborn]) -> None:
        """Promise 4: it raises when it gives up."""
        site, store = stubborn
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True

        with pytest.raises(ConflictError, match=f"session {session.id} keeps changing"):
            session.transact(lambda data: data.update(a=2))
        assert site.data(token) == DATA

    def test_a_regenerate_that_is_always_too_late_gives_up_and_leaves_nothing_behind(
        self, stubborn: tuple[Site, Stubborn]
    ) -> None:
        """Promises 4 and 13."""
        site, store = stubborn
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True
        session.regenerate()

        with pytest.raises(ConflictError, match="keeps changing"):
            site.manager.commit(session)
        assert site.live() == [DATA]
        assert site.data(token) == DATA

    def test_an_end_that_is_always_too_late_gives_up(self, stubborn: tuple[Site, Stubborn]) -> None:
        """Promise 5: it never claims what it did not do."""
        site, store = stubborn
        token = site.begin()
        session = site.loaded(token)
        store.stubborn = True
        session.invalidate()

        with pytest.raises(ConflictError, match="keeps changing and could not be ended"):
            site.manager.commit(session)
        with pytest.raises(ConflictError, match="keeps changing and could not be ended"):
            site.manager.revoke(site.open(token).id)
        assert site.data(token) == DATA
        store.stubborn = False
        assert site.manager.commit(session) == Forget()
        assert site.records() == []


class TestMove:
    """A request meets a session that another request has given a new token, or has ended."""

    def test_a_write_follows_the_session(self, site: Site) -> None:
        """Promise 3: who had the session before it moved loses nothing, and the browser is told nothing more."""
        token = site.begin()
        session = site.loaded(token)
        new = sent(site.request(token, regenerate))
        session["mine"] = 1

        assert site.manager.commit(session) is None
        assert site.data(new) == {**DATA, "moved": True, "mine": 1}
        assert len(site.live()) == 1

    def test_a_write_follows_the_session_many_times(self, site: Site) -> None:
        """Promise 3: from pointer to pointer."""
        token = new = site.begin()
        session = site.loaded(token)
        for _ in range(5):
            new = sent(site.request(new, regenerate))
        session["mine"] = 1
        site.manager.commit(session)

        assert site.data(new) == {**DATA, "moved": True, "mine": 1}

    def test_a_regenerate_meets_a_change(self, site: Site) -> None:
        """Promise 3: what was written before the move moves too."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, setting("theirs", 1))
        regenerate(session)

        assert site.data(site.sent(session)) == {**DATA, "moved": True, "theirs": 1}
        assert len(site.live()) == 1

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
        assert site.live() == []

    def test_a_sign_in_on_a_session_that_has_ended_starts_anew(self, site: Site) -> None:
        """Promise 5: with this request's changes and nothing of what had ended."""
        token = site.begin({"old": 1, "list": [1]})
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        session["list"].append(2)
        login("alice", mine=1)(session)
        new = site.sent(session)

        assert site.data(new) == {"list": [1, 2], "mine": 1}
        assert site.open(new).user_id == "alice"

    def test_a_sign_in_after_the_session_was_found_gone_starts_anew(self, site: Site) -> None:
        """Also where the request has noticed already."""
        token = site.begin()
        session = site.loaded(token)
        site.request(token, Session.invalidate)
        session.transact(dict)
        login("alice", mine=1)(session)

        assert site.data(site.sent(session)) == {"mine": 1}

    def test_a_sign_in_takes_over_a_session_that_was_regenerated(self, site: Site) -> None:
        """Promise 3: the anonymous session is the same, with what was written to it meanwhile."""
        token = site.begin()
        session = site.loaded(token)
        other = sent(site.request(token, regenerate))
        login("alice", mine=1)(session)
        new = site.sent(session)

        assert site.data(new) == {**DATA, "moved": True, "mine": 1}
        assert not site.is_alive(other)
        assert len(site.live()) == 1

    def test_a_new_token_that_is_taken_is_drawn_again(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 11, A-7.2.3: also at regenerate; the record of the other stays as it is."""
        token, taken = site.begin(), site.begin({"theirs": 1})
        drawn = iter([taken, "B" * 43])
        monkeypatch.setattr(tokens, "new", lambda: next(drawn))

        assert sent(site.request(token, regenerate)) == "B" * 43
        assert site.data("B" * 43) == {**DATA, "moved": True}
        assert site.data(taken) == {"theirs": 1}
        assert not site.is_alive(token)

    def test_a_write_from_before_a_sign_in_overwrites_nothing_that_came_with_it(self, site: Site) -> None:
        """Promise 11: such as a role; who held the token before the sign-in has no say in it."""
        token = site.begin({"role": "guest", "cart": 1, "step": 1})
        session = site.loaded(token)
        other = site.open(token)
        login("alice", role="admin")(other)
        del other["step"]
        new = site.sent(other)
        session.update(role="none", step=2, mine=1)
        session.set_lifetime(idle=60)
        del session["cart"]
        site.manager.commit(session)

        assert site.data(new) == {"role": "admin", "mine": 1}
        assert site.open(new).expires_at == site.clock() + HOUR

    def test_two_sign_ins_of_one_user_are_two_sessions_with_the_data_of_both(self, site: Site) -> None:
        """Promises 3 and 11: either token works, whichever response arrives last."""
        token = site.begin()
        session = site.loaded(token)
        first = sent(site.request(token, login("alice", theirs=1)))
        login("alice", mine=1)(session)
        second = site.sent(session)

        assert site.data(first) == site.data(second) == {**DATA, "theirs": 1, "mine": 1}
        assert len(site.manager.sessions_of("alice")) == 2

    def test_two_sign_ins_of_different_users_share_nothing(self, site: Site) -> None:
        """Promise 11: neither sees what the other's sign-in wrote."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first = sent(site.request(token, login("alice", theirs=1)))
        login("bob", mine=1)(session)
        second = site.sent(session)

        assert site.data(first) == {"cart": 1, "theirs": 1}
        assert site.data(second) == {"cart": 1, "mine": 1}

    def test_a_write_from_before_a_sign_in_is_stored_and_sees_nothing(self, site: Site) -> None:
        """Promises 3 and 11: its change is laid on the session; what the user has is not for this request."""
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        new = sent(site.request(token, login("alice", secret=1)))
        session["mine"] = 1

        assert site.manager.commit(session) is None
        assert session == {"cart": 1, "mine": 1}
        assert session.user_id is None
        assert site.data(new) == {"cart": 1, "secret": 1, "mine": 1}
        session.announced = True
        session["late"] = 1
        assert site.manager.commit(session) is None
        assert "late" not in site.data(new)

    def test_a_token_that_was_just_replaced_opens_an_empty_session_that_stores_nothing(self, site: Site) -> None:
        """Promise 11: dead at once; but a new cookie would overwrite the one that the browser is being told."""
        token = site.begin()
        new = sent(site.request(token, regenerate))
        session = site.open(token)
        session["a"] = 2

        assert session.is_new
        assert site.manager.commit(session) is None
        assert site.live() == [{**DATA, "moved": True}]
        assert site.is_alive(new)

    def test_a_sign_in_with_a_token_that_was_just_replaced_is_a_session_of_its_own(self, site: Site) -> None:
        """Who signs in gets a session, and never one that was not theirs."""
        token = site.begin()
        new = sent(site.request(token, regenerate))
        session = site.open(token)
        login("alice", mine=1)(session)

        assert site.data(site.sent(session)) == {"mine": 1}
        assert site.is_alive(new)

    @pytest.mark.parametrize("moves", [1, 5])
    def test_signing_out_with_a_token_that_was_just_replaced_ends_the_session(self, site: Site, moves: int) -> None:
        """Promise 5: the click was made before the new cookie had arrived."""
        token = new = site.begin()
        for _ in range(moves):
            new = sent(site.request(new, regenerate))

        assert site.request(token, Session.invalidate) == Forget()
        assert not site.is_alive(new)
        assert site.live() == []

    def test_after_a_minute_a_replaced_token_is_like_any_other_dead_one(self, store: Store, clock: FakeClock) -> None:
        """Promise 13: the pointer goes; what comes with the old token may start a session then."""
        site = Site(AgedStore(store, clock), clock)
        token = site.begin()
        new = sent(site.request(token, regenerate))
        slow, signing_out = site.loaded(new), site.loaded(token)
        newer = sent(site.request(new, regenerate))
        site.clock.advance(MOVED_FOR - 1)
        assert site.request(token, setting("a", 2)) is None
        assert len(site.records()) == 3
        site.clock.advance(2)
        assert len(site.records()) == 1
        slow["mine"] = 1
        signing_out.invalidate()

        assert site.manager.commit(slow) is None
        assert site.manager.commit(signing_out) == Forget()
        assert site.data(newer) == {**DATA, "moved": True}
        assert site.data(sent(site.request(token, setting("a", 2)))) == {"a": 2}


class TestFaults:
    """A store call fails, applied or not: what the browser holds works as before or as after the commit."""

    def test_a_failed_create_issues_no_token(self, site: Site) -> None:
        """Promise 7."""
        session = site.open()
        session["a"] = 1
        site.store.fail("create")

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert site.records() == []

    def test_a_failed_write_changes_nothing(self, site: Site) -> None:
        """Promise 7."""
        token = site.begin()
        session = site.loaded(token)
        session["a"] = 2
        site.store.fail("update")

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert site.data(token) == DATA

    @pytest.mark.parametrize("verb", ["create", "update"])
    def test_a_failed_regenerate_leaves_the_old_token_alive(self, site: Site, verb: str) -> None:
        """Promise 7: the browser still holds it."""
        token = site.begin()
        session = site.loaded(token)
        regenerate(session)
        site.store.fail(verb)

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert site.data(token) == DATA

    @pytest.mark.parametrize("act", [regenerate, login("alice")])
    @pytest.mark.parametrize("applied", [False, True])
    def test_wherever_a_commit_fails_the_old_token_opens_the_old_data_or_nothing(
        self, site: Site, act: Callable[[Session], object], applied: bool
    ) -> None:
        """F-S10: every call of it in turn."""
        for at in range(1, 10):
            token = site.begin()
            session = site.loaded(token)
            site.request(token, setting("theirs", 1))
            act(session)
            site.store.fail(at=at, applied=applied)
            try:
                site.manager.commit(session)
            except StoreUnavailable:
                site.store.heal()
                assert site.data(token) in ({**DATA, "theirs": 1}, {})
            else:
                site.store.heal()
                assert at > 5
                return
        pytest.fail("the commit never ends")

    def test_a_commit_that_fails_may_have_ended_what_it_was_to_end(self, site: Site) -> None:
        """Promise 16: the former user's session is over, though the next one's could not begin."""
        token = site.begin(user_id="alice")
        session = site.open(token)
        login("bob")(session)
        site.store.fail("create")

        with pytest.raises(StoreUnavailable):
            site.manager.commit(session)
        assert not site.is_alive(token)

    @pytest.mark.parametrize("act", [setting("a", object()), lambda session: session["list"].append(object())])
    def test_a_value_that_cannot_be_encoded_changes_nothing(self, site: Site, act: Callable[[Session], object]) -> None:
        """Promise 9: the error names the path, and the stored session is as it was."""
        token = site.begin()

        with pytest.raises(PayloadError, match=r"session\['(a|list)'\](\[1\])?: object"):
            site.request(token, act)
        assert site.data(token) == DATA


class TestFailedRequests:
    @pytest.mark.parametrize("act", [setting("a", 2), regenerate, login("bob"), len])
    def test_it_changes_nothing(self, site: Site, act: Callable[[Session], object]) -> None:
        """Promise 16: no write, no new token."""
        token = site.begin()

        assert site.calls(lambda: site.request(token, act, failed=True)) == ["load"]
        assert site.data(token) == DATA

    def test_it_makes_no_session(self, site: Site) -> None:
        """Promise 16: nor a record."""
        session = site.open()
        login("alice", a=1)(session)

        assert site.calls(lambda: site.manager.commit(session, failed=True)) == []

    def test_it_ends_what_it_ended(self, site: Site) -> None:
        """Promise 16: signing in as somebody else has ended the former session, though nobody is signed in now."""
        token = site.begin(user_id="alice")

        assert site.request(token, login("bob"), failed=True) == Forget()
        assert site.records() == []


class TestCreating:
    def test_a_key_that_is_taken_is_not_touched(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 11, A-7.2.3: creating is not saving; another token is drawn."""
        taken = site.begin({"theirs": 1})
        drawn = iter([taken, taken, "B" * 43])
        monkeypatch.setattr(tokens, "new", lambda: next(drawn))

        assert site.begin({"mine": 1}) == "B" * 43
        assert site.data(taken) == {"theirs": 1}

    def test_tokens_are_fresh(self, site: Site) -> None:
        """Promise 11: 43 characters of base64url, never the same."""
        found = {site.begin({"a": 1}) for _ in range(100)}

        assert len(found) == 100
        assert all(map(tokens.well_formed, found))

    @pytest.mark.parametrize("store", SWEPT, indirect=True)
    def test_expired_records_are_swept_as_sessions_are_created(self, site: Site) -> None:
        """Promise 13: a bounded batch now and then, no cron; never by readers."""
        for number in range(150):
            site.store.inner.create(f"{number:043}", Record(b"old", 1, None))
        found = site.calls(lambda: [site.begin({"a": 1}) for _ in range(150)])

        assert found.count("sweep") == 3
        assert site.store.inner.sweep(1000) == 0  # type: ignore[attr-defined]  # both stores can
        assert "sweep" not in site.calls(lambda: [site.is_alive("A" * 43) for _ in range(200)])

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


class TestSize:
    def test_a_large_session_is_warned_of(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """With its id and the sizes by key, largest first; never the token."""
        token = site.begin({"small": 1, "cart": "x" * 70_000})

        assert f"session {site.open(token).id} takes 70,0" in caplog.text
        assert "bytes: 'cart' 70,0" in caplog.text
        assert ", 'small' " in caplog.text
        assert token not in caplog.text

    def test_a_session_up_to_64_kib_is_not(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """No line in the log of a healthy site."""
        site.begin({"cart": "x" * 65_000})

        assert caplog.text == ""

    def test_a_session_over_the_limit_is_refused(self, store: Store, clock: FakeClock) -> None:
        """Promise 9: the error says what takes the room, and the stored session is unchanged."""
        site = Site(store, clock, max_bytes=2048)
        token = site.begin({"a": 1})

        with pytest.raises(SessionTooLarge, match="over the limit of 2,048: 'cart' 3,0") as caught:
            site.request(token, setting("cart", "x" * 3000))
        assert caught.value.limit == 2048
        assert caught.value.size > 3000
        assert caught.value.by_key.keys() == {"a", "cart"}
        assert site.data(token) == {"a": 1}
        with pytest.raises(SessionTooLarge):
            site.begin({"cart": "x" * 3000})

    def test_a_change_that_fits_only_alone_is_refused_over_another(self, store: Store, clock: FakeClock) -> None:
        """Promise 3: merging does not get past the limit, and what was there first stays."""
        site = Site(store, clock, max_bytes=2048)
        token = site.begin({"a": 1})
        session = site.loaded(token)
        site.request(token, setting("theirs", "x" * 1200))
        session["mine"] = "x" * 1200

        with pytest.raises(SessionTooLarge):
            site.manager.commit(session)
        assert site.data(token).keys() == {"a", "theirs"}


class Bare:
    """A store with the four verbs and nothing else."""

    def __init__(self) -> None:
        self._store = MemoryStore()

    def create(self, key: str, record: Record) -> bool:
        return self._store.create(key, record)

    def load(self, key: str) -> Stored | None:
        return self._store.load(key)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return self._store.update(key, record, version=version)

    def delete(self, key: str) -> bool:
        return self._store.delete(key)


class TestListing:
    def test_the_sessions_of_a_user_are_listed_the_one_last_used_first(self, site: Site) -> None:
        """Nobody else's, and none without a user."""
        first, second, third = (site.begin({"n": n}, user_id="alice") for n in range(3))
        site.begin(user_id="bob")
        site.begin()
        for token in (third, first, second):
            site.clock.advance(60)
            site.request(token, len)
        site.clock.advance(60)
        found = site.manager.sessions_of("alice")

        assert [info.id for info in found] == [site.open(token).id for token in (second, first, third)]

    def test_a_listing_says_what_there_is_to_know(self, site: Site) -> None:
        """Times, lifetimes and a copy of the data; its representation does not spill the data into logs."""
        created = site.clock()
        session = site.open()
        session.set_lifetime(persistent=True, idle=600)
        login("alice", a=[1])(session)
        token = site.sent(session)
        [info] = site.manager.sessions_of("alice")

        assert (info.id, info.user_id, info.persistent) == (session.id, "alice", True)
        assert (info.created_at, info.last_seen_at, info.expires_at) == (created, created, created + 600)
        assert info.data == {"a": [1]}
        assert "[1]" not in repr(info)
        info.data["a"].append(2)
        assert site.data(token) == {"a": [1]}

    def test_a_stranger_has_no_sessions(self, site: Site) -> None:
        """Absence is an answer, not an error."""
        site.begin(user_id="alice")

        assert site.manager.sessions_of("mallory") == []
        assert site.manager.revoke_all("mallory") == 0

    def test_a_session_that_moved_is_listed_once(self, site: Site) -> None:
        """Under its new id."""
        token = site.begin(user_id="alice")
        new = sent(site.request(token, regenerate))

        assert [info.id for info in site.manager.sessions_of("alice")] == [site.open(new).id]

    def test_a_session_that_moves_while_it_is_listed_is_listed_once(self, clock: FakeClock) -> None:
        """Under its new id: the index was asked before, the records after; also where it was there under both."""
        store = MemoryStore()
        site = Site(store, clock)
        token, keys_of = site.begin(user_id="alice"), store.keys_of

        def before(user_id: str) -> list[str]:
            found = keys_of(user_id)
            site.request(token, regenerate)
            return found

        def on_both_sides(user_id: str) -> list[str]:
            return [*before(user_id), *keys_of(user_id)]

        for moving in (before, on_both_sides):
            token = site.begin(user_id="alice")
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(store, "keys_of", moving)
                listed = [info.id for info in site.manager.sessions_of("alice")]
            assert sorted(listed) == sorted(keys_of("alice"))

    def test_one_that_keeps_changing_does_not_protect_the_others(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 5: it is named by an error, and all others are ended."""
        mine = [site.begin(user_id="alice") for _ in range(3)]
        stubborn, end = site.open(mine[1]).id, Repository.end

        def ending(sessions: Repository, key: str, **options: Any) -> bool:
            if key == stubborn:
                raise ConflictError("it keeps changing")
            return end(sessions, key, **options)

        monkeypatch.setattr(Repository, "end", ending)
        with pytest.raises(ConflictError):
            site.manager.revoke_all("alice")
        assert [site.is_alive(token) for token in mine] == [False, True, False]

    def test_a_session_that_changes_hands_while_it_is_listed_is_left_out(self, clock: FakeClock) -> None:
        """The index is asked first, the record after; it is the record that counts."""
        store = MemoryStore()
        site = Site(store, clock)
        token = site.begin(user_id="alice")
        site.store.keys_of = lambda user_id: store.keys_of("alice")

        assert site.manager.sessions_of("bob") == []
        assert site.is_alive(token)

    def test_without_an_index_there_is_no_listing(self, clock: FakeClock) -> None:
        """Promise 15: the error says what to use."""
        manager = SessionManager(FaultyStore(Bare()), clock=clock)

        for call in (manager.sessions_of, manager.revoke_all):
            with pytest.raises(ConfigurationError, match="keeps no index of users; use a store that does"):
                call("alice")

    def test_a_failing_store_is_no_empty_list(self, site: Site) -> None:
        """Promise 7."""
        site.begin(user_id="alice")
        for verb, call in (
            ("keys_of", site.manager.sessions_of),
            ("load", site.manager.sessions_of),
            ("keys_of", site.manager.revoke_all),
            ("update", site.manager.revoke_all),
        ):
            site.store.fail(verb)
            with pytest.raises(StoreUnavailable):
                call("alice")


class TestRevoking:
    def test_a_session_is_ended_by_its_id_at_once(self, site: Site) -> None:
        """Promise 5: and only that one; a second time there is nothing to end."""
        token, other = site.begin(user_id="alice"), site.begin(user_id="alice")
        session_id = site.open(token).id

        assert site.manager.revoke(session_id) is True
        assert not site.is_alive(token)
        assert site.is_alive(other)
        assert site.manager.revoke(session_id) is False

    @pytest.mark.parametrize("session_id", ["", "x", "A" * 42, "A" * 44, "../" * 14 + "x", "A" * 42 + "\n", "é" * 43])
    def test_what_has_not_the_form_of_an_id_reaches_no_store(self, site: Site, session_id: str) -> None:
        """It is nobody's id."""
        assert site.calls(lambda: site.manager.revoke(session_id)) == []
        assert site.manager.revoke(session_id) is False

    def test_an_id_that_nobody_has_ends_nothing(self, site: Site) -> None:
        """Absence is an answer, not an error; and a token is not an id."""
        token = site.begin()

        assert site.manager.revoke("A" * 43) is False
        assert site.manager.revoke(token) is False
        assert site.is_alive(token)

    def test_an_old_id_still_ends_the_session(self, site: Site) -> None:
        """Promise 5: the list that was clicked on had been made a moment ago."""
        token = site.begin(user_id="alice")
        session_id = site.open(token).id
        new = sent(site.request(token, regenerate))

        assert site.manager.revoke(session_id) is True
        assert not site.is_alive(new)

    def test_a_damaged_record_can_be_ended(self, site: Site) -> None:
        """What cannot be read can still be removed, by who asks for just that."""
        site.store.inner.create("A" * 43, Record(b"damaged", int(site.clock()) + 99, None))

        assert site.manager.revoke("A" * 43) is True
        assert site.records() == []

    def test_a_session_that_moves_while_it_is_being_ended_ends(self, site: Site) -> None:
        """Promise 5: a plain delete would remove the pointer and miss the session."""
        token = site.begin(user_id="alice")
        session = site.loaded(token)
        session.invalidate()
        new = sent(site.request(token, regenerate))
        site.manager.commit(session)

        assert not site.is_alive(new)
        assert site.live() == []

    def test_a_session_that_changes_while_it_is_being_ended_ends(self, clock: FakeClock) -> None:
        """Promise 5: the compare-and-delete is tried again."""
        store = Contended()
        site = Site(store, clock)
        token = site.begin()
        key = site.open(token).id
        store.before_update = lambda: site.request(token, setting("a", 2))

        assert site.manager.revoke(key) is True
        assert site.records() == []

    def test_signing_out_after_many_moves_ends_the_session(self, site: Site) -> None:
        """Promise 5: however often the session has moved since."""
        token = new = site.begin()
        session = site.loaded(token)
        for _ in range(20):
            new = sent(site.request(new, regenerate))
        session.invalidate()
        site.manager.commit(session)

        assert not site.is_alive(new)

    def test_pointers_that_lead_nowhere_open_and_end_nothing(self, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 10: not even in a circle, which somebody who can write to the store might draw."""
        monkeypatch.setattr("session_middleware.repository.time.sleep", lambda seconds: None)
        token = site.begin()
        session, there, back = site.loaded(token), "A" * 43, "B" * 43
        for key, successor in ((there, back), (back, there)):
            value = pack_moved(key, Moved(successor))
            assert site.store.inner.create(key, Record(value, int(site.clock()) + 99, None))
        stored = site.store.inner.load(session.id)
        assert stored is not None
        value = pack_moved(session.id, Moved(there))
        record = Record(value, int(site.clock()) + 99, None)
        assert site.store.inner.update(session.id, record, version=stored.version)
        session["a"] = 2

        assert site.manager.commit(session) is None
        assert site.live() == []
        with pytest.raises(ConflictError):
            site.manager.revoke(there)

    def test_all_sessions_of_a_user_are_ended(self, site: Site) -> None:
        """Promise 5: how many, and nobody else's."""
        mine = [site.begin(user_id="alice") for _ in range(3)]
        other = site.begin(user_id="bob")

        assert site.manager.revoke_all("alice") == 3
        assert not any(map(site.is_alive, mine))
        assert site.is_alive(other)
        assert site.manager.revoke_all("alice") == 0

    def test_all_but_one(self, site: Site) -> None:
        """The session of who asks; an id of somebody else spares nothing."""
        keep, *others = (site.begin(user_id="alice") for _ in range(3))
        bob = site.begin(user_id="bob")

        assert site.manager.revoke_all("alice", keep=site.open(keep).id) == 2
        assert site.is_alive(keep)
        assert not any(map(site.is_alive, others))
        assert site.manager.revoke_all("alice", keep=site.open(bob).id) == 1

    @pytest.mark.parametrize("act", [Session.regenerate, login("alice")])
    def test_all_but_the_one_that_is_getting_a_new_token(self, site: Site, act: Callable[[Session], object]) -> None:
        """A new password: ``session.regenerate()`` and all other sessions ended, in one request, in either order."""
        token, other = site.begin(user_id="alice"), site.begin(user_id="alice")
        session = site.open(token)
        act(session)

        assert site.manager.revoke_all("alice", keep=session.id) == 1
        new = site.sent(session)
        assert site.data(new) == DATA
        assert not site.is_alive(other)
        site.begin(user_id="alice")
        assert site.manager.revoke_all("alice", keep=session.id) == 1
        assert site.is_alive(new)

    @pytest.mark.parametrize("before", [True, False])
    def test_a_first_sign_in_ends_the_other_sessions_of_the_user(self, site: Site, before: bool) -> None:
        """Before or after the commit, on an anonymous session, on a new one and on that of somebody else."""
        for start in (site.begin(), "A" * 43, site.begin(user_id="bob")):
            other = site.begin(user_id="alice")
            session = site.open(start)
            session.login("alice")
            if before:
                assert site.manager.revoke_all("alice", keep=session.id) == 1
            new = site.sent(session)
            if not before:
                assert site.manager.revoke_all("alice", keep=session.id) == 1
            assert not site.is_alive(other)
            assert [info.id for info in site.manager.sessions_of("alice")] == [site.open(new).id]
            site.manager.revoke(session.id)

    def test_a_session_that_moved_since_the_index_was_read_is_spared(self, clock: FakeClock) -> None:
        """The pointer under the old id leads to the one to keep."""
        store = MemoryStore()
        site = Site(store, clock)
        token, other = site.begin(user_id="alice"), site.begin(user_id="alice")
        stale = store.keys_of("alice")
        new = sent(site.request(token, regenerate))
        site.store.keys_of = lambda user_id: stale

        assert site.manager.revoke_all("alice", keep=site.open(new).id) == 1
        assert site.is_alive(new)
        assert not site.is_alive(other)

    def test_a_keep_that_has_no_session_any_more_spares_nothing(self, site: Site) -> None:
        """The session that asked for the id is over: no failure, and everything ends."""
        session = site.open(site.begin(user_id="alice"))
        session.regenerate()
        keep = session.id
        site.manager.commit(session, failed=True)
        del session

        assert site.manager.revoke_all("alice", keep=keep) == 1


class Contended(MemoryStore):
    """A store in which one update comes after something else."""

    before_update: Callable[[], object] | None = None

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        act, self.before_update = self.before_update, None
        if act is not None:
            act()
        return super().update(key, record, version=version)


class TestConcurrently:
    """What happens between two store calls of one commit."""

    def test_a_session_that_changes_and_then_moves_is_followed(self, clock: FakeClock) -> None:
        """Promise 3: refused once because of a change, and again because of a move."""
        store = Contended()
        site = Site(store, clock)
        token = site.begin()
        session = site.loaded(token)
        site.request(token, setting("theirs", 1))
        new: list[str] = []
        store.before_update = lambda: new.append(sent(site.request(token, regenerate)))
        session["mine"] = 1
        site.manager.commit(session)

        assert site.data(new[0]) == {**DATA, "theirs": 1, "moved": True, "mine": 1}

    def test_a_sign_in_whose_session_ends_under_it_starts_anew(self, clock: FakeClock) -> None:
        """Promise 5: the record made for it is taken back, and only what this request wrote is kept."""
        store = Contended()
        site = Site(store, clock)
        token = site.begin({"old": 1})
        session = site.loaded(token)
        store.before_update = lambda: site.manager.revoke(site.open(token).id)
        login("alice", mine=1)(session)

        assert site.data(site.sent(session)) == {"mine": 1}
        assert site.live() == [{"mine": 1}]

    def test_a_regenerate_whose_session_ends_under_it_leaves_nothing(self, clock: FakeClock) -> None:
        """Promise 5: the record made for it is taken back."""
        store = Contended()
        site = Site(store, clock)
        token = site.begin()
        session = site.loaded(token)
        store.before_update = lambda: site.manager.revoke(site.open(token).id)
        session.regenerate()

        assert site.manager.commit(session) is None
        assert site.live() == []

    def test_a_second_sign_in_of_one_user_forks_what_a_sign_in_just_moved(self, clock: FakeClock) -> None:
        """Promise 3: refused because of a change, and then because of a sign-in: both have everything."""
        store = Contended()
        site = Site(store, clock)
        token = site.begin({"cart": 1})
        session = site.loaded(token)
        first: list[str] = []
        store.before_update = lambda: first.append(sent(site.request(token, login("alice", theirs=1))))
        login("alice", mine=1)(session)
        second = site.sent(session)

        assert site.data(first[0]) == site.data(second) == {"cart": 1, "theirs": 1, "mine": 1}


def test_no_line_of_the_log_holds_a_token(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 11: whatever is worth a line names the session by its id."""
    caplog.set_level(logging.DEBUG)
    token, other = site.begin({"cart": "x" * 70_000}), site.begin()
    assert site.open(token, other) == {}
    session = site.loaded(other)
    new = sent(site.request(other, regenerate))
    site.request(new, Session.invalidate)
    session["a"] = 2
    site.manager.commit(session)

    assert len(caplog.records) >= 3
    assert not any(secret in caplog.text for secret in (token, other, new))
