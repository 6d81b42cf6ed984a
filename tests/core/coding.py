"""Values of odd types, and what a codec makes of them."""

from collections.abc import Callable
from enum import Enum
from typing import Any

import pytest

from session_middleware import JSONCodec, MsgpackCodec, PayloadError
from session_middleware.codecs import Codec
from tests.values import same

MSGPACK, JSON = MsgpackCodec(), JSONCodec()


def round_trip(value: Any, codec: Codec = MSGPACK) -> Any:
    return codec.decode(codec.encode(value))


def refusal(value: Any, codec: Codec = MSGPACK) -> PayloadError:
    with pytest.raises(PayloadError) as caught:
        codec.encode(value)
    return caught.value


def nested(depth: int, wrap: Callable[[Any], Any], innermost: Any = None) -> Any:
    for _ in range(depth):
        innermost = wrap(innermost)
    return innermost


def kept_or_refused(codec: Codec, payload: bytes) -> bool:
    """Decode; what is decoded must be writable again and come back the same. Return whether anything was decoded."""
    try:
        data = codec.decode(payload)
    except PayloadError:
        return False
    assert same(codec.decode(codec.encode(data)), data)
    return True


class Shade(Enum):
    RED = "red"
