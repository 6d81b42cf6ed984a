"""A session that is carried over has a fresh secret, which the browser is told until it has come with it."""

import logging
from collections.abc import Iterator
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import MemoryStore, Session, SessionMiddleware, get_session
from session_middleware.carry_over import Carried
from session_middleware.record import unpack
from session_middleware.testing import FakeClock, FaultyStore
from session_middleware.tokens import Token
from tests.apps import visit
from tests.sealing import user_there
from tests.takeover.library import ANNA, DAY, OLD, Library, Site, increment, own, removed, setting


class TestSecret:
    def test_the_old_secret_is_no_token_and_no_id(
        self, site: Site, faulty: FaultyStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 11: what opened the session there is not stored or logged, and opens nothing here."""
        caplog.set_level(logging.DEBUG)
        secret = Token.new().reveal()
        site.library.sessions = {secret: Carried({"a": "x" * 70_000})}
        site.request(cookie=f"old={secret}")
        keys = {key for _, key in faulty.calls}
        values = b"".join(stored.value for key in keys if (stored := faulty.inner.load(key)))
        assert site.seen != {}
        assert all(part not in text for part in (secret, secret[:12], secret[12:]) for text in (*keys, caplog.text))
        assert secret.encode() not in values
        assert site.opened(secret) == {}

    def test_another_namespace_makes_another_token(self) -> None:
        """Two sites that share both stores have a session each."""
        sites = [Site(MemoryStore(), Library(), namespace=name) for name in ("one", "two")]
        assert sites[0].token.id != sites[1].token.id
        assert len({sites[0].token, sites[1].token, Site(MemoryStore(), Library(), namespace="one").token}) == 2

    def test_the_token_of_a_known_session_never_changes(self) -> None:
        """A new version of the package must find the sessions that the old one has carried over."""
        token = Site(MemoryStore(), Library(), namespace="session").token

        assert token.reveal() == "mZ9LzAj4nJcthf934RftXNApWxP8hBa29Bt241bX"

    def test_the_library_is_asked_as_of_now(self, site: Site, clock: FakeClock) -> None:
        """Whether its own timeout is over is for it to say."""
        site.request()
        assert site.library.read_at == [clock()]

    @pytest.mark.parametrize(("user_id", "era"), [("7", 1), (None, 0)])
    def test_who_was_signed_in_there_is_signed_in_for_the_first_time(self, user_id: str | None, era: int) -> None:
        """Promise 23: a limit that refuses takes nobody for established who has just come."""
        site = Site(store := MemoryStore(), Library({"anna": Carried(ANNA, user_id)}))
        site.request()
        stored = store.load(site.token.id)
        assert stored is not None
        found = unpack(stored.value)
        assert isinstance(found, tuple)

        assert (found[0].user_id, found[0].era, found[0].carried) == (user_id and user_there(user_id), era, True)

    def test_the_old_cookie_works_until_the_new_one_was_used_and_thirty_seconds(self, site: Site, clock: FakeClock) -> None:
        """Promise 20: parallel, slow and lost responses lock nobody out."""
        token = own(site.request())
        for _ in range(3):
            clock.advance(19)
            assert site.request(setting("old")).set_cookies == []
        assert site.sees(f"session={token}") == ANNA | {"old": True}
        clock.advance(29)
        assert site.sees() == ANNA | {"old": True}
        clock.advance(1)
        assert site.sees() == {}
        assert site.sees(f"session={token}") == ANNA | {"old": True}

    def test_after_that_the_old_cookie_is_an_unknown_one(self, site: Site, clock: FakeClock) -> None:
        """It sees nothing, a write starts a new session, and nothing is carried over again, even if it is there again."""
        token = own(site.request())
        site.sees(f"session={token}")
        clock.advance(30)
        site.library.sessions["anna"] = Carried({"another": 1}, "7")
        assert site.sees() == {}
        response = site.request(setting("late"))
        assert site.opened(own(response)) == {"late": True}
        assert site.opened(token) == ANNA
        assert site.library.calls.count("read") == 1

    def test_a_response_that_was_lost_is_told_again_after_a_minute(self, site: Site, clock: FakeClock) -> None:
        """Promise 20: the first cookie and the two latest, any of which may have arrived, work until a later one comes."""
        tokens = [own(site.request(setting("first")))]
        clock.advance(59)
        assert site.request().set_cookies == []
        assert site.seen == ANNA | {"first": True}
        for number in range(4):
            clock.advance(1 if number == 0 else 60)
            tokens.append(own(site.request()))
        assert {token[:12] for token in tokens} == {site.token.id}
        assert [site.opened(token) != {} for token in tokens] == [True, False, False, True, True]
        assert site.sees(f"session={tokens[-1]}") == ANNA | {"first": True}
        clock.advance(30)
        assert [site.opened(token) != {} for token in tokens] == [False] * 4 + [True]
        assert site.sees() == {}

    def test_who_is_remembered_from_now_on_is_told_so(self, site: Site, clock: FakeClock) -> None:
        """``set_lifetime(persistent=True)`` in a request with the old cookie, the first one or another beside it."""

        def remember(session: Session) -> None:
            session.set_lifetime(persistent=True)

        first = site.request()
        second = site.request(remember)
        assert "Max-Age=86400" in second.set_cookies[0]
        assert removed(second) == ["old"]
        assert [site.opened(own(response)) for response in (first, second)] == [ANNA, ANNA]
        assert site.request(remember).set_cookies == []

        site.sees(f"session={own(second)}")
        assert site.request(lambda session: session.set_lifetime(absolute=2 * DAY)).set_cookies == []
        assert site.manager.open(own(second)).expires_at - clock() == 3600

        site = Site(MemoryStore(), Library())
        assert "Max-Age=86400" in site.request(remember).set_cookies[0]

    def test_a_transaction_of_the_first_request_is_told_even_if_it_fails(self, site: Site) -> None:
        """What it stored is stored, and the secret with it."""
        response = site.request(increment, status="500 Internal Server Error")
        assert site.opened(own(response)) == ANNA | {"count": 1}
        assert site.sees() == ANNA | {"count": 1}

    def test_a_response_that_has_started_tells_nothing(self, site: Site) -> None:
        """Used only while it streams, the session is carried over, and the next request is told the cookie."""

        def stream(environ: WSGIEnvironment, start_response: StartResponse) -> Iterator[bytes]:
            start_response("200 OK", [("Content-Type", "text/plain")])
            yield b"one"
            get_session(environ)["late"] = 1
            yield b"two"

        middleware = SessionMiddleware(stream, site.manager.store, carry_over=site.library, clock=site.manager.now)
        assert visit(middleware, cookie=OLD).set_cookies == []
        assert site.opened(own(site.request())) == ANNA | {"late": 1}
