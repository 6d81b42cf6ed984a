"""The envelope: what it keeps, what it notices, and what becomes of a damaged or an oversized session."""

import logging
import math
import struct
import time
from collections.abc import Iterator
from itertools import chain, islice
from random import Random
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import (
    JSONCodec,
    MemoryStore,
    MsgpackCodec,
    PayloadError,
    Record,
    Send,
    SessionManager,
    SessionTooLarge,
    Stored,
    tokens,
)
from session_middleware.record import Damaged, Envelope, Moved, pack, pack_moved, unpack
from session_middleware.stores.base import Version
from tests.values import EVERYTHING, flipped, mutated, same, truncated

TOKEN = "T" * 43
KEY = tokens.key_function("session")(TOKEN)
OTHER = tokens.key_function("session")("O" * 43)
CODEC = MsgpackCodec()

moments = st.floats(0, 1e11)
durations = st.floats(1e-3, 1e10)
envelopes = st.builds(
    Envelope,
    st.none() | st.text(min_size=1, max_size=60),
    moments,
    moments,
    st.none() | durations,
    durations,
    st.booleans(),
)


def an_envelope(user_id: str | None = None, *, idle: float | None = 3600.0, persistent: bool = False) -> Envelope:
    now = time.time()
    return Envelope(user_id, now, now, idle, 86400.0, persistent)


def sealed(body: bytes, key: str = KEY, form: int = 1) -> bytes:
    """Return a value with a check that matches, as somebody who can write to the store could make it."""
    return struct.pack(">BI", form, crc32(key.encode() + body)) + body


def resealed(value: bytes) -> bytes:
    return sealed(value[5:])


def a_body(kind: int = 1, flags: int = 0, times: tuple[float, ...] = (0, 0, 0, 0), rest: bytes = b"\0\0") -> bytes:
    return struct.pack(">BB4d", kind, flags, *times) + rest


def the_values() -> list[bytes]:
    """Return what a store may hold under the key, of every shape."""
    return [
        pack(KEY, an_envelope(), CODEC.encode({"visits": 1})),
        pack(KEY, an_envelope("alice", persistent=True), CODEC.encode(EVERYTHING)),
        pack(KEY, an_envelope("zoë", idle=None), CODEC.encode({})),
        pack_moved(KEY, Moved(OTHER)),
    ]


def damaged_values() -> Iterator[bytes]:
    """Yield values that are not what was written: first the systematic damage, then more of it at random, without end."""
    whole = the_values()
    systematic = chain.from_iterable(chain(truncated(value), flipped(value)) for value in whole)
    return (value for value in chain(systematic, mutated(whole, Random(4))) if value not in whole)


