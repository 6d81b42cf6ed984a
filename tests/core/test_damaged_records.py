"""A record that is damaged is a fresh session and one line in the log."""

import math
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from random import Random
from typing import Any

import pytest

from session_middleware import ConflictError, CookiePolicy, JSONCodec, MsgpackCodec, Record, Send, Session, SessionManager
from session_middleware.record import Kind, Previous, pack, pack_values
from session_middleware.stores.base import UserIndexed
from tests.core.records import (
    END_OF_TIME,
    KEY,
    PROOF,
    SOME_IDS,
    TIMES,
    TOKEN,
    Watched,
    a_body,
    a_more,
    a_previous,
    an_envelope,
    damaged_values,
    packed,
    plant,
    resealed,
    sealed,
    stored,
    token_of,
)
from tests.gates import full

SECRET = TOKEN.reveal()[12:]

ACTS: list[Callable[[Session], object]] = [
    lambda session: session.update(visits=1),
    lambda session: session.login("alice"),
    lambda session: session.login("bob", keep=("a",)),
    lambda session: session.regenerate(),
    lambda session: session.invalidate(),
    lambda session: session.clear(),
    lambda session: session.set_lifetime(persistent=True, idle=None),
    lambda session: session.transact(lambda data: data.update(visits=data.get("visits", 0))),
]


