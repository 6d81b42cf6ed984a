"""How large a session may be, who is told, and that nobody is locked out by it."""

import logging
from typing import Any

import pytest

from session_middleware import (
    MemoryStore,
    MsgpackCodec,
    Send,
    Session,
    SessionManager,
    SessionMiddleware,
    SessionTooLarge,
    Store,
)
from session_middleware.manager import MAX_BYTES
from session_middleware.record import LEAST, MORE, Kind, Previous, pack, pack_values, unpack
from session_middleware.rules import Opens
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token, new_id
from tests.apps import list_app, visit
from tests.sealing import opened
from tests.sites import Site, login, regenerate, setting

LIMIT = 2048
LONGEST_USER = "x" * 255


@pytest.fixture
def small(store: Store, clock: FakeClock) -> Site:
    """A site with a low limit."""
    return Site(store, clock, max_bytes=LIMIT)


def filling(limit: int) -> dict[str, Any]:
    """Return data that fill a session to the last byte."""
    cart = "x" * (limit - LEAST - 100)
    missing = limit - LEAST - len(pack_values({"cart": MsgpackCodec().encode(cart)}))
    return {"cart": cart + "x" * missing}


def size(site: Site, token: Token) -> int:
    stored = site.store.inner.load(token.id)
    assert stored is not None
    session = unpack(stored.value)
    assert isinstance(session, tuple)
    return len(pack(*opened(*session)))


def test_the_default_is_256_kib() -> None:
    """Of the manager and of the middleware."""
    application = SessionMiddleware(list_app(lambda environ: None), MemoryStore())

    assert MAX_BYTES == 256 * 1024
    for manager in (SessionManager(MemoryStore()), application.manager):
        session = manager.open()
        session.update(filling(MAX_BYTES))
        assert isinstance(manager.commit(session), Send)
        session["more"] = 1
        with pytest.raises(SessionTooLarge):
            manager.commit(session)