class TestRecord:
    @settings(max_examples=200, deadline=None)
    @given(envelopes, st.binary(max_size=100))
    def test_what_is_packed_is_unpacked(self, envelope: Envelope, payload: bytes) -> None:
        """The times, the lifetimes and the user are kept beside the payload, to the last bit."""
        found = unpack(KEY, pack(KEY, envelope, payload))

        assert found == (envelope, payload)
        assert isinstance(found, tuple)
        assert type(found[0]) is Envelope
        assert type(found[0].persistent) is bool

    def test_a_pointer_is_unpacked(self) -> None:
        """A moved session says where it is, and nothing else."""
        assert unpack(KEY, pack_moved(KEY, Moved(OTHER))) == Moved(OTHER)

    def test_the_format_is_as_written(self) -> None:
        """The equation in the docstring of the module."""
        envelope = Envelope("é", 1.0, 2.0, 3.0, 4.0, persistent=True)
        body = bytes((1, 1 + 2 + 4)) + struct.pack(">4d", 1, 2, 3, 4) + b"\0\2\xc3\xa9" + b"payload"

        assert pack(KEY, envelope, b"payload") == sealed(body)
        assert pack_moved(KEY, Moved(OTHER)) == sealed(b"\2" + OTHER.encode())

    def test_the_envelope_is_small(self) -> None:
        """AC-21.2: a session that holds a sign-in takes less than 200 bytes."""
        assert len(pack(KEY, an_envelope("alice"), CODEC.encode({"uid": 1}))) < 60

    def test_a_value_under_another_key_is_damaged(self) -> None:
        """V-33: a record that was copied to another key opens no session there."""
        for value in the_values():
            with pytest.raises(Damaged, match="check does not match"):
                unpack(OTHER, value)

    def test_every_damage_is_noticed(self) -> None:
        """Promise 10, V-33: cut at every byte, with any bit flipped: never partial data, never other data."""
        for whole in the_values():
            for value in chain(truncated(whole), flipped(whole)):
                with pytest.raises(Damaged):
                    unpack(KEY, value)

    @pytest.mark.parametrize("form", [0, 2, 255])
    def test_another_format_is_not_read(self, form: int) -> None:
        """AC-5.4: a record of a version that is not known is unreadable, and not guessed at."""
        with pytest.raises(Damaged, match=f"format {form} is not known"):
            unpack(KEY, sealed(the_values()[0][5:], form=form))

    @pytest.mark.parametrize(
        "body",
        [
            a_body(kind=0),
            a_body(kind=3),
            *(a_body(times=times) for times in [(math.nan, 0, 0, 0), (0, math.nan, 0, 0), (0, 0, math.nan, 0)]),
            a_body(times=(0, 0, 0, math.nan)),
            *(a_body(times=times) for times in [(math.inf, 0, 0, 0), (0, 1e300, 0, 0), (0, 0, math.inf, 0)]),
            a_body(times=(0, 0, 0, 1e12)),
            a_body(flags=4, rest=b"\0\2\xff\xfe"),
            a_body(flags=4, rest=b"\0\1\xc3\xa9"),
            b"\2" + b"short".ljust(42, b"A"),
            b"\2" + b"A" * 44,
            b"\2" + b"A" * 42 + b"\n",
            b"\2" + b"\xff" * 43,
        ],
        ids=lambda body: body[:12].hex(),
    )
    def test_a_value_that_nobody_would_write_is_damaged(self, body: bytes) -> None:
        """Promise 10: also when its check matches; a NaN or an endless time never makes a session."""
        with pytest.raises(Damaged):
            unpack(KEY, sealed(body))

    @pytest.mark.parametrize("times", [(-math.inf, 0, 0, 0), (0, -math.inf, -math.inf, 0), (-1e308, -1e308, 0, -1e308)])
    def test_a_time_before_all_time_has_expired(self, times: tuple[float, ...]) -> None:
        """Promises 10 and 12: such a value is read, and its session has ended."""
        found = unpack(KEY, sealed(a_body(flags=2, times=times)))

        assert isinstance(found, tuple)
        assert found[0].expires_at <= 0

    @settings(max_examples=100, deadline=None)
    @given(envelopes, moments)
    def test_use_changes_the_time_of_use_alone(self, envelope: Envelope, now: float) -> None:
        """What a touch writes: the deadline follows from it."""
        assert envelope.used(now) == envelope._replace(last_seen_at=now)
        end = envelope.created_at + envelope.absolute
        assert envelope.expires_at == min(
            end, envelope.last_seen_at + (math.inf if envelope.idle is None else envelope.idle)
        )

    @pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
    def test_damaged_values_are_damaged_and_nothing_else(self, count: int) -> None:
        """Promise 10, F-L2: random bytes, spliced halves, overwritten bytes: no exception but Damaged."""
        noticed = 0
        for value in islice(damaged_values(), count):
            try:
                unpack(KEY, value)
            except Damaged:
                noticed += 1

        assert noticed == count

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
    def test_hostile_values_are_refused_or_mere_data(self, count: int) -> None:
        """Promise 10, V-32: the same damage under a check that matches reaches envelope and codec, and goes no further."""
        read = refused = 0
        for value in islice(map(resealed, damaged_values()), count):
            try:
                found = unpack(KEY, value)
                if isinstance(found, tuple):
                    data = CODEC.decode(found[1])
                    assert same(CODEC.decode(CODEC.encode(data)), data)
                read += 1
            except (Damaged, PayloadError):
                refused += 1

        assert read + refused == count
        assert read > count / 100
        assert refused > count / 10


class Watched(MemoryStore):
    """A store that notes the calls that write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def create(self, key: str, record: Record) -> bool:
        self.writes.append("create")
        return super().create(key, record)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self.writes.append("update")
        return super().update(key, record, version=version)

    def delete(self, key: str) -> bool:
        self.writes.append("delete")
        return super().delete(key)


@pytest.fixture
def store() -> Watched:
    return Watched()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged while the test runs."""
    found: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: found.append(record.getMessage())  # type: ignore[method-assign]  # a handler to look into
    logger = logging.getLogger("session_middleware")
    logger.addHandler(handler)
    logger.propagate = False
    yield found
    logger.removeHandler(handler)
    logger.propagate = True


