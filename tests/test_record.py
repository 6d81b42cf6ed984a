"""The record: what it keeps, what it notices, and what becomes of a damaged or an oversized session."""

import logging
import math
import struct
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice
from random import Random
from types import MappingProxyType
from typing import Any
from zlib import crc32

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import (
    ConflictError,
    CookiePolicy,
    JSONCodec,
    MemoryStore,
    MsgpackCodec,
    PayloadError,
    Record,
    Send,
    Session,
    SessionManager,
    SessionTooLarge,
    Store,
    Stored,
    rules,
)
from session_middleware.record import (
    MOST_CURRENT,
    MOST_ENTRIES,
    MOST_PREVIOUS,
    Damaged,
    Ended,
    Envelope,
    Kind,
    Mark,
    Previous,
    pack,
    pack_ended,
    pack_mark,
    pack_values,
    unpack,
    unpack_values,
)
from session_middleware.stores.base import UserIndexed, Version
from session_middleware.tokens import Token, new_id, proof_function
from session_middleware.values import encoded
from tests.values import EVERYTHING, flipped, mutated, truncated

TOKEN = Token("id-of-12-chr" + "SECRET-" * 4)
KEY = TOKEN.id
SECRET = TOKEN.reveal()[12:]
CODEC = MsgpackCodec()
PROOF = proof_function("session")(TOKEN)
BEGAN = 1_700_000_000.0
TIMES = dict.fromkeys(("created", "signed_in", "seen", "issued"), BEGAN) | {"idle": 3600.0, "absolute": 86400.0}
END_OF_TIME = 5e11

moments = st.floats(0, END_OF_TIME, exclude_max=True)
durations = st.floats(0, END_OF_TIME, exclude_min=True, exclude_max=True)
proofs = st.binary(min_size=16, max_size=16)
ids = st.text("AZaz09-_", min_size=12, max_size=12)
user_ids = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=255).map(
        lambda text: text.encode()[:255].decode(errors="ignore")
    ),
    st.sampled_from(["a", "a" * 255, "é" * 127, "語" * 85, "\U0001f36a" * 63, "\0", "0", " ", "\u202e", "a\0b"]),
)
encodings = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=10), st.binary(max_size=30), max_size=5)
envelopes = st.builds(
    Envelope,
    user_id=st.none() | user_ids,
    created_at=moments,
    signed_in_at=moments,
    last_seen_at=moments,
    idle=st.none() | durations,
    absolute=durations,
    persistent=st.booleans(),
    era=st.integers(0, 2**32 - 1),
    current=st.lists(proofs, max_size=4).map(tuple),
    issued_at=moments,
    previous=st.lists(st.builds(Previous, proofs, st.sampled_from(Kind), st.none() | moments), max_size=3).map(tuple),
    mark=st.none() | ids,
    snapshot=st.just(b"") | encodings.map(pack_values),
    carried=st.booleans(),
)
marks = st.builds(Mark, st.lists(st.tuples(ids, st.none() | ids), min_size=1, max_size=4).map(tuple), moments)


def an_envelope(user_id: str | None = None, *, idle: float | None = 3600.0, **fields: Any) -> Envelope:
    now = time.time()
    era = 0 if user_id is None else 1
    return Envelope(user_id, now, now, now, idle, 86400.0, False, era, (PROOF,), now)._replace(**fields)


def sealed(body: bytes, form: int = 1) -> bytes:
    """Return a value with a check that matches, as somebody who can write to the store could make it."""
    return struct.pack(">BI", form, crc32(body)) + body


def resealed(value: bytes) -> bytes:
    return sealed(value[5:])


def a_body(
    times: Mapping[str, float] = MappingProxyType({}),
    *,
    kind: int = 1,
    flags: int = 0,
    era: int = 0,
    current: int = 1,
    previous: int = 0,
    user: int = 0,
    snapshot: int = 0,
    rest: bytes = PROOF + b"\x80",
) -> bytes:
    """Return the body of a session, put together by hand from the equation in the docstring of the module."""
    numbers = b"".join(struct.pack(">d", number) for number in {**TIMES, **times}.values())
    counts = era.to_bytes(4, "big") + bytes((current, previous, user)) + snapshot.to_bytes(4, "big")
    return bytes((kind, flags)) + numbers + counts + rest


