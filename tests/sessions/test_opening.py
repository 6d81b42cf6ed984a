"""What tokens open: sessions, snapshots and nothing; of several, at most one."""

import logging
import time
from typing import Any

import pytest

from session_middleware import (
    ConfigurationError,
    Forget,
    JSONCodec,
    Lifetime,
    MemoryStore,
    PayloadError,
    Record,
    Session,
    SessionManager,
    Store,
)
from session_middleware.record import pack, pack_values, unpack, unpack_values
from session_middleware.rules import Opens
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.sealing import mark_there, opened
from tests.sites import ANOTHER, DATA, MADE_UP, Site, login, sent, setting


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


class TestOneToken:
    @pytest.mark.parametrize(
        "text", ["", "x", "A" * 39, "A" * 41, "A" * 39 + "=", "A" * 39 + "\n", " " + "A" * 39, "é" * 40, "A" * 65536]
    )
    def test_what_has_not_the_form_of_a_token_reaches_no_store(self, site: Site, text: str) -> None:
        """Promise 11: it is no token, and the session is a new one."""
        session = site.manager.open(text)

        assert site.calls(lambda: dict(session)) == []
        assert session.is_new

    def test_a_token_may_be_given_as_its_text(self, site: Site) -> None:
        """For scripts and for integrations that read cookies themselves."""
        token = site.begin()

        assert dict(site.manager.open(token.reveal())) == dict(site.manager.open(token)) == DATA

    def test_a_token_is_never_adopted(self, site: Site) -> None:
        """Promise 11: what a client made up becomes no session of its own; the server picks another id and secret."""
        session = site.open(MADE_UP)
        session["a"] = 1
        token = site.sent(session)

        assert token.id != MADE_UP.id
        assert not site.is_alive(MADE_UP)
        assert site.records() == [token.id]

    def test_a_secret_that_is_not_the_sessions_opens_nothing(self, site: Site) -> None:
        """Promise 11: the id is no secret, so whoever knows it still knows nothing."""
        token = site.begin()
        text = token.reveal()
        wrong = [text[:12] + "A" * 28, text[:-1] + ("A" if text[-1] != "A" else "B"), text[:12] + text[12:].swapcase()]

        assert not any(site.is_alive(Token(guess)) for guess in wrong)
        assert site.data(*(Token(guess) for guess in wrong)) == {}
        session = site.open(Token(wrong[0]))
        session["mine"] = 1
        assert site.sent(session).id != token.id
        assert site.data(token) == DATA

    def test_signing_out_with_a_wrong_secret_ends_nothing(self, site: Site) -> None:
        """Promise 11: an id is good for ``revoke()`` only, which the application guards."""
        token = site.begin(user_id="alice")

        assert site.request(Token(token.id + "A" * 28), Session.invalidate) == Forget()
        assert site.is_alive(token)

    def test_the_store_never_sees_a_secret(self, site: Site) -> None:
        """Promises 11 and 25: neither as a key nor in a value; not of those that were replaced either."""
        first = site.begin()
        second = site.follow(first, login("alice"))
        third = site.follow(second, Session.regenerate)

        (key,) = site.records()
        stored = site.store.load(key)
        assert stored is not None
        for token in (first, second, third):
            assert token.reveal()[12:].encode() not in key.encode() + stored.value

    def test_the_id_of_a_mark_opens_nothing(self, site: Site) -> None:
        """What stands there is no session, whoever knows its name."""
        site.begin(user_id="alice")
        site.manager.revoke_all("alice")
        mark = mark_there("alice")
        assert site.store.inner.load(mark) is not None

        assert not site.is_alive(Token(mark + "A" * 28))
        assert site.manager.find(mark) is None
        assert site.manager.revoke(mark) is False

    def test_reading_one_key_decodes_one_value(self, site: Site) -> None:
        """Promise 21: and encodes none; a write encodes what changed."""
        token = site.begin({f"key {number}": [number] for number in range(50)})
        session = site.open(token)

        assert site.decoded(lambda: session["key 7"]) == 1
        assert site.decoded(lambda: session["key 7"]) == 0
        assert site.decoded(lambda: "key 8" in session) == 1
        assert site.encoded(lambda: session.__setitem__("new", 1)) == 0
        assert site.encoded(lambda: site.manager.commit(session)) == 2  # the value that was handed out, and the new one
        assert site.decoded(lambda: site.open(token).user_id) == 0