class TestADamagedRecord:
    @pytest.mark.unmeasured
    @pytest.mark.parametrize("count", [10_000, pytest.param(full(30_000, 1_000_000), marks=pytest.mark.soak)])
    def test_it_is_a_fresh_session_and_one_line(self, count: int, watched: Watched, lines: list[str]) -> None:
        """Promise 10, F-L2: no exception; one line that names the session and not the token; the record is left alone, and
        what the request writes goes to a new session under a new token."""
        manager = SessionManager(watched)
        kinds = list(islice(damaged_values(), 10 * count))
        for value in Random(5).sample(kinds, count):
            planted = plant(watched, value)
            session = manager.open(TOKEN)

            assert dict(session) == {}
            assert session.is_new
            assert len(lines) == 1
            assert KEY in lines[0]
            assert SECRET not in lines[0]
            assert manager.commit(session) is None
            session["visits"] = 1
            token = token_of(manager.commit(session))
            assert token.id != KEY
            assert manager.open(token)["visits"] == 1
            assert watched.load(KEY) == planted
            assert manager.revoke(token.id)
            assert manager.revoke(KEY)
            lines.clear()

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("count", [10_000, pytest.param(full(30_000, 1_000_000), marks=pytest.mark.soak)])
    def test_a_hostile_one_makes_no_later_request_fail(self, count: int, watched: Watched, lines: list[str]) -> None:
        """Promise 10, V-32: with a check that matches it is empty, or data that can be read, changed and stored again."""
        manager = SessionManager(watched)
        kinds = list(islice(map(resealed, damaged_values()), 10 * count))
        opened = 0
        for number, value in enumerate(Random(6).sample(kinds, count)):
            plant(watched, value)
            session = manager.open(TOKEN)
            opened += not session.is_new
            dict(session.items())
            with suppress(ConflictError):  # a transaction from a snapshot, as of a sign-in just now
                ACTS[number % len(ACTS)](session)
            verdict = manager.commit(session)
            if isinstance(verdict, Send):
                assert not manager.open(verdict.token).is_new
            watched.delete(KEY)

        assert opened > count / 100
        assert not any(SECRET in line for line in lines)

    @pytest.mark.parametrize("user", ["a" * 255, "\0", "\u00e9" * 127, "\U0001f600" * 63, "'\\%s; --"])
    def test_one_at_the_bounds_makes_no_later_request_fail_on_any_store(self, user: str, store: Any) -> None:
        """Promise 10: what the most tolerant store keeps, the strictest one keeps, too; with the cookie that goes out."""
        latest, name = math.nextafter(END_OF_TIME, 0), user.encode()
        binding = b"s" * 32 + struct.pack(">d", latest) + b"k" * 600
        more = a_more(8, 200, 640, mark=b"m" * 12, not_after=latest, rest=SOME_IDS[:96] + b"d" * 200 + binding)
        bodies = [
            a_body(
                {**dict.fromkeys(TIMES, latest), **times},
                flags=flags,
                era=era,
                previous=3,
                user=len(name),
                snapshot=1,
                rest=PROOF + a_previous(at=latest) * 3 + name + (more if flags & 4 else b"") + b"\x80\x80",
            )
            for flags in (0, 7)
            for era in (1, 2**31, 2**32 - 1)
            for times in ({}, {"idle": 0.0}, {"seen": 0.0})
        ]
        policy = CookiePolicy().for_scheme("https")
        manager = SessionManager(store, namespace="session")
        for number, body in enumerate(bodies):
            for act in ACTS:
                store.delete(KEY)
                assert store.create(KEY, Record(sealed(body), int(time.time()) + 9999, user))
                session = manager.open(TOKEN)
                assert session.user_id == user, number
                act(session)
                verdict = manager.commit(session)
                if isinstance(verdict, Send):
                    assert policy.header(verdict.token, max_age=verdict.max_age)
                    assert not manager.open(verdict.token).is_new
        if isinstance(store, UserIndexed):
            manager.sessions_of(user)
            manager.revoke_all(user)
            assert manager.sessions_of(user) == []
            manager.revoke_all("alice")

    @pytest.mark.parametrize("values", [b"\x91" * 100_000, b"null", b"\xc0", b"", b"{}", b"\x81\1\2", b"\x81\xa1a\1"])
    def test_values_of_no_sense_are_a_fresh_session(self, values: bytes, watched: Watched, lines: list[str]) -> None:
        """M11, F-L2: also when the envelope is whole."""
        planted = plant(watched, pack(an_envelope("alice"), values))
        session = SessionManager(watched).open(TOKEN)

        assert dict(session) == {}
        assert session.user_id is None
        assert [KEY in line for line in lines] == [True]
        assert watched.load(KEY) == planted

    @pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=["msgpack", "json"])
    @pytest.mark.parametrize("value", [b"\xc1", b"", b"\x91" * 100_000, b"[" * 100_000, b"NaN", b'"\\ud800"'])
    def test_one_value_of_no_sense_is_one_value_less(
        self, value: bytes, codec: MsgpackCodec | JSONCodec, watched: Watched, lines: list[str]
    ) -> None:
        """M11, F-L2: with either codec, the others are there, and so is the sign-in; one line names the key."""
        plant(watched, pack(an_envelope("alice"), pack_values({"bad": value, "good": codec.encode("value")})))
        session = SessionManager(watched, codec=codec).open(TOKEN)

        assert dict(session) == {"good": "value"}
        assert session.user_id == "alice"
        assert ["'bad'" in line for line in lines] == [True]
        assert len(lines[0]) < 300

    @pytest.mark.parametrize("snapshot", [b"\xc1", b"\x80\x80", b"\x81\1\2", b"\x81\xa1a\1", b"\x91" * 1000])
    def test_a_snapshot_of_no_sense_is_empty(self, snapshot: bytes, watched: Watched) -> None:
        """Promises 10 and 18: for those who come with the secret from before a sign-in."""
        replaced = Previous(PROOF, Kind.SIGNED_IN, time.time())
        envelope = an_envelope("alice", current=(b"c" * 16,), previous=(replaced,), snapshot=snapshot)
        plant(watched, pack(envelope, packed({"name": "alice"})))
        session = SessionManager(watched).open(TOKEN)

        assert dict(session) == {}
        assert session.user_id is None

    def test_a_session_of_another_codec_has_no_values(self, watched: Watched, lines: list[str]) -> None:
        """AC-5.5: a change of codec loses data, and breaks nothing."""
        token = token_of(stored(SessionManager(watched, codec=JSONCodec()), {"name": "Zoë"}))
        session = SessionManager(watched).open(token)

        assert dict(session) == {}
        assert not session.is_new
        assert len(lines) == 1

    def test_it_can_be_removed_without_being_read(self, watched: Watched) -> None:
        """AC-5.5: ending a session asks nothing of its record."""
        plant(watched, b"damaged")

        assert SessionManager(watched).revoke(KEY)
        assert watched.load(KEY) is None