def a_previous(proof: bytes = b"p" * 16, kind: int = 1, at: float = -1) -> bytes:
    return proof + bytes((kind,)) + struct.pack(">d", at)


def a_mark(*entries: bytes, expires_at: float = BEGAN) -> bytes:
    return b"\3" + struct.pack(">d", expires_at) + b"".join(entries)


def the_values() -> list[bytes]:
    """Return what a store may hold under the key, of every shape."""
    signed_in = (
        Previous(b"a" * 16, Kind.RENEWED, None),
        Previous(b"b" * 16, Kind.SIGNED_IN, time.time()),
        Previous(PROOF, Kind.REPLACED, time.time()),
    )
    return [
        pack(an_envelope(), packed({"visits": 1})),
        pack(an_envelope("alice", persistent=True, mark=new_id()), packed(EVERYTHING)),
        pack(an_envelope("zoë", idle=None, carried=True), packed({})),
        pack(an_envelope("bob", current=(b"c" * 16, PROOF), previous=signed_in[:2]), packed({"a": [1]})),
        pack(an_envelope("eve", current=(b"c" * 16,), previous=signed_in, snapshot=packed({"b": 2})), packed({"a": 1})),
        pack_ended(),
        pack_mark(Mark(((new_id(), None), (new_id(), KEY)), time.time() + 99)),
    ]


def packed(data: dict[str, Any]) -> bytes:
    return pack_values(encoded(data, CODEC))


def damaged_values() -> Iterator[bytes]:
    """Yield values that are not what was written: first the systematic damage, then more of it at random, without end."""
    whole = the_values()
    systematic = chain.from_iterable(chain(truncated(value), flipped(value)) for value in whole)
    return (value for value in chain(systematic, mutated(whole, Random(4))) if value not in whole)