class TestDamage:
    """Promise 10: a hostile or damaged record is a fresh session and one log line, and is left as it is."""

    def damage(self, site: Site, token: Token, value: bytes) -> None:
        stored = site.store.inner.load(token.id)
        assert stored is not None
        assert site.store.inner.update(token.id, Record(value, int(site.clock()) + 99, None), version=stored.version)

    def found(self, site: Site, token: Token) -> bytes:
        stored = site.store.inner.load(token.id)
        assert stored is not None
        return stored.value

    @pytest.mark.parametrize("kind", ["bytes", "truncated", "flipped", "values", "values of values", "empty"])
    def test_a_damaged_record_is_a_fresh_session(self, site: Site, kind: str, caplog: pytest.LogCaptureFixture) -> None:
        """No exception, never overwritten in place, and the next write is a session of its own."""
        token = site.begin()
        before, state = self.found(site, token), site.loaded(token).state
        assert state is not None
        damaged = {
            "bytes": b"not a record",
            "truncated": before[:-1],
            "flipped": before[:-1] + bytes([before[-1] ^ 1]),
            "values": pack(state.envelope, b"\xc1"),
            "values of values": pack(state.envelope, b"\x81\xa1a\x01"),
            "empty": b"",
        }[kind]
        self.damage(site, token, damaged)
        session = site.open(token)
        session["fresh"] = 1
        fresh = site.sent(session)

        assert site.data(fresh) == {"fresh": 1}
        assert fresh.id != token.id
        assert self.found(site, token) == damaged
        assert [record.message.partition(":")[0] for record in caplog.records if record.levelno == logging.ERROR] == [
            f"session {token.id}"
        ]

    def test_a_record_of_another_session_opens_nothing(self, site: Site) -> None:
        """Its proofs are bound to their id, so whoever can write to the store cannot move a session under another's."""
        token, other = site.begin({"mine": 1}), site.begin({"theirs": 1})
        self.damage(site, token, self.found(site, other))

        assert site.data(token) == {}
        assert not site.is_alive(token)

    def test_a_value_that_cannot_be_read_is_absent_and_stays(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """The others are there, and a write does not touch it: perhaps another version of the application can read it."""
        token = site.begin({"a": 1, "b": 2})
        state = site.loaded(token).state
        assert state is not None
        assert state.found is not None
        values = {**state.found.values, "b": b"\xc1"}
        self.damage(site, token, pack(state.envelope, pack_values(values)))
        session = site.open(token)

        assert session == {"a": 1}
        assert "b" not in session
        assert session.get("b", 5) == 5
        assert caplog.text.count("a value of a session cannot be read, and counts as absent: ['b']") == 1
        session["c"] = 3
        site.manager.commit(session)
        assert unpack_values(self.values(site, token))["b"] == b"\xc1"
        site.request(token, setting("b", 4))
        assert site.data(token) == {"a": 1, "b": 4, "c": 3}

    def values(self, site: Site, token: Token) -> bytes:
        found = unpack(self.found(site, token))
        assert isinstance(found, tuple)
        return opened(*found)[1]

    def test_a_damaged_snapshot_is_an_empty_one(self, site: Site) -> None:
        """The session itself is none the worse for it."""
        token = site.begin({"cart": 1})
        new = site.follow(token, login("alice"))
        state = site.loaded(new).state
        assert state is not None
        assert state.found is not None
        self.damage(site, new, pack(state.envelope._replace(snapshot=b"\xc1"), pack_values(state.found.values)))

        assert site.opens(token) is Opens.SNAPSHOT
        assert site.data(token) == {}
        assert site.data(new) == {"cart": 1}

    def test_a_record_over_the_limit_is_not_even_decoded(self, store: Store, clock: FakeClock) -> None:
        """Whoever can write to the store cannot make a request take its memory."""
        token = Site(store, clock).begin({"a": "x" * 6000})

        assert not Site(store, clock, max_bytes=4096).is_alive(token)


class TestSeveralTokens:
    """Promise 20: of several cookies of one name, the signed-in one counts; else the one alive; else the snapshot."""

    def test_one_live_token_of_several_is_used(self, site: Site) -> None:
        """A stale cookie beside the good one does no harm."""
        token = site.begin()

        for several in ([token, MADE_UP], [MADE_UP, token], [MADE_UP, ANOTHER, token]):
            assert site.data(*several) == DATA

    def test_two_tokens_of_one_session_are_one(self, site: Site) -> None:
        """Those of a double click, each of which the browser may have kept for another path."""
        token = site.begin()
        slow = site.loaded(token)
        first = site.follow(token, login("alice"))
        login("alice")(slow)
        second = site.sent(slow)

        assert first != second
        for several in ([first, second], [token, first], [first, token], [token, second, first]):
            assert site.user(*several) == "alice"

    def test_the_one_that_is_signed_in_is_used(self, site: Site) -> None:
        """A planted anonymous session beside it does no harm, nor do three, nor seven."""
        for planted in (1, 3, 7):
            mine = site.begin({"mine": 1}, user_id="alice")
            tossed = [site.begin({"planted": 1}) for _ in range(planted)]

            assert site.data(*tossed, mine) == site.data(mine, *tossed) == {"mine": 1}

    def test_the_one_that_is_alive_is_used_and_not_a_snapshot(self, site: Site) -> None:
        """A snapshot is what is left of a cookie that was replaced a moment ago."""
        replaced = site.begin({"old": 1})
        new, alive = site.follow(replaced, login("alice")), site.begin({"mine": 1})

        assert site.data(replaced, alive) == {"mine": 1}
        assert site.data(replaced) == {"old": 1}
        assert site.user(replaced, new, alive) == "alice"

    def test_two_of_one_rank_are_none(self, site: Site, caplog: pytest.LogCaptureFixture) -> None:
        """A cookie tossed from another host must not choose the session."""
        pairs = [
            (site.begin({"mine": 1}), site.begin({"planted": 1})),
            (site.begin({"mine": 1}, user_id="alice"), site.begin({"planted": 1}, user_id="mallory")),
        ]
        snapshots = (site.begin({"mine": 1}), site.begin({"planted": 1}))
        for token in snapshots:
            site.follow(token, login("alice"))
        for first, second in (*pairs, snapshots):
            caplog.clear()
            session = site.open(first, second)

            assert session == {}
            assert session.is_new
            assert "2 sessions of the same rank in one request: none of them is used" in caplog.text
            assert site.manager.commit(session) is None

    def test_signing_out_with_two_live_tokens_ends_both(self, site: Site) -> None:
        """Promise 5: whichever was meant."""
        first, second = site.begin(), site.begin()
        session = site.open(first, second)
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(first)
        assert not site.is_alive(second)

    def test_signing_out_ends_the_one_that_was_used(self, site: Site) -> None:
        """Promise 5: that is the session that was seen."""
        mine, other = site.begin(user_id="alice"), site.begin()
        session = site.open(mine, other)
        session.invalidate()

        assert site.manager.commit(session) == Forget()
        assert not site.is_alive(mine)
        assert site.is_alive(other)

    def test_a_write_with_two_live_tokens_begins_a_third_session(self, site: Site) -> None:
        """It changes neither of the two."""
        first, second = site.begin({"a": 1}), site.begin({"a": 2})
        session = site.open(first, second)
        session["a"] = 3

        assert site.data(site.sent(session)) == {"a": 3}
        assert (site.data(first), site.data(second)) == ({"a": 1}, {"a": 2})

    @pytest.mark.parametrize("user_id", [None, "mallory"])
    @pytest.mark.parametrize("mine", [None, "alice", "carol"])
    def test_who_signs_in_ends_all_that_the_cookies_opened(self, site: Site, mine: str | None, user_id: str | None) -> None:
        """Promise 20: whatever was tossed, and whichever was used, on the next page there is one signed in."""
        for count in (1, 3, 7):
            own = site.begin({"mine": 1}, user_id=mine)
            tossed = [site.begin({"planted": 1}, user_id=user_id) for _ in range(count)]
            session = site.open(*tossed, own)
            login("alice", private=1)(session)
            new = site.sent(session)

            assert site.user(*tossed, new) == "alice"
            assert site.data(*tossed, new)["private"] == 1
            assert not any(map(site.is_alive, tossed))
            assert new.id == own.id or not site.is_alive(own)

    def test_a_tossed_token_that_was_used_is_no_danger(self, site: Site) -> None:
        """Promise 18: the only one alive was planted; who signs in with it gets a secret that the planter has not."""
        tossed = site.begin({"planted": 1})
        session = site.open(MADE_UP, tossed)
        login("alice", private=1)(session)
        new = site.sent(session)

        assert site.user(tossed, new) == "alice"
        assert site.data(tossed) == {"planted": 1}
        assert not site.is_alive(tossed)

    def test_signing_in_as_another_user_ends_the_others_too(self, site: Site) -> None:
        """The session of the former user, and whatever else the cookies have opened."""
        former, other = site.begin(user_id="mallory"), site.begin()
        session = site.open(former, other)
        login("alice")(session)

        assert site.user(site.sent(session)) == "alice"
        assert not site.is_alive(former)
        assert not site.is_alive(other)

    def test_who_signs_in_after_a_transaction_ends_them_too(self, site: Site) -> None:
        """What the request has stored before changes nothing about what its cookies have opened."""
        mine, other = site.begin(user_id="alice"), site.begin()
        session = site.open(mine, other)
        session.transact(lambda data: data.update(n=1))
        login("alice")(session)

        assert site.user(site.sent(session)) == "alice"
        assert not site.is_alive(other)

    def test_who_signs_out_and_in_ends_them_too(self, site: Site) -> None:
        """In one request."""
        mine, other = site.begin(user_id="alice"), site.begin()
        session = site.open(mine, other)
        session.invalidate()
        login("alice")(session)

        assert site.user(site.sent(session)) == "alice"
        assert not site.is_alive(mine)
        assert not site.is_alive(other)

    def test_a_request_that_is_tried_again_ends_no_more_than_it_did(self, site: Site) -> None:
        """What the first try has ended stays ended, and only that."""
        mine, other = site.begin(user_id="alice"), site.begin()
        session = site.open(mine, other)
        session.invalidate()
        session.start_over()
        session["a"] = 1
        site.sent(session)

        assert not site.is_alive(mine)
        assert site.is_alive(other)