def plant(store: Watched, value: bytes) -> Stored:
    assert MemoryStore.create(store, KEY, Record(value, int(time.time()) + 9999, None))
    stored = store.load(KEY)
    assert stored is not None
    return stored


def token_of(verdict: object) -> str:
    assert isinstance(verdict, Send)
    return verdict.token


class TestADamagedRecord:
    @pytest.mark.unmeasured
    @pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
    def test_it_is_a_fresh_session_and_one_line(self, count: int, store: Watched, lines: list[str]) -> None:
        """Promise 10, F-L2: no exception; one line that names the session and not the token; the record is left alone, and
        what the request writes goes to a new session under a new token."""
        manager = SessionManager(store)
        kinds = list(islice(damaged_values(), 10 * count))
        for value in Random(5).sample(kinds, count):
            planted = plant(store, value)
            session = manager.open(TOKEN)

            assert dict(session) == {}
            assert session.is_new
            assert len(lines) == 1
            assert KEY in lines[0]
            assert TOKEN not in lines[0]
            assert manager.commit(session) is None
            session["visits"] = 1
            token = token_of(manager.commit(session))
            assert token != TOKEN
            assert manager.open(token)["visits"] == 1
            assert store.load(KEY) == planted
            assert manager.revoke(manager.open(token).id)
            assert manager.revoke(KEY)
            lines.clear()

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
    def test_a_hostile_one_makes_no_later_request_fail(self, count: int, store: Watched, lines: list[str]) -> None:
        """Promise 10, V-32: with a check that matches it is empty, or data that can be read, changed and stored again."""
        manager = SessionManager(store)
        kinds = list(islice(map(resealed, damaged_values()), 10 * count))
        for value in Random(6).sample(kinds, count):
            plant(store, value)
            session = manager.open(TOKEN)
            read = dict(session.items())

            assert len(lines) <= 1
            assert not (read and lines)
            session["visits"] = 1
            manager.commit(session)
            store.delete(KEY)
            lines.clear()

    @pytest.mark.parametrize(
        "payload", [b"[" * 100_000, b"\x91" * 100_000, b"null", b"\xc0", b"", b'{"a":NaN}', b"\x81\x01\x02"]
    )
    @pytest.mark.parametrize("codec", [MsgpackCodec(), JSONCodec()], ids=["msgpack", "json"])
    def test_a_payload_of_no_sense_is_a_fresh_session(
        self, payload: bytes, codec: MsgpackCodec | JSONCodec, store: Watched, lines: list[str]
    ) -> None:
        """M11, F-L2: with either codec, also when the envelope is whole."""
        planted = plant(store, pack(KEY, an_envelope("alice"), payload))
        session = SessionManager(store, codec=codec).open(TOKEN)

        assert dict(session) == {}
        assert session.user_id is None
        assert [KEY in line for line in lines] == [True]
        assert store.load(KEY) == planted

    def test_a_session_of_another_codec_is_a_fresh_session(self, store: Watched, lines: list[str]) -> None:
        """AC-5.5: a change of codec loses sessions, and breaks none."""
        token = token_of(stored(SessionManager(store, codec=JSONCodec()), {"name": "Zoë"}))
        assert dict(SessionManager(store).open(token)) == {}
        assert len(lines) == 1

    def test_it_can_be_removed_without_being_read(self, store: Watched) -> None:
        """AC-5.5: ending a session asks nothing of its record."""
        plant(store, b"damaged")

        assert SessionManager(store).revoke(KEY)
        assert store.load(KEY) is None


def stored(manager: SessionManager, data: dict[str, Any]) -> Send:
    session = manager.open()
    session.update(data)
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return verdict


