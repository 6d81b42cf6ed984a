"""Mappings over encoded values, and what hypothesis puts into them."""

from collections.abc import Callable
from copy import deepcopy
from typing import Any, NamedTuple

from hypothesis import strategies as st

from session_middleware import MsgpackCodec
from session_middleware.values import Changes, Values, encoded

CODEC = MsgpackCodec()
BROKEN = b"\xc1"
NOTHING: Changes = Changes({}, {}, frozenset())

# Few keys, and values that Python holds for equal and a codec does not, so that the interesting cases are common.
KEYS = ["a", "b", "c", "d", "", "é", "\0"]
keys = st.sampled_from(KEYS)
some_values = st.sampled_from([0, 1, True, 1.0, -0.0, 0.0, "1", None, (1,), [1], [], {"a": [1]}, {"a": (1,)}, {1}]).map(
    deepcopy
)
mappings = st.dictionaries(keys, some_values, max_size=6)


class Counting:
    """A codec that notes what it is asked for."""

    def __init__(self) -> None:
        self.encoded: list[Any] = []
        self.decoded: list[bytes] = []

    def encode(self, value: Any) -> bytes:
        self.encoded.append(value)
        return CODEC.encode(value)

    def decode(self, encoded: bytes) -> Any:
        self.decoded.append(encoded)
        return CODEC.decode(encoded)


def values_of(data: dict[str, Any], **broken: bytes) -> Values:
    return Values(encoded(data, CODEC) | broken, CODEC)


def raised(call: Callable[[], object]) -> tuple[object, ...]:
    """Return what a call returns, or the type and the arguments of what it raises."""
    try:
        return ("returned", call())
    except (LookupError, TypeError, RuntimeError, ValueError) as error:
        return type(error), error.args


class Point(NamedTuple):
    x: int
    items: list[int]
