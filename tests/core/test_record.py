"""The record: what it keeps, and that every damage of it is noticed."""

import math
import struct
import time
import tracemalloc
from collections.abc import Iterator
from itertools import chain, islice
from zlib import crc32

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import MemoryStore, Record, SessionManager, Store, rules
from session_middleware.notes import (
    MOST_CURRENT,
    MOST_ENTRIES,
    MOST_NAMED,
    MOST_PREVIOUS,
    Alias,
    Damaged,
    Mark,
    Tombstone,
    pack_alias,
    pack_mark,
)
from session_middleware.record import (
    LONGEST_DEVICE,
    MOST_ALIASES,
    Binding,
    Closed,
    Envelope,
    Kind,
    Previous,
    pack,
    pack_values,
    unpack,
    unpack_values,
)
from session_middleware.tokens import new_id
from tests.core.records import (
    BEGAN,
    END_OF_TIME,
    PROOF,
    SOME_IDS,
    TIMES,
    a_body,
    a_more,
    a_previous,
    an_envelope,
    damaged_values,
    encodings,
    envelopes,
    packed,
    resealed,
    sealed,
    stored,
    the_values,
    token_of,
)
from tests.values import flipped, truncated


def a_mark(*entries: bytes, expires_at: float = BEGAN) -> bytes:
    return b"\3" + struct.pack(">d", expires_at) + b"".join(entries)


def a_tombstone(*proofs: bytes, reason: int = 1, at: float = BEGAN) -> bytes:
    return b"\2" + bytes((reason,)) + struct.pack(">d", at) + b"".join(proofs)


def with_more(more: bytes) -> bytes:
    return a_body(flags=4, rest=PROOF + more + b"\x80")


def an_alias(*parts: bytes, expires_at: float = BEGAN) -> bytes:
    return b"\4" + struct.pack(">d", expires_at) + b"".join(parts)


class TestASession:
    @settings(max_examples=300)
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
            ("alias-no-one", "alias-no-two"),
            9.0,
            "ü",
            b"family",
            Binding(b"s" * 32, 10.0, b"key"),
        )
        times = b"".join(struct.pack(">d", number) for number in (1, 2, 3, 4, 5, 6))
        body = b"".join([
            *(b"\1", bytes((1 + 2 + 4,)), times, b"\0\0\0\7"),
            *(b"\2", b"\2", b"\2", b"\0\0\0\x08"),
            *(b"c" * 16, b"d" * 16),
            *(b"p" * 16, b"\1", struct.pack(">d", -1), b"q" * 16, b"\3", struct.pack(">d", 8)),
            *(b"\xc3\xa9", b"\2", b"\2", b"\0\x2b", b"mark-of-user", struct.pack(">d", 9), b"family"),
            *(b"alias-no-one", b"alias-no-two", b"\xc3\xbc", b"s" * 32, struct.pack(">d", 10), b"key"),
            *(b"snapshot", b"values"),
        ])  # fmt: skip

        assert pack(envelope, b"values") == b"\1" + crc32(body).to_bytes(4, "big") + body
        assert unpack(sealed(a_body())) == (
            Envelope(None, BEGAN, BEGAN, BEGAN, 3600.0, 86400.0, False, 0, (PROOF,), BEGAN),
            b"\x80",
        )

    def test_what_is_sealed_is_known_with_what_stands_before_it(self) -> None:
        """The format: a kind of its own, and in the clear what needs no key."""
        envelope = an_envelope("alice", device="Firefox")
        value = pack(envelope, b"values", lambda clear: b"%d bytes" % len(clear), "~blind")
        clear, sealed = unpack(value)  # type: ignore[misc]
        assert isinstance(sealed, Closed)

        assert clear == envelope._replace(user_id="~blind", device=None)
        assert value[5 : sealed.at] == b"\5" + pack(clear, b"")[6:]
        assert (sealed.value, value[sealed.at :]) == (value, b"%d bytes" % (sealed.at - 5))

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

    @settings(max_examples=100)
    @given(envelopes)
    def test_it_ends_by_whichever_timeout_comes_first(self, envelope: Envelope) -> None:
        """Promise 12: the deadline follows from what is kept; a limit of its own comes before both."""
        unused = math.inf if envelope.idle is None else envelope.last_seen_at + envelope.idle
        latest = math.inf if envelope.not_after is None else envelope.not_after

        assert envelope.expires_at == min(envelope.signed_in_at + envelope.absolute, unused, latest)
        assert envelope.ends_at == min(envelope.signed_in_at + envelope.absolute, latest)

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

    @settings(max_examples=60)
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

NO_IDS = [b"." * 12, b"\0" * 12, b"\xff" * 12, "é".encode() * 6, b"mark of user", b"AAAAAAAAAAA\n", b"AAAAAAAAAAA="]

