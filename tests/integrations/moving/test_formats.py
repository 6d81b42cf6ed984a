"""Pickles of plain values are read without running anything, and the other formats within their bounds."""

import io
import pickle
import subprocess
import sys
import tracemalloc
import zlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware import MsgpackCodec, PayloadError
from session_middleware.integrations.moving import formats, plain_pickle
from tests.integrations.moving.sites import Bomb

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
    ),
    max_leaves=20,
)


class TestPlainPickle:
    """The reader of pickles that can read nothing but data."""

    @given(PLAIN)
    def test_plain_values_come_out_as_they_went_in(self, value: Any) -> None:
        """Promise 9."""
        found = plain_pickle.read(pickle.dumps(value, 4))
        assert found == value
        assert MsgpackCodec().encode({"": found}) == MsgpackCodec().encode({"": value})

    @given(st.binary())
    def test_other_bytes_are_refused_and_nothing_else_happens(self, data: bytes) -> None:
        """Promise 10."""
        for stream in (data, b"\x80\x04" + data, pickle.dumps({"a": [1, "b", (2.5, None)]})[: len(data)] + data):
            with suppress(plain_pickle.NotPlain):
                plain_pickle.read(stream)

    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize(
        "value", [datetime(2026, 1, 1), Path("/"), print, Bomb, Bomb(Path("/x")), io.StringIO, {"a": [timedelta(1)]}, 1j]
    )
    def test_whatever_names_something_is_refused(self, value: object, protocol: int) -> None:
        """Promise 10: a class, a function, an object, at any depth."""
        with pytest.raises(plain_pickle.NotPlain):
            plain_pickle.read(pickle.dumps(value, protocol))

    def test_what_grows_without_bound_is_refused(self) -> None:
        """A billion laughs: containers that stand at many places, text that stands at very many."""
        value: list[Any] = ["ha"]
        for _ in range(30):
            value = [value] * 10
        with pytest.raises(plain_pickle.NotPlain, match="two places"):
            plain_pickle.read(pickle.dumps(value))
        with pytest.raises(plain_pickle.NotPlain, match="over the limit"):
            plain_pickle.read(pickle.dumps(["x" * 100_000] * 100))
        number = b"\x8b" + (100_000).to_bytes(4, "little") + b"\x01" * 100_000
        with pytest.raises(plain_pickle.NotPlain, match="over the limit"):
            plain_pickle.read(b"\x80\x04](" + number + b"\x94" + b"h\0" * 100 + b"e.")
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(plain_pickle.NotPlain):
            plain_pickle.read(pickle.dumps(loop))

    @pytest.mark.unmeasured  # hundreds of thousands of steps each
    @pytest.mark.parametrize("opcode", [b"\x8f", b"}", b"]", b")", b"N\x94"])
    def test_small_things_that_take_much_memory_are_refused(self, opcode: bytes) -> None:
        """Four million empty sets are four megabytes of a pickle, and a gigabyte of memory."""
        tracemalloc.start()
        with pytest.raises(plain_pickle.NotPlain, match="too much memory"):
            plain_pickle.read(b"\x80\x04(" + opcode * 300_000 + b"t.")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert most < 100_000_000
        assert plain_pickle.read(b"\x80\x04(" + opcode * 1_000 + b"t.")

    def test_depth_and_size_are_no_danger(self) -> None:
        deep = plain_pickle.read(b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".")
        assert type(deep) is list
        with pytest.raises(plain_pickle.NotPlain, match="limit"):
            plain_pickle.read(b"\x80\x04" + b"N" * 5_000_000)
        with pytest.raises(plain_pickle.NotPlain, match="too early"):
            plain_pickle.read(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f")

    @pytest.mark.unmeasured  # a hundred thousand steps each
    @pytest.mark.parametrize("wrap", [b"})%bNs.", b"\x8f()%b\x90.", b"()%b\x91."])
    def test_what_is_hashed_is_not_deep(self, wrap: bytes) -> None:
        """Python hashes a nested tuple by recursion, and a process that runs out of stack there dies."""
        with pytest.raises(plain_pickle.NotPlain, match="too deep"):
            plain_pickle.read(b"\x80\x04" + wrap % (b"\x85" * 100_000))
        assert plain_pickle.read(pickle.dumps({((1, 2), frozenset({3})): 4})) == {((1, 2), frozenset({3})): 4}

    def test_numbers_of_one_hash_do_not_hang(self) -> None:
        """A dict, or a set, of a hundred thousand such keys takes minutes."""
        numbers = [b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") for k in range(100_000)]
        for stream in (b"\x8f(%b\x90.", b"(%b\x91.", b"}(%bu."):
            values = b"".join(numbers) if b"u" not in stream else b"N".join(numbers) + b"N"
            with pytest.raises(plain_pickle.NotPlain, match="too many keys"):
                plain_pickle.read(b"\x80\x04" + stream % values)

    @pytest.mark.parametrize(
        "stream", [b"(.", b"(0.", b"a.", b"]s.", b"NNs.", b"}NNNu.", b"]]a", b"\x94.", b"h\0.", b"(]](u.", b"NN.", b"N.N"]
    )
    def test_opcodes_out_of_place_are_refused(self, stream: bytes) -> None:
        with pytest.raises(plain_pickle.NotPlain):
            plain_pickle.read(b"\x80\x04" + stream)

    def test_one_pickle_after_another(self) -> None:
        value, rest = plain_pickle.read_first(pickle.dumps(1.5) + b"rest")
        assert (value, rest) == (1.5, b"rest")


class TestFormats:
    @given(st.binary())
    def test_any_bytes_are_a_mapping_or_refused(self, data: bytes) -> None:
        """Promise 10."""
        pickles = formats.Pickles(plain=True, conversion="convert it")
        for stream in (data, b"{" + data, b"\x81\xa1a" + data, b"\x80\x04" + data):
            with suppress(PayloadError):
                assert type(formats.mapping(stream, pickles)) is dict

    def test_what_flask_session_writes_comes_out(self) -> None:
        """With the types that MessagePack has."""
        data = {"a": b"\0", "when": datetime(2026, 1, 1, tzinfo=UTC), "n": [2**63, -1.5]}
        pickles = formats.Pickles(plain=False, conversion="")
        assert formats.mapping(msgspec.msgpack.encode(data), pickles) == data

    def test_a_packed_session_cannot_fill_the_memory(self) -> None:
        with pytest.raises(PayloadError, match="too large"):
            formats.inflated(zlib.compress(b"0" * (formats.MOST + 1)))
        with pytest.raises(PayloadError, match="cut off"):
            formats.inflated(zlib.compress(b"0" * 100)[:-5])


def test_none_of_the_libraries_is_needed() -> None:
    """Their sessions are read without them; a driver is imported when a place asks for it."""
    program = """
import sys
import session_middleware.integrations.moving, session_middleware.integrations.beaker
print(sorted(sys.modules.keys() & {"beaker", "flask", "flask_session", "django", "redis", "sqlalchemy", "cachelib"}))
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=600).stdout
    assert found == "[]\n"