class TestASession:
    @settings(max_examples=300, deadline=None)
    @given(envelopes, st.binary(max_size=100))
    def test_what_is_packed_is_unpacked(self, envelope: Envelope, values: bytes) -> None:
        """Every field is kept beside the values, to the last bit and of its own type."""
        found = unpack(pack(envelope, values))

        assert found == (envelope, values)
        assert isinstance(found, tuple)
        assert type(found[0]) is Envelope
        assert [type(field) for field in found[0]] == [type(field) for field in envelope]
        assert all(type(previous) is Previous and type(previous.kind) is Kind for previous in found[0].previous)

    def test_the_format_is_as_written(self) -> None:
        """The equation in the docstring of the module."""
        envelope = Envelope(
            "é",
            1.0,
            2.0,
            3.0,
            5.0,
            6.0,
            True,
            7,
            (b"c" * 16, b"d" * 16),
            4.0,
            (Previous(b"p" * 16, Kind.RENEWED, None), Previous(b"q" * 16, Kind.REPLACED, 8.0)),
            "mark-of-user",
            b"snapshot",
            True,
        )
        times = b"".join(struct.pack(">d", number) for number in (1, 2, 3, 4, 5, 6))
        body = b"".join([
            *(b"\1", bytes((1 + 2 + 4,)), times, b"\0\0\0\7"),
            *(b"\2", b"\2", b"\2", b"\0\0\0\x08"),
            *(b"c" * 16, b"d" * 16),
            *(b"p" * 16, b"\1", struct.pack(">d", -1), b"q" * 16, b"\3", struct.pack(">d", 8)),
            *(b"\xc3\xa9", b"mark-of-user", b"snapshot", b"values"),
        ])  # fmt: skip

        assert pack(envelope, b"values") == b"\1" + crc32(body).to_bytes(4, "big") + body
        assert unpack(sealed(a_body())) == (
            Envelope(None, BEGAN, BEGAN, BEGAN, 3600.0, 86400.0, False, 0, (PROOF,), BEGAN),
            b"\x80",
        )

    def test_it_is_small(self) -> None:
        """AC-21.2: a session that holds a sign-in takes at most 130 bytes."""
        for user_id in (None, "alice", "8f14e45f-ceea-467f-a0e6-0b6a1d2c3d4e"):
            value = pack(an_envelope(user_id), packed({"uid": 1}))

            assert len(value) <= 130

    def test_a_value_under_another_id_opens_nothing(self) -> None:
        """V-33: a record that was copied to another key opens no session there, to nobody's token."""
        store = MemoryStore()
        manager = SessionManager(store)
        token = token_of(stored(manager, {"name": "alice"}))
        other = token_of(stored(manager, {"name": "bob"}))
        record, there = store.load(token.id), store.load(other.id)
        assert record is not None
        assert there is not None
        assert store.update(other.id, Record(record.value, int(time.time()) + 99, None), version=there.version)

        assert dict(manager.open(other)) == {}
        assert dict(manager.open(other.id + token.reveal()[12:])) == {}
        assert manager.open(token)["name"] == "alice"

    @settings(max_examples=100, deadline=None)
    @given(envelopes)
    def test_it_ends_by_both_timeouts(self, envelope: Envelope) -> None:
        """Promise 12: the deadline follows from what is kept."""
        unused = math.inf if envelope.idle is None else envelope.last_seen_at + envelope.idle

        assert envelope.expires_at == min(envelope.signed_in_at + envelope.absolute, unused)

    def test_its_end_fits_every_store(self, store: Store) -> None:
        """Promises 10 and 12: the latest that can be read, written as any session is."""
        latest = math.nextafter(END_OF_TIME, 0)
        envelope = an_envelope("a" * 255, signed_in_at=latest, last_seen_at=latest, absolute=latest, idle=None)
        value = pack(envelope, packed({"a": 1}))
        assert unpack(value) == (envelope, packed({"a": 1}))
        key = new_id()
        record = Record(value, math.ceil(envelope.expires_at), envelope.user_id)

        assert record.expires_at + 86400 < 2**40
        assert store.create(key, record)
        found = store.load(key)
        assert found is not None
        assert store.update(key, record, version=found.version)
        assert store.load(key) is not None
        assert store.delete(key)

    def test_every_damage_is_noticed(self) -> None:
        """Promise 10, V-33: cut at every byte, with any bit flipped: never partial data, never other data."""
        for whole in the_values():
            for value in chain(truncated(whole), flipped(whole)):
                with pytest.raises(Damaged):
                    unpack(value)

    @settings(max_examples=60, deadline=None)
    @given(envelopes, st.binary(max_size=20), st.data())
    def test_damage_of_any_session_is_noticed(self, envelope: Envelope, values: bytes, data: st.DataObject) -> None:
        """Promise 10, V-33: and some bytes more at its end, too."""
        whole = pack(envelope, values)
        kinds = [*truncated(whole), whole + b"\0", whole + whole]
        for value in (*data.draw(st.lists(st.sampled_from(kinds), max_size=5)), *islice(flipped(whole), 100)):
            with pytest.raises(Damaged):
                unpack(value)

    @pytest.mark.parametrize("count", [100_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
    def test_random_damage_is_damaged_and_nothing_else(self, count: int) -> None:
        """Promise 10, F-L2: random bytes, spliced halves, overwritten bytes: no exception but Damaged, and no session."""
        noticed = 0
        for value in islice(damaged_values(), count):
            try:
                unpack(value)
            except Damaged:
                noticed += 1

        assert noticed == count

    @pytest.mark.parametrize("form", [0, 2, 255])
    def test_another_format_is_not_read(self, form: int) -> None:
        """AC-5.4: a record of a version that is not known is unreadable, and not guessed at."""
        for whole in the_values():
            with pytest.raises(Damaged, match=f"format {form} is not known"):
                unpack(sealed(whole[5:], form=form))


NO_TIMES = [math.nan, math.inf, -math.inf, -1.0, -5e-324, END_OF_TIME, 1e12, 1e300, -1e300]

HOSTILE = {
    "nothing": b"",
    **{f"kind {kind}": a_body(kind=kind) for kind in (0, 2, 3, 4, 9, 255)},
    **{f"{name} {time}": a_body({name: time}) for name in TIMES for time in NO_TIMES},
    "no absolute timeout": a_body({"absolute": 0.0}),
    **{f"flags {flags}": a_body(flags=flags, rest=PROOF + b"m" * 12 + b"\x80") for flags in (8, 16, 32, 64, 128, 255)},
    **{f"{count} current": a_body(current=count, rest=PROOF * count + b"\x80") for count in (5, 6, 255)},
    **{f"{count} previous": a_body(current=0, previous=count, rest=a_previous() * count + b"\x80") for count in (4, 255)},
    "a current one is missing": a_body(current=2, rest=PROOF + b"p" * 15),
    "255 current ones are missing": a_body(current=255),
    "a previous one is missing": a_body(previous=2, rest=PROOF + a_previous() + a_previous()[:-1]),
    "255 previous ones are missing": a_body(previous=255),
    **{f"previous of kind {kind}": a_body(current=0, previous=1, rest=a_previous(kind=kind)) for kind in (0, 4, 9, 255)},
    **{f"previous at {at}": a_body(current=0, previous=1, rest=a_previous(at=at)) for at in NO_TIMES if at != -1},
    **{f"previous at {at}": a_body(current=0, previous=1, rest=a_previous(at=at)) for at in (-2.0, -0.5, -1.0000001)},
    "user id over the end": a_body(user=255, rest=PROOF + b"a" * 254),
    "user id cut": a_body(user=1, rest=PROOF + "é".encode() + b"\x80"),
    **{
        f"user id {text.hex()}": a_body(user=len(text), rest=PROOF + text + b"\x80")
        for text in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"a\xc3", b"\x80")
    },
    "mark over the end": a_body(flags=2, rest=PROOF + b"m" * 11),
    **{
        f"mark {text!r}": a_body(flags=2, rest=PROOF + text + b"\x80")
        for text in (
            b"." * 12,
            b"\0" * 12,
            b"\xff" * 12,
            "é".encode() * 6,
            b"mark of user",
            b"AAAAAAAAAAA\n",
            b"AAAAAAAAAAA=",
        )
    },
    "snapshot over the end": a_body(snapshot=2),
    "snapshot of 4 GiB": a_body(snapshot=2**32 - 1, rest=PROOF + b"\x80" * 10_000),
    "everything over the end": a_body(flags=2, current=4, previous=3, user=255, snapshot=2**32 - 1, rest=b""),
    "more than an end": b"\2\0",
    "an end as long as a session": b"\2" + bytes(100),
    "a mark of nothing": a_mark(),
    "half a mark": b"\3" + bytes(7),
    "half an entry": a_mark(b"A" * 23),
    "an entry and a half": a_mark(b"A" * 24, b"B" * 12),
    "five entries": a_mark(*[b"A" * 24] * 5),
    "ten thousand entries": a_mark(*[b"A" * 24] * 10_000),
    **{
        f"an entry {entry!r}": a_mark(entry)
        for entry in (b"." * 24, b"A" * 12 + b"A" * 11 + b".", b"A" * 23 + b"\n", b"\n" + b"A" * 23, b"\xff" * 24, b" " * 24)
    },
    "an odd entry between": a_mark(b"A" * 24, b"?" * 24, b"B" * 24),
    **{f"a mark until {time}": a_mark(b"A" * 24, expires_at=time) for time in NO_TIMES},
}

LARGE = {
    "a map that has no end": b"\xdf\xff\xff\xff\xff",
    "an array that has no end": b"\xdd\xff\xff\xff\xff",
    "a text that has no end": b"\x81\xdb\xff\xff\xff\xff",
    "bytes that have no end": b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "one key many times": b"\xdf\0\0\xff\xff" + b"\xa1a\xc4\0" * 0xFFFE + b"\xa1a\xc0",
    "many maps": b"\xde\xff\xff" + b"".join(b"\xa3%03x\x80" % number for number in range(0xFFF)) + b"\xa1a\x80" * 0xF000,
    "many arrays": b"\xdd\0\3\xff\xf0" + b"\x90" * 0x3FFF0,
    "many moments": b"\xde\x75\x30" + b"\xa1a\xd6\xff\0\0\0\1" * 30_000,
    "array in array": b"\x91" * 2**18,
    "map in map": b"\x81\xa1a" * 2**16,
    "large array in large array": b"\xdd\0\0\xff\xff" * 2**15,
    "large map in large map": b"\xdf\0\0\xff\xff\xa1a" * 2**15,
}


class TestUnderACheckThatMatches:
    @pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
    def test_a_value_that_nobody_would_write_is_damaged(self, body: bytes) -> None:
        """Promise 10: a NaN, an endless time, an empty name or a count without end never makes a session."""
        with pytest.raises(Damaged) as caught:
            unpack(sealed(body))

        assert len(str(caught.value)) < 100
        assert str(caught.value).isprintable()

    def test_what_is_just_within_the_bounds_is_read(self) -> None:
        """Promise 10: the bounds are where they are said to be."""
        latest = math.nextafter(END_OF_TIME, 0)
        rest = bytes(16 * 4) + a_previous(at=latest) * 3 + b"a" * 255 + b"m" * 12 + b"\x80\x80"
        times = dict.fromkeys(TIMES, latest)
        body = a_body(times, flags=7, era=2**32 - 1, current=4, previous=3, user=255, snapshot=1, rest=rest)
        found = unpack(sealed(body))

        assert isinstance(found, tuple)
        assert found[0].user_id == "a" * 255
        assert (len(found[0].current), len(found[0].previous)) == (MOST_CURRENT, MOST_PREVIOUS)
        assert found[0].snapshot == found[1] == b"\x80"
        found = unpack(sealed(a_body({**dict.fromkeys(TIMES, 0), "absolute": 5e-324}, current=0, rest=b"")))
        assert found == (Envelope(None, 0, 0, 0, None, 5e-324, False, 0, (), 0), b"")
        found = unpack(sealed(a_mark(*[b"A" * 24] * 4, expires_at=0)))
        assert found == Mark((("A" * 12, "A" * 12),) * MOST_ENTRIES, 0)

    @pytest.mark.unmeasured
    @pytest.mark.parametrize("count", [20_000, pytest.param(200_000, marks=pytest.mark.soak)])
    def test_what_is_read_can_be_written_again_whatever_becomes_of_it(self, count: int) -> None:
        """Promise 10, V-32: so no hostile record makes a later request fail, in this store or in any other."""
        read = 0
        for value in islice(map(resealed, damaged_values()), count):
            try:
                found = unpack(value)
                values = unpack_values(found[1]) if isinstance(found, tuple) else {}
            except Damaged:
                continue
            read += 1
            if isinstance(found, tuple):
                assert 0 <= math.ceil(found[0].expires_at) + 86400 < 2**40
                assert unpack_values(pack_values(values)) == values
                for following in what_may_follow(found[0]):
                    assert unpack(pack(following, found[1])) == (following, found[1])
            elif isinstance(found, Mark):
                after = rules.marked(found, new_id(), None, found.expires_at)
                assert unpack(pack_mark(after)) == after

        assert count / 100 < read < count

    @pytest.mark.parametrize("values", LARGE.values(), ids=LARGE)
    def test_values_cost_no_more_than_their_size(self, values: bytes) -> None:
        """Promise 10, F-L2: of 256 KiB, at most fifty times as much memory, and little time."""
        value = pack(an_envelope(snapshot=values), values)
        began = time.process_time()
        tracemalloc.start()
        try:
            found = unpack(value)
            assert isinstance(found, tuple)
            for part in (found[0].snapshot, found[1]):
                with pytest.raises(Damaged):
                    unpack_values(part)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

        assert peak < 50 * len(value)
        assert time.process_time() - began < 2


def what_may_follow(envelope: Envelope) -> Iterator[Envelope]:
    """Yield what any later request may make of a session."""
    now, fresh = time.time(), b"f" * 16
    yield envelope
    yield rules.used(envelope, now)
    yield rules.noted(envelope, PROOF, now)
    yield rules.renewed(envelope, fresh, now)
    yield rules.regenerated(envelope, fresh, now)
    yield rules.joined(envelope, fresh)
    yield rules.signed_in(envelope, "alice", new_id(), fresh, now, b"\x80")


class TestValues:
    @settings(max_examples=200, deadline=None)
    @given(encodings)
    def test_what_is_packed_is_unpacked(self, values: dict[str, bytes]) -> None:
        """Each value stays the bytes that it was, under its key, in its place."""
        assert list(unpack_values(pack_values(values)).items()) == list(values.items())

    def test_the_format_is_a_map_from_text_to_bytes(self) -> None:
        """The equation in the docstring of the module."""
        assert pack_values({"a": b"\1", "é": b""}) == b"\x82" + b"\xa1a" + b"\xc4\1\1" + b"\xa2\xc3\xa9" + b"\xc4\0"

    @pytest.mark.parametrize(
        "values",
        [
            None,
            True,
            5,
            "text",
            b"bytes",
            [],
            ["a", b"b"],
            {1: b"a"},
            {None: b"a"},
            {b"key": b"a"},
            {("a",): b"a"},
            {"a": "text"},
            {"a": 1},
            {"a": None},
            {"a": {}},
            {"a": {"b": b"c"}},
            {"a": [b"b"]},
            {"a": b"b", "c": "d"},
            {"a": msgpack.ExtType(5, b"a")},
            {"a": msgpack.Timestamp(0)},
            msgpack.ExtType(5, b"a"),
        ],
        ids=repr,
    )
    def test_anything_else_is_damaged(self, values: object) -> None:
        """Promise 10: nothing but bytes goes on to the codec."""
        with pytest.raises(Damaged, match=r"^the values are no map"):
            unpack_values(msgpack.packb(values))

    @pytest.mark.parametrize(
        "values",
        [
            b"",
            b"\xc1",
            b"\x80\x80",
            b"\x80\0",
            b"\x81",
            b"\x81\xa1a",
            b"\x81\xa1a\xc4",
            b"\x81\xa1a\xc4\2b",
            b"\x81\xa1\xff\xc4\1b",
            b"\x81\xa3\xed\xa0\x80\xc4\1b",
            b"\x81\xd6\xff\0\0\0\1\xc4\1b",
            b"\x81\xc7\x0c\xff" + b"\xff" * 12 + b"\xc4\1b",
            b"\x81\xa1a\xc7\x0c\xff" + b"\xff" * 12,
            b"\x81\x90\xc4\1b",
            b"\x81\x80\xc4\1b",
        ],
        ids=lambda values: values.hex(),
    )
    def test_bytes_of_no_sense_are_damaged(self, values: bytes) -> None:
        """Promise 10, F-L2: cut, with something after the end, with keys that are none; the error quotes nothing of it."""
        with pytest.raises(Damaged, match=r"^the values are no map \(\w+\)$"):
            unpack_values(values)

    @settings(max_examples=300, deadline=None)
    @given(
        st.binary(max_size=60)
        | st.lists(st.sampled_from([b"\x82", b"\x81", b"\xa1a", b"\xc4\1b", b"\xc0", b"\0"])).map(b"".join)
    )
    def test_any_bytes_are_a_map_or_damaged(self, values: bytes) -> None:
        """Promise 10."""
        try:
            found = unpack_values(values)
        except Damaged:
            return
        assert type(found) is dict
        assert {type(key) for key in found} <= {str}
        assert {type(value) for value in found.values()} <= {bytes}
        assert unpack_values(pack_values(found)) == found


class TestAnEnd:
    def test_it_is_one_byte(self) -> None:
        """Promise 5: what keeps an id from being used again says nothing else."""
        assert pack_ended() == sealed(b"\2")
        assert unpack(pack_ended()) == Ended()

    def test_it_opens_nothing_and_is_no_session_to_anybody(self, store: Store) -> None:
        """Promise 5: to its own token, in a listing, to a revocation."""
        assert store.create(KEY, Record(pack_ended(), int(time.time()) + 99, None))
        manager = SessionManager(store)
        session = manager.open(TOKEN)
        session["name"] = "value"

        assert token_of(manager.commit(session)).id != KEY
        assert manager.find(KEY) is None
        assert not manager.revoke(KEY)
        assert store.load(KEY) is not None


class TestAMark:
    @settings(max_examples=100, deadline=None)
    @given(marks)
    def test_what_is_packed_is_unpacked(self, mark: Mark) -> None:
        """Promise 19: which nonces there were, and which session each of them kept."""
        assert unpack(pack_mark(mark)) == mark

    def test_the_format_is_as_written(self) -> None:
        """The equation in the docstring of the module."""
        mark = Mark((("nonce-number", None), ("nonce-no-two", "id-of-12-chr")), 5.0)
        entries = b"nonce-number" + b"." * 12 + b"nonce-no-two" + b"id-of-12-chr"

        assert pack_mark(mark) == sealed(b"\3" + struct.pack(">d", 5.0) + entries)

    @pytest.mark.parametrize("keep", ["", "nonsense", "." * 12, "é" * 12, "A" * 13, "A" * 40, "\n" + "A" * 11])
    def test_what_is_no_id_keeps_nothing(self, keep: str) -> None:
        """Promise 19: a sign-in that was under way ends, whatever *keep* was."""
        manager = SessionManager(MemoryStore())
        session = manager.open()
        session.login("alice")
        manager.revoke_all("alice", keep=keep)

        assert manager.commit(session) is None
        assert manager.sessions_of("alice") == []


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
def watched() -> Watched:
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
    found = store.load(KEY)
    assert found is not None
    return found


def token_of(verdict: object) -> Token:
    assert isinstance(verdict, Send)
    return verdict.token


def stored(manager: SessionManager, data: dict[str, Any]) -> Send:
    session = manager.open()
    session.update(data)
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return verdict


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
    @pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
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
    @pytest.mark.parametrize("count", [10_000, pytest.param(100_000, marks=pytest.mark.soak)])
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
        bodies = [
            a_body(
                {**dict.fromkeys(TIMES, latest), **times},
                flags=flags,
                era=era,
                previous=3,
                user=len(name),
                snapshot=1,
                rest=PROOF + a_previous(at=latest) * 3 + name + bytes(b"m" * 12 if flags & 2 else b"") + b"\x80\x80",
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


class TestAnOversizedSession:
    def test_it_is_refused_before_the_store_is_asked(self, watched: Watched) -> None:
        """F-L1, AC-21.1: the error says which key takes how much, and the stored session is as it was."""
        manager = SessionManager(watched)
        token = token_of(stored(manager, {"cart": ["tea"], "name": "alice"}))
        before = watched.load(token.id)
        watched.writes.clear()
        session = manager.open(token)
        session["cart"] = ["x" * 300_000]
        session["note"] = "y" * 1_000

        with pytest.raises(SessionTooLarge) as caught:
            manager.commit(session)

        assert watched.writes == []
        assert watched.load(token.id) == before
        assert manager.open(token)["cart"] == ["tea"]
        assert caught.value.limit == 256 * 1024
        assert 301_000 < caught.value.size < 301_300
        assert sorted(caught.value.by_key) == ["cart", "name", "note"]
        assert 300_000 < caught.value.by_key["cart"] < 300_030
        assert 1_000 < caught.value.by_key["note"] < 1_020
        message = (
            r"the session takes 301,\d\d\d bytes, over the limit of 262,144:"
            r" 'cart' 300,0\d\d, 'note' 1,0\d\d, 'name' \d"
        )
        assert_matches(message, str(caught.value))

    def test_a_new_one_is_refused_before_the_store_is_asked(self, watched: Watched) -> None:
        """F-L1: no record, no token."""
        session = SessionManager(watched, max_bytes=2048).open()
        session["cart"] = "x" * 2048

        with pytest.raises(SessionTooLarge, match="over the limit of 2,048: 'cart' 2,0"):
            SessionManager(watched, max_bytes=2048).commit(session)
        assert watched.writes == []
        assert list(watched.keys()) == []

    def test_the_limit_is_the_size_of_the_record(self, watched: Watched) -> None:
        """F-L1: a record of exactly the limit is stored and read, one byte more is refused."""
        manager = SessionManager(watched, max_bytes=2048)
        fits = 2048 - len(pack(an_envelope(), packed({"a": "x" * 1000}))) + 1000
        token = token_of(stored(manager, {"a": "x" * fits}))

        found = watched.load(token.id)
        assert found is not None
        assert len(found.value) == 2048
        assert manager.open(token)["a"] == "x" * fits
        with pytest.raises(SessionTooLarge):
            stored(manager, {"a": "x" * (fits + 1)})

    def test_an_oversized_record_is_not_read(self, watched: Watched, lines: list[str]) -> None:
        """F-L1, F-L2: what is over the limit was not written by this application."""
        plant(watched, pack(an_envelope(), packed({"a": "x" * 5000})))

        assert dict(SessionManager(watched, max_bytes=2048).open(TOKEN)) == {}
        assert len(lines) == 1
        assert "bytes are over the limit" in lines[0]

    def test_a_large_one_is_stored_with_a_warning(self, watched: Watched, lines: list[str]) -> None:
        """AC-21.1: from 64 KiB on, one line names the session and the sizes by key, largest first."""
        manager = SessionManager(watched)
        data = {f"key {number}": "x" * number for number in range(10)}
        token = token_of(stored(manager, data | {"cart": "x" * 65_500, "name": "y" * 700}))

        assert len(lines) == 1
        assert_matches(
            rf"session {token.id} takes 66,\d\d\d of max_bytes=262144:"
            r" 'cart' 65,5\d\d, 'name' 7\d\d, 'key 9' \d+, .*, and 4 more",
            lines[0],
        )
        assert token.reveal()[12:] not in lines[0]

    def test_one_that_is_not_large_gives_no_warning(self, watched: Watched, lines: list[str]) -> None:
        """AC-21.1."""
        stored(SessionManager(watched), {"cart": "x" * 65_000})

        assert lines == []


def assert_matches(pattern: str, text: str) -> None:
    with pytest.raises(ValueError, match=rf"\A{pattern}\Z"):
        raise ValueError(text)


class TestAValueThatCannotBeStored:
    @pytest.mark.parametrize("value", [object(), {"a": [1, "\ud800"]}, {1: {2: print}}], ids=["object", "text", "function"])
    def test_the_stored_session_is_unchanged(self, value: Any, watched: Watched) -> None:
        """Promise 9, F-A1: nothing is saved in part, and the store is not asked."""
        manager = SessionManager(watched)
        token = token_of(stored(manager, {"cart": ["tea"]}))
        before = watched.load(token.id)
        watched.writes.clear()
        session = manager.open(token)
        session["name"] = "alice"
        session["cart"].append(value)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[1\]"):
            manager.commit(session)
        assert watched.writes == []
        assert watched.load(token.id) == before

    @pytest.mark.parametrize("key", [1, None, b"key", ("a",)])
    def test_a_top_level_key_is_text(self, key: Any, watched: Watched) -> None:
        """F-A1: refused where it is set."""
        session = SessionManager(watched).open()
        with pytest.raises(PayloadError, match="keys at the top level are str"):
            session[key] = 1

    def test_an_atomic_change_is_refused_by_its_path(self, watched: Watched) -> None:
        """Promises 4 and 9: transact() names the value, and stores nothing."""
        manager = SessionManager(watched)
        token = token_of(stored(manager, {"cart": ["tea"]}))
        session = manager.open(token)

        with pytest.raises(PayloadError, match=r"session\['cart'\]\[1\]: object"):
            session.transact(lambda data: data["cart"].append(object()))
        assert manager.open(token)["cart"] == ["tea"]
