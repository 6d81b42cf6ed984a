"""What a session takes in each store, from what was measured of a million. It reads the file that says so."""

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any, Final, TypeAlias

Measured: TypeAlias = Mapping[str, Any]
"""What ``make capacity`` has found, as the file has it."""

_REDIS_HEAD: Final = 14
_REDIS_USER: Final = 17
"""Bytes before the value of a record of nobody, and what a user with an id of twelve characters adds."""

_TABLES: Final = 2 * 8
"""Redis finds a key, and its expiry, by a table each, of 8 bytes a place."""

_SMALLEST_CHUNK: Final = 96
_GROWTH: Final = 1.25
_LARGEST_CHUNK: Final = 512 * 1024


def measured() -> Measured:
    """Return what was measured of the stores, the one time that the file of the package was made."""
    found: Measured = json.loads(files("session_middleware.capacity").joinpath("measured.json").read_text())
    return found


def record_bytes(store: str, size: int, found: Measured, *, signed_in: float = 1.0, sessions: float = 1_000_000) -> float:
    """Return what one session takes in a store, its part of all indexes too (bytes).

    *size*: of the record's value; *signed_in*: which share of the sessions have a user, each another one; *sessions*: how
    many there are. Raise :exc:`KeyError` for a store of which nothing was measured.
    """
    one, at = found["stores"][store], found["size"]
    if store == "redis":
        return _redis(size, one, at, one["sessions"], signed_in, sessions)
    if store == "memcached":
        return _chunk(size + one["bytes"] - at)
    if "by_size" in one:
        # The sizes were measured with fewer sessions, among which a store has more left free.
        beside = (one["bytes"] - at) / (between(one["by_size"], at) - at)
        return float(size + (between(one["by_size"], size) - size) * beside + signed_in * one["user_bytes"])
    return float(size - at + one["bytes"] + signed_in * one["user_bytes"])


def between(pairs: Sequence[Sequence[float]], size: float) -> float:
    """Return what belongs to *size* on the line through the pairs next to it; beyond the last one, in proportion."""
    last = pairs[-1]
    if size >= last[0]:
        return last[1] * size / last[0]
    place = max(1, bisect_left(pairs, size, key=lambda pair: pair[0]))
    (x, y), (x1, y1) = pairs[place - 1], pairs[place]
    return y + (y1 - y) * (size - x) / (x1 - x)


def _redis(size: int, one: Measured, at: int, many: int, signed_in: float, sessions: float) -> float:
    """What was measured, with the string as jemalloc rounds it and the tables as large as they are for so many keys."""
    beside = one["bytes"] - _string(at + _REDIS_HEAD) - _tables(many) / many
    nobody = beside + _string(size + _REDIS_HEAD)
    # With a user there are twice as many keys, one of them of the index.
    grown = _string(at + _REDIS_HEAD + _REDIS_USER) - _string(at + _REDIS_HEAD)
    index = one["user_bytes"] - grown - (_tables(2 * many) - _tables(many)) / many
    somebody = beside + _string(size + _REDIS_HEAD + _REDIS_USER) + index
    tables = _tables(sessions * (1 + signed_in)) / sessions
    return float((1 - signed_in) * nobody + signed_in * somebody + tables)


def _tables(keys: float) -> float:
    return _TABLES * 2.0 ** math.ceil(math.log2(max(4, keys)))


def _string(length: int) -> int:
    """Return what a string of Redis takes: its header, and a byte at its end, as jemalloc rounds them up."""
    needed = length + (4 if length < 256 else 6 if length < 65536 else 10)
    if needed <= 128:
        return math.ceil(needed / 16) * 16
    step = int(2 ** (math.ceil(math.log2(needed)) - 3))
    return math.ceil(needed / step) * step


def _chunk(needed: float) -> float:
    """Return what an item of memcached takes: a chunk of the next size that there is."""
    if needed > _LARGEST_CHUNK:
        return needed
    size = _SMALLEST_CHUNK
    while size < needed:
        size = math.ceil(size * _GROWTH / 8) * 8
    return float(size)