HOSTILE = {
    "nothing": b"",
    **{f"kind {kind}": a_body(kind=kind) for kind in (0, 2, 3, 4, 6, 9, 255)},
    **{f"{name} {time}": a_body({name: time}) for name in TIMES for time in NO_TIMES},
    "no absolute timeout": a_body({"absolute": 0.0}),
    **{f"flags {flags}": a_body(flags=flags, rest=PROOF + a_more() + b"\x80") for flags in (8, 9, 16, 128, 255)},
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
    "more over the end": a_body(flags=4, rest=PROOF + a_more()[:-1]),
    "alias over the end": with_more(a_more(1, rest=b"a" * 11))[:-1],
    "aliases over the end": with_more(a_more(8, rest=SOME_IDS[:95]))[:-1],
    "nine aliases": with_more(a_more(9, rest=SOME_IDS[: 9 * 12])),
    "one alias twice": with_more(a_more(3, rest=SOME_IDS[:24] + SOME_IDS[:12])),
    **{f"alias {text!r}": with_more(a_more(2, rest=SOME_IDS[:12] + text)) for text in NO_IDS},
    **{f"mark {text!r}": with_more(a_more(mark=text)) for text in NO_IDS if text != b"." * 12},
    **{f"not after {time}": with_more(a_more(not_after=time)) for time in NO_TIMES if time != -1},
    "device over the end": with_more(a_more(0, 200, rest=b"d" * 199))[:-1],
    "device of 201 bytes": with_more(a_more(0, 201, rest=b"d" * 201)),
    "device cut": with_more(a_more(0, 1, rest="é".encode())),
    "snapshot over the end": a_body(snapshot=2),
    "snapshot of 4 GiB": a_body(snapshot=2**32 - 1, rest=PROOF + b"\x80" * 10_000),
    "everything over the end": a_body(flags=4, current=4, previous=3, user=255, snapshot=2**32 - 1, rest=b""),
    "more than an end": b"\2\0",
    "an end as long as a session": b"\2" + bytes(100),
    **{f"an end for reason {reason}": a_tombstone(reason=reason) for reason in (0, 8, 255)},
    **{f"an end at {time}": a_tombstone(at=time) for time in NO_TIMES},
    "an end with eight proofs": a_tombstone(PROOF * 8),
    "an end with a cut proof": a_tombstone(PROOF[:15]),
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
    "an alias without a nonce": an_alias(),
    "half an alias": b"\4" + bytes(7),
    "half an id in an alias": an_alias(b"." * 12, b"A" * 11),
    "an alias of 51 sessions": an_alias(b"." * 12, SOME_IDS[: 51 * 12]),
    "an alias of one session twice": an_alias(b"." * 12, SOME_IDS[:24], SOME_IDS[:12]),
    **{f"an alias of {text!r}": an_alias(b"." * 12, SOME_IDS[:24], text) for text in NO_IDS},
    **{f"an alias after {text!r}": an_alias(text, SOME_IDS[:24]) for text in NO_IDS if text != b"." * 12},
    **{f"an alias until {time}": an_alias(b"." * 12, expires_at=time) for time in NO_TIMES},
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
        more = a_more(8, 200, mark=b"m" * 12, not_after=latest, rest=SOME_IDS[:96] + b"d" * 200)
        rest = bytes(16 * 4) + a_previous(at=latest) * 3 + b"a" * 255 + more + b"\x80\x80"
        times = dict.fromkeys(TIMES, latest)
        body = a_body(times, flags=7, era=2**32 - 1, current=4, previous=3, user=255, snapshot=1, rest=rest)
        found = unpack(sealed(body))

        assert isinstance(found, tuple)
        assert found[0].user_id == "a" * 255
        assert (len(found[0].current), len(found[0].previous)) == (MOST_CURRENT, MOST_PREVIOUS)
        assert found[0].snapshot == found[1] == b"\x80"
        assert (len(found[0].aliases), found[0].not_after, found[0].device) == (MOST_ALIASES, latest, "d" * LONGEST_DEVICE)
        assert unpack(sealed(a_tombstone(PROOF * 7, reason=7, at=0))) == Tombstone("expired_absolute", 0, (PROOF,) * 7)
        found = unpack(sealed(a_body({**dict.fromkeys(TIMES, 0), "absolute": 5e-324}, current=0, rest=b"")))
        assert found == (Envelope(None, 0, 0, 0, None, 5e-324, False, 0, (), 0), b"")
        found = unpack(sealed(a_mark(*[b"A" * 24] * 4, expires_at=0)))
        assert found == Mark((("A" * 12, "A" * 12),) * MOST_ENTRIES, 0)
        found = unpack(sealed(an_alias(b"." * 12, SOME_IDS[: 50 * 12], expires_at=0)))
        assert isinstance(found, Alias)
        assert (len(found.ids), found.revoked, found.expires_at) == (MOST_NAMED, None, 0)
        assert unpack(sealed(an_alias(b"n" * 12))) == Alias((), "n" * 12, BEGAN)

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
                assert not isinstance(found[1], Closed)
                for following in what_may_follow(found[0]):
                    assert unpack(pack(following, found[1])) == (following, found[1])
            elif isinstance(found, Mark):
                after = rules.marked(found, new_id(), None, found.expires_at)
                assert unpack(pack_mark(after)) == after
            elif isinstance(found, Alias):
                assert unpack(pack_alias(found)) == found

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
    yield rules.renewed(envelope, fresh, b"family", now)
    yield rules.regenerated(envelope, fresh, now)
    yield rules.joined(envelope, fresh, now)
    yield rules.named(envelope, (new_id(), new_id()))
    yield rules.signed_in(envelope, "alice", new_id(), fresh, now, b"\x80")


class TestValues:
    @settings(max_examples=200)
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

    @settings(max_examples=300)
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