class TestWarning:
    def test_a_large_session_is_warned_of(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """With its id and size, the limit, the option that sets it, and the largest keys; never the token."""
        token = site.begin({"small": 1, "cart": "x" * 70_000, "csrf": "y" * 100})

        (message,) = caplog.messages
        assert message.startswith(f"session {token.id} takes 70,2")
        assert " of max_bytes=262144: 'cart' 70,0" in message
        assert message.endswith(", 'csrf' 102, 'small' 1")
        assert token.reveal()[12:] not in caplog.text

    def test_many_keys_are_counted(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """One line, however many there are."""
        site.begin({f"key {number}": "x" * 1000 for number in range(70)})

        assert ", and 62 more" in caplog.text

    def test_a_key_cannot_write_lines_of_its_own(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A-16.4.1: one line an event, whatever the application calls its keys."""
        site.begin({"a\nb": "x" * 70_000})

        assert "\n" not in caplog.messages[0]

    def test_a_session_up_to_64_kib_is_not_mentioned(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """No line in the log of a healthy site."""
        token = site.begin({"cart": "x" * 65_000})
        site.request(token, setting("n", 1))
        site.follow(token, login("alice"))

        assert [record for record in caplog.records if record.levelno > logging.INFO] == []


class TestLimit:
    def test_a_session_over_the_limit_is_refused(self, small: Site) -> None:
        """Promise 9: the error says what takes the room, and the stored session is unchanged."""
        token = small.begin({"a": 1})

        with pytest.raises(SessionTooLarge, match="over the limit of 2,048: 'cart' 3,0") as caught:
            small.request(token, setting("cart", "x" * 3000))
        assert caught.value.limit == LIMIT
        assert caught.value.size > 3000
        assert caught.value.by_key.keys() == {"a", "cart"}
        assert small.data(token) == {"a": 1}
        with pytest.raises(SessionTooLarge):
            small.begin({"cart": "x" * 3000})

    def test_a_transaction_over_the_limit_is_refused(self, small: Site) -> None:
        """Promise 9: at the call; the application may go on without it."""
        token = small.begin({"a": 1})
        session = small.open(token)

        with pytest.raises(SessionTooLarge):
            session.transact(lambda data: data.update(cart="x" * 3000))
        session["b"] = 2
        small.manager.commit(session)
        assert small.data(token) == {"a": 1, "b": 2}

    def test_a_change_that_fits_only_alone_is_refused_over_another(self, small: Site) -> None:
        """Promise 3: laying changes over others does not get past the limit, and what was there first stays."""
        token = small.begin({"a": 1})
        session = small.loaded(token)
        small.request(token, setting("theirs", "x" * 1200))
        session["mine"] = "x" * 1200

        with pytest.raises(SessionTooLarge):
            small.manager.commit(session)
        assert small.data(token).keys() == {"a", "theirs"}

    def test_a_limit_that_was_lowered_harms_no_reader(self, store: Store, clock: FakeClock) -> None:
        """What is over it by little can be read still; that it was used cannot be noted, and that is all."""
        token = Site(store, clock).begin(filling(LIMIT + MORE - 100))
        lower = Site(store, clock, max_bytes=LIMIT)
        clock.advance(600)

        assert lower.request(token, len) is None
        assert lower.is_alive(token)


class TestSigningIn:
    """Promise 20: nobody is locked out by what an anonymous session holds, be it planted."""

    @pytest.mark.parametrize("user_id", ["alice", LONGEST_USER])
    def test_a_session_that_is_full_can_be_signed_in_regenerated_and_ended(self, small: Site, user_id: str) -> None:
        """What that adds to the record does not count."""
        token = small.begin(filling(LIMIT))
        assert size(small, token) == LIMIT
        slow = [small.loaded(token) for _ in range(4)]
        new = small.follow(token, login(user_id))
        for session in slow:
            login(user_id)(session)
            new = small.sent(session)
        for _ in range(4):
            new = small.follow(new, login(user_id))
            new = small.follow(new, Session.regenerate)

        assert small.user(new) == user_id
        assert small.data(new) == filling(LIMIT)
        assert size(small, new) > LIMIT
        small.request(new, Session.invalidate)
        assert small.live() == []

    def test_the_largest_envelope_there_can_be_has_room(self, small: Site) -> None:
        """The longest user id, four current secrets, three replaced ones, a mark, and eight aliases."""
        token = small.begin(filling(LIMIT), user_id=LONGEST_USER)
        state = small.loaded(token).state
        assert state is not None
        assert state.found is not None
        envelope = state.envelope._replace(
            current=(*state.envelope.current, b"1" * 16, b"2" * 16, b"3" * 16),
            previous=(Previous(b"4" * 16, Kind.REPLACED, 1.0),) * 3,
            mark="m" * 12,
            aliases=tuple([new_id() for _ in range(8)]),
        )
        small.manager._sessions.replace(state.found, envelope, state.found.values)

        assert LIMIT < size(small, token) <= LIMIT + MORE
        assert small.is_alive(token)

    def test_the_snapshot_is_left_out_where_it_does_not_fit(self, small: Site) -> None:
        """The old token opens an empty one then; the session has everything."""
        for cart, snapshot in ((700, True), (1500, False)):
            token = small.begin({"cart": "x" * cart})
            new = small.follow(token, login("alice"))

            assert small.data(new) == {"cart": "x" * cart}
            assert small.opens(token) is Opens.SNAPSHOT
            assert small.data(token) == ({"cart": "x" * cart} if snapshot else {})

    def test_the_snapshot_gives_way_to_what_the_session_needs(self, small: Site) -> None:
        """What comes after the sign-in has the whole room."""
        token = small.begin({"cart": "x" * 700})
        new = small.follow(token, login("alice"))
        small.request(new, setting("more", "y" * 1000))

        assert small.data(new) == {"cart": "x" * 700, "more": "y" * 1000}
        assert small.data(token) == {}

    @pytest.mark.parametrize("act", [setting("n", 1), len])
    def test_the_snapshot_goes_when_its_time_is_over(self, site: Site, act: Any) -> None:
        """Promise 21: with the first write, or the first use that is noted; from then on nobody pays for it."""
        token = site.begin({"cart": "x" * 1000})
        new = site.follow(token, login("alice"))
        before = size(site, new)
        site.request(new, setting("a", 1))
        assert size(site, new) > before
        site.clock.advance(60)
        site.request(new, act)

        assert size(site, new) < before - 1000
        assert site.data(new)["cart"] == "x" * 1000

    def test_a_large_anonymous_session_signs_in(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """200 KiB of a cart: the warning, and no error."""
        token = site.begin({"cart": "x" * 200_000})
        new = site.follow(token, login("alice"))

        assert site.user(new) == "alice"
        assert len(site.data(new)["cart"]) == 200_000
        assert size(site, new) < 201_000
        assert "takes 200," in caplog.text


def test_a_late_change_that_is_too_large_is_logged(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """Promise 6: the response is on its way, so there is only the log to tell; what was stored stays."""
    token = site.begin({"a": 1})

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        start_response("200 OK", [])
        session = environ["session_middleware.session"]
        yield b"%d" % session["a"]
        session["cart"] = "x" * 300_000

    response = visit(SessionMiddleware(app, site.store), cookie=f"session={token.reveal()}")

    assert response.body == b"1"
    assert "is lost: the session takes 300," in caplog.text
    assert site.data(token) == {"a": 1}


def test_a_snapshot_is_what_was_there_before(site: Site) -> None:
    """Promise 18: without what the sign-in's own request has set, changed or deleted."""
    token = site.begin({"cart": [1], "old": 1})

    def act(session: Session) -> None:
        session["cart"].append(2)
        del session["old"]
        regenerate(session)
        login("alice", private=1)(session)

    new = site.follow(token, act)

    assert site.data(new) == {"cart": [1, 2], "regenerated": True, "private": 1}
    assert site.data(token) == {"cart": [1], "old": 1}
    stored = site.store.inner.load(new.id)
    assert stored is not None
    found = unpack(stored.value)
    assert isinstance(found, tuple)
    assert b"private" not in found[0].snapshot
