"""The records of an end, a place that is kept, a mark and an alias: what they keep, and that they open nothing."""

import struct
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import MemoryStore, Record, SessionManager, Store
from session_middleware.notes import (
    REASONS,
    Alias,
    Mark,
    Tombstone,
    pack_alias,
    pack_mark,
    pack_reservation,
    pack_tombstone,
    unpack_reservation,
)
from session_middleware.record import unpack
from tests.core.records import KEY, TOKEN, ids, moments, sealed, token_of

proofs = st.binary(min_size=16, max_size=16)
tombstones = st.builds(Tombstone, st.sampled_from(REASONS[1:]), moments, st.lists(proofs, max_size=7).map(tuple))
marks = st.builds(Mark, st.lists(st.tuples(ids, st.none() | ids), min_size=1, max_size=4).map(tuple), moments)
aliases = st.builds(Alias, st.lists(ids, max_size=50, unique=True).map(tuple), st.none() | ids, moments)


class TestAnEnd:
    def test_it_is_one_byte(self) -> None:
        """Promise 5: what keeps an id from being used again says nothing else."""
        assert pack_tombstone() == sealed(b"\2")
        assert unpack(pack_tombstone()) == Tombstone()

    def test_it_opens_nothing_and_is_no_session_to_anybody(self, store: Store) -> None:
        """Promise 5: to its own token, in a listing, to a revocation."""
        assert store.create(KEY, Record(pack_tombstone(), int(time.time()) + 99, None))
        manager = SessionManager(store)
        session = manager.open(TOKEN)
        session["name"] = "value"

        assert token_of(manager.commit(session)).id != KEY
        assert manager.find(KEY) is None
        assert not manager.revoke(KEY)
        assert store.load(KEY) is not None


class TestATombstone:
    @settings(max_examples=100)
    @given(tombstones)
    def test_what_is_packed_is_unpacked(self, tombstone: Tombstone) -> None:
        """Promise 24: why the session has ended, when, and who is told."""
        assert unpack(pack_tombstone(tombstone)) == tombstone

    def test_the_format_is_as_written(self) -> None:
        """The equation in the docstring of the module."""
        body = b"\2\2" + struct.pack(">d", 5.0) + b"p" * 16 + b"q" * 16

        assert pack_tombstone(Tombstone("signed_out_everywhere", 5.0, (b"p" * 16, b"q" * 16))) == sealed(body)


class TestAReservation:
    @settings(max_examples=100)
    @given(st.binary(min_size=8, max_size=8), st.integers(0, 2**40))
    def test_what_is_packed_is_unpacked(self, nonce: bytes, expires_at: int) -> None:
        """By whom a place is kept, and until when; to who knows of no move the session has ended."""
        assert unpack_reservation(pack_reservation(nonce, expires_at)) == (nonce, expires_at)
        assert unpack(pack_reservation(nonce, expires_at)) == Tombstone()

    def test_the_format_is_as_written(self) -> None:
        """The equation in the docstring of the module."""
        value = sealed(b"\2" + b"a nonce!" + (5).to_bytes(8, "big"))

        assert pack_reservation(b"a nonce!", 5) == value
        for other in (value[:-1], value + b"\0", sealed(b"\3" + value[6:]), value[:4] + b"\0" + value[5:], pack_tombstone()):
            assert unpack_reservation(other) is None


class TestAMark:
    @settings(max_examples=100)
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


class TestAnAlias:
    @settings(max_examples=100)
    @given(aliases)
    def test_what_is_packed_is_unpacked(self, alias: Alias) -> None:
        """Promise 19: which sessions it names, and whether all of them were to end."""
        assert unpack(pack_alias(alias)) == alias

    def test_the_format_is_as_written(self) -> None:
        """The equation in the docstring of the module."""
        body = b"\4" + struct.pack(">d", 5.0)
        named = ("id-of-12-chr", "id-of-no-two")

        assert pack_alias(Alias(named, None, 5.0)) == sealed(body + b"." * 12 + b"id-of-12-chrid-of-no-two")
        assert pack_alias(Alias((), "nonce-number", 5.0)) == sealed(body + b"nonce-number")