class TestAnOversizedSession:
    def test_it_is_refused_before_the_store_is_asked(self, store: Watched) -> None:
        """F-L1, AC-21.1: the error says which key takes how much, and the stored session is as it was."""
        manager = SessionManager(store)
        token = token_of(stored(manager, {"cart": ["tea"], "name": "alice"}))
        before = store.load(manager.open(token).id)
        store.writes.clear()
        session = manager.open(token)
        session["cart"] = ["x" * 1_100_000]
        session["note"] = "y" * 1_000

        with pytest.raises(SessionTooLarge) as caught:
            manager.commit(session)

        assert store.writes == []
        assert store.load(session.id) == before
        assert manager.open(token)["cart"] == ["tea"]
        assert caught.value.limit == 1024 * 1024
        assert 1_101_000 < caught.value.size < 1_101_300
        assert list(caught.value.by_key) == ["cart", "name", "note"]
        assert 1_100_000 < caught.value.by_key["cart"] < 1_100_030
        assert 1_000 < caught.value.by_key["note"] < 1_020
        message = (
            r"the session takes 1,101,\d\d\d bytes, over the limit of 1,048,576:"
            r" 'cart' 1,100,0\d\d, 'note' 1,0\d\d, 'name' \d\d"
        )
        assert_matches(message, str(caught.value))

    def test_a_new_one_is_refused_before_the_store_is_asked(self, store: Watched) -> None:
        """F-L1: no record, no token."""
        session = SessionManager(store, max_bytes=2048).open()
        session["cart"] = "x" * 2048

        with pytest.raises(SessionTooLarge, match="over the limit of 2,048: 'cart' 2,0"):
            SessionManager(store, max_bytes=2048).commit(session)
        assert store.writes == []
        assert list(store.keys()) == []

    def test_the_limit_is_the_size_of_the_record(self, store: Watched) -> None:
        """F-L1: a record of exactly the limit is stored and read, one byte more is refused."""
        manager = SessionManager(store, max_bytes=2048)
        envelope = len(pack(KEY, an_envelope(), b""))
        fits = 2048 - envelope - len(CODEC.encode({"a": "x" * 1000})) + 1000
        token = token_of(stored(manager, {"a": "x" * fits}))

        found = store.load(manager.open(token).id)
        assert found is not None
        assert len(found.value) == 2048
        assert manager.open(token)["a"] == "x" * fits
        with pytest.raises(SessionTooLarge):
            stored(manager, {"a": "x" * (fits + 1)})

    def test_an_oversized_record_is_not_decoded(self, store: Watched, lines: list[str]) -> None:
        """F-L1, F-L2: what is over the limit was not written by this application."""
        plant(store, pack(KEY, an_envelope(), CODEC.encode({"a": "x" * 5000})))

        assert dict(SessionManager(store, max_bytes=2048).open(TOKEN)) == {}
        assert len(lines) == 1
        assert "bytes are over the limit" in lines[0]

    def test_a_large_one_is_stored_with_a_warning(self, store: Watched, lines: list[str]) -> None:
        """AC-21.1: from 64 KiB on, one line names the session and the sizes by key, largest first."""
        manager = SessionManager(store)
        data = {f"key {number}": "x" * number for number in range(10)}
        token = token_of(stored(manager, data | {"cart": "x" * 65_000, "name": "y" * 700}))
        key = manager.open(token).id

        assert len(lines) == 1
        assert_matches(
            rf"session {key} takes 65,\d\d\d bytes: 'cart' 65,0\d\d, 'name' 7\d\d, 'key 9' \d+, .*, and 4 more", lines[0]
        )
        assert token not in lines[0]

    def test_one_that_is_not_large_gives_no_warning(self, store: Watched, lines: list[str]) -> None:
        """AC-21.1."""
        stored(SessionManager(store), {"cart": "x" * 65_000})

        assert lines == []


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{pattern}\Z"):
        raise ValueError(text)


class TestAValueThatCannotBeStored:
    @pytest.mark.parametrize("value", [object(), {"a": [1, "\ud800"]}, {1: {2: print}}], ids=["object", "text", "function"])
    def test_the_stored_session_is_unchanged(self, value: Any, store: Watched) -> None:
        """Promise 9, F-A1: nothing is saved in part, and the store is not asked."""
        manager = SessionManager(store)
        token = token_of(stored(manager, {"cart": ["tea"]}))
        before = store.load(manager.open(token).id)
        store.writes.clear()
        session = manager.open(token)
        session["name"] = "alice"
        session["cart"].append(value)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[1\]"):
            manager.commit(session)
        assert store.writes == []
        assert store.load(session.id) == before

    @pytest.mark.parametrize("key", [1, None, b"key", ("a",)])
    def test_a_top_level_key_is_text(self, key: Any, store: Watched) -> None:
        """F-A1: refused where it is set."""
        session = SessionManager(store).open()
        with pytest.raises(PayloadError, match="keys at the top level are str"):
            session[key] = 1

    def test_an_atomic_change_is_refused_by_its_path(self, store: Watched) -> None:
        """Promises 4 and 9: transact() names the value, and stores nothing."""
        manager = SessionManager(store)
        token = token_of(stored(manager, {"cart": ["tea"]}))
        session = manager.open(token)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[1\]: object"):
            session.transact(lambda data: data["cart"].append(object()))
        assert manager.open(token)["cart"] == ["tea"]
