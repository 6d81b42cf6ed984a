"""Reads the part of the pickle format that is data: it knows no other opcode, imports nothing and calls nothing by name.

Some libraries wrap what they store in a pickle, whatever its own format is. A stream that names a class or a function, for
whatever purpose, is refused at that opcode; ``pickle`` itself is not used. The opcodes are those of PEP 307 and PEP 3154.
"""

import struct
from collections.abc import Callable, Collection
from typing import Any, Final

_MOST: Final = 4 * 1024 * 1024
"""The most bytes that are read, and the most that values which stand at several places may add."""

# Python hashes what is a key or in a set: a nested tuple by recursion that nothing bounds, and numbers and tuples so that
# many with one hash can be made up, over which a dict takes hours. Nobody can make up strings like that.
_MOST_HASHED: Final = 10_000
_DEEPEST_HASHED: Final = 8

# An empty set takes one byte of a pickle, and more than two hundred in memory; to note a value takes one, and a hundred.
_MOST_MADE: Final = 200_000

_MARK: Final = object()
_SCALARS: Final = (type(None), bool, int, float, str, bytes)

_UNSIGNED: Final = {1: struct.Struct("<B"), 2: struct.Struct("<H"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}
_SIGNED: Final = struct.Struct("<i")
_FLOAT: Final = struct.Struct(">d")


class NotPlain(ValueError):
    """The bytes are no pickle, or one that holds more than plain values."""


def read(data: bytes) -> Any:
    """Return the value that *data* holds: None, bool, int, float, str, bytes, list, tuple, set, frozenset, dict.

    Raise :exc:`NotPlain` for anything else, and nothing else.
    """
    value, rest = read_first(data)
    if rest:
        raise NotPlain("something follows the pickle")
    return value


def read_first(data: bytes) -> tuple[Any, bytes]:
    """Return the value that *data* begins with, and the bytes after it; raise as :func:`read`."""
    if len(data) > _MOST:
        raise NotPlain(f"{len(data):,} bytes are over the limit")
    machine = _Machine(data)
    try:
        return machine.run()
    # What a stream says may be missing, of another type, or no key.
    except (LookupError, TypeError, ValueError, struct.error, AttributeError, OverflowError) as error:
        raise error if isinstance(error, NotPlain) else NotPlain(f"damaged ({type(error).__name__})") from None


class _Machine:
    """The stack that the opcodes work on."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._repeated = 0
        self._hashed = 0
        self._made = 0

    def run(self) -> tuple[Any, bytes]:
        while True:
            opcode = self._take(1)
            if opcode == b".":
                break
            handler = _HANDLERS.get(opcode)
            if handler is None:
                raise NotPlain(f"opcode {opcode!r} is not one of plain values")
            handler(self)
        (value,) = self._stack
        if value is _MARK:
            raise NotPlain("no value")
        return value, self._data[self._at :]

    def _take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise NotPlain("it ends too early")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        number: int = _UNSIGNED[size].unpack(self._take(size))[0]
        return number

    def counted(self, size: int) -> bytes:
        """Return as many bytes as the number says that comes first."""
        return self._take(self.number(size))

    def push(self, value: Any) -> None:
        if not isinstance(value, _SCALARS):
            self._count()
        self._stack.append(value)

    def _count(self) -> None:
        self._made += 1
        if self._made > _MOST_MADE:
            raise NotPlain("it would take too much memory")

    def push_signed(self) -> None:
        self.push(_SIGNED.unpack(self._take(4))[0])

    def push_float(self) -> None:
        self.push(_FLOAT.unpack(self._take(8))[0])

    def skip(self, size: int) -> None:
        self._take(size)

    def popped(self, count: int) -> list[Any]:
        """Return the newest *count* values, the newest last."""
        if len(self._stack) < count:
            raise NotPlain("a value is missing")
        values = self._stack[len(self._stack) - count :]
        del self._stack[len(self._stack) - count :]
        if any(value is _MARK for value in values):
            raise NotPlain("a value is missing")
        return values

    def since_mark(self) -> list[Any]:
        count = 0
        while self._stack[-1 - count] is not _MARK:
            count += 1
        values = self.popped(count)
        del self._stack[-1]
        return values

    def newest(self, kind: type) -> Any:
        if type(self._stack[-1]) is not kind:
            raise NotPlain(f"no {kind.__name__} there")
        return self._stack[-1]

    def extend(self, values: list[Any]) -> None:
        self.newest(list).extend(values)

    def add(self, values: list[Any]) -> None:
        self.newest(set).update(self.hashable(values))

    def push_frozen(self) -> None:
        self.push(frozenset(self.hashable(self.since_mark())))

    def set_items(self, values: list[Any]) -> None:
        target = self.newest(dict)
        for key, value in zip(self.hashable(values[::2]), values[1::2], strict=True):
            target[key] = value

    def hashable(self, values: Collection[Any], depth: int = 0) -> Collection[Any]:
        """Return *values*, which are about to be hashed; raise :exc:`NotPlain` if that could take too long or too deep."""
        for value in values:
            if not isinstance(value, str | bytes):
                self._hashed += 1
            if isinstance(value, tuple | frozenset) and depth < _DEEPEST_HASHED:
                self.hashable(value, depth + 1)
        if self._hashed > _MOST_HASHED or depth == _DEEPEST_HASHED:
            raise NotPlain("too many keys that are no text, or too deep ones")
        return values

    def remember(self, index: int) -> None:
        self._count()
        self._memo[index] = self._stack[-1]

    def memoize(self) -> None:
        self.remember(len(self._memo))

    def recall(self, index: int) -> None:
        """Push a value again. A container could hold itself, or grow without bound: only single values may be repeated."""
        value = self._memo[index]
        if not isinstance(value, _SCALARS):
            raise NotPlain("a container stands at two places")
        self._repeated += _size(value)
        if self._repeated > _MOST:
            raise NotPlain("repeated values are over the limit")
        self.push(value)


def _size(scalar: Any) -> int:
    if isinstance(scalar, str | bytes):
        return len(scalar)
    return 8 + scalar.bit_length() // 8 if isinstance(scalar, int) else 8


def _long(data: bytes) -> int:
    return int.from_bytes(data, "little", signed=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8")


_HANDLERS: Final[dict[bytes, Callable[[_Machine], object]]] = {
    b"\x80": lambda it: it.skip(1),  # PROTO
    b"\x95": lambda it: it.skip(8),  # FRAME
    b"N": lambda it: it.push(None),
    b"\x88": lambda it: it.push(True),
    b"\x89": lambda it: it.push(False),
    b"J": _Machine.push_signed,  # BININT
    b"K": lambda it: it.push(it.number(1)),  # BININT1
    b"M": lambda it: it.push(it.number(2)),  # BININT2
    b"\x8a": lambda it: it.push(_long(it.counted(1))),  # LONG1
    b"\x8b": lambda it: it.push(_long(it.counted(4))),  # LONG4
    b"G": _Machine.push_float,  # BINFLOAT
    b"\x8c": lambda it: it.push(_text(it.counted(1))),  # SHORT_BINUNICODE
    b"X": lambda it: it.push(_text(it.counted(4))),  # BINUNICODE
    b"\x8d": lambda it: it.push(_text(it.counted(8))),  # BINUNICODE8
    b"C": lambda it: it.push(it.counted(1)),  # SHORT_BINBYTES
    b"B": lambda it: it.push(it.counted(4)),  # BINBYTES
    b"\x8e": lambda it: it.push(it.counted(8)),  # BINBYTES8
    b"(": lambda it: it.push(_MARK),
    b"]": lambda it: it.push([]),
    b"a": lambda it: it.extend(it.popped(1)),  # APPEND
    b"e": lambda it: it.extend(it.since_mark()),  # APPENDS
    b")": lambda it: it.push(()),
    b"\x85": lambda it: it.push(tuple(it.popped(1))),
    b"\x86": lambda it: it.push(tuple(it.popped(2))),
    b"\x87": lambda it: it.push(tuple(it.popped(3))),
    b"t": lambda it: it.push(tuple(it.since_mark())),
    b"}": lambda it: it.push({}),
    b"s": lambda it: it.set_items(it.popped(2)),  # SETITEM
    b"u": lambda it: it.set_items(it.since_mark()),  # SETITEMS
    b"\x8f": lambda it: it.push(set()),
    b"\x90": lambda it: it.add(it.since_mark()),  # ADDITEMS
    b"\x91": _Machine.push_frozen,
    b"q": lambda it: it.remember(it.number(1)),  # BINPUT
    b"r": lambda it: it.remember(it.number(4)),  # LONG_BINPUT
    b"\x94": _Machine.memoize,
    b"h": lambda it: it.recall(it.number(1)),  # BINGET
    b"j": lambda it: it.recall(it.number(4)),  # LONG_BINGET
}
