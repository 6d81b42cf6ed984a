"""Both timeouts, to the second, and when the use of a session is noted."""

from collections.abc import Callable

import pytest

from session_middleware import Forget, Session
from tests.sites import DATA, Site, login, regenerate, setting

HOUR = 3600
DAY = 86400


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

    @pytest.mark.parametrize(
        "act",
        [
            len,
            lambda session: session.user_id,
            lambda session: session["a"],
            lambda session: session["list"],
            lambda session: session["list"].append(2) or session["list"].pop(),
            lambda session: session.update(a=1),
            lambda session: session.transact(dict),
            lambda session: [*session.values()],
        ],
    )
    def test_use_prolongs_the_idle_timeout(self, site: Site, act: Callable[[Session], object]) -> None:
        """N-2: activity resets the idle timeout, and only that; whatever was read, and whether it came to nothing."""
        token = site.begin()
        for _ in range(20):
            site.clock.advance(HOUR - 1)
            site.request(token, act)

        assert site.data(token) == DATA

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
        assert token.reveal()[12:] not in caplog.text

    def test_a_clock_that_is_behind_takes_nothing_back(self, site: Site) -> None:
        """F-T2: of two machines, the one that is late does not shorten what the other has prolonged."""
        token = site.begin()
        site.clock.advance(100)
        site.request(token, setting("a", 2))
        site.clock.advance(-50)
        site.request(token, setting("a", 3))

        assert site.open(token).last_seen_at == site.clock() + 50

    def test_a_sign_in_by_a_clock_that_is_behind_takes_nothing_back(self, site: Site) -> None:
        """F-T2: neither as its own request sees it nor afterwards."""
        token = site.begin()
        site.clock.advance(-50)
        seen = list[float]()

        def sign_in(session: Session) -> None:
            session.login("alice")
            seen.append(session.last_seen_at)

        token = site.follow(token, sign_in)
        assert [*seen, site.open(token).last_seen_at] == [site.clock() + 50] * 2

    def test_a_token_that_opens_a_snapshot_is_no_use(self, site: Site) -> None:
        """Promise 18: who comes with the secret from before a sign-in does not keep the session alive either."""
        token = site.begin()
        site.follow(token, login("alice"))
        site.clock.advance(9)

        assert site.calls(lambda: site.request(token, len)) == ["load"]

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

    def test_an_end_that_outlives_its_session_ends_nothing_and_harms_nobody(self, site: Site) -> None:
        """Signing out of what has ended: the browser forgets its cookie."""
        token = site.begin()
        session = site.loaded(token)
        site.clock.advance(HOUR)
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert site.live() == []

    def test_a_session_that_another_request_prolonged_takes_the_changes_of_a_slow_one(self, site: Site) -> None:
        """Promise 3: what the slow request had loaded would have ended; the session has not."""
        token = site.begin()
        slow, slower, slowest = (site.loaded(token) for _ in range(3))
        site.clock.advance(HOUR - 1)
        site.request(token, setting("theirs", 1))
        site.clock.advance(1)
        slow["mine"] = 1
        slower.regenerate()
        login("alice")(slowest)

        assert site.manager.commit(slow) is None
        assert site.data(site.sent(slower)) == {**DATA, "theirs": 1, "mine": 1}
        assert site.data(site.sent(slowest)) == {**DATA, "theirs": 1, "mine": 1}
        assert len(site.live()) == 1

    def test_a_slow_sign_out_ends_a_session_that_another_request_prolonged(self, site: Site) -> None:
        """Promise 5: an anonymous one, whose end compares."""
        token = site.begin()
        session = site.loaded(token)
        site.clock.advance(HOUR - 1)
        site.request(token, setting("theirs", 1))
        site.clock.advance(1)
        session.invalidate()
        site.manager.commit(session)

        assert site.live() == []
