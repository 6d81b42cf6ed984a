"""JSONCodec: values that can be read by eye in the store. It knows no record and no session."""

import json
import math
from typing import Any, NoReturn, cast

from session_middleware.codecs.errors import NotKept, explained
from session_middleware.codecs.subclasses import plain_of
from session_middleware.exceptions import PayloadError

KEPT_AS_JSON = "None, bool, int, float, str, list, dict"
"""What an error says that can be written instead."""


class JSONCodec:
    """JSON, for those who want to read their store by eye.

    It keeps None, bool, int, finite float, str, list and dict with str keys, their subclasses as the plain type, and refuses
    every other type instead of changing it.
    """

    def encode(self, value: Any) -> bytes:
        return explained(_to_json, value, KEPT_AS_JSON)

    def decode(self, encoded: bytes) -> Any:
        try:
            value = json.loads(encoded.decode(), parse_constant=_no_constant, parse_float=_finite)
            _to_json(value)  # a lone surrogate in an escape, or too deep a nesting, could never be written again
        except (ValueError, RecursionError) as error:
            raise PayloadError(f"no JSON: {error}") from error
        return value


# A bound on depth that holds however deep the application's own calls are.
_DEEPEST_JSON = 100


def _json_value(value: object, depth: int = 0) -> Any:
    if depth > _DEEPEST_JSON:
        raise ValueError(f"nested more than {_DEEPEST_JSON} deep")
    kind = type(value)
    if value is None or kind in (bool, str, int, float):
        return value
    if kind is list:
        return [_json_value(item, depth + 1) for item in cast("list[Any]", value)]
    if kind is dict:
        return {_json_key(key): _json_value(item, depth + 1) for key, item in cast("dict[Any, Any]", value).items()}
    plain = plain_of(value)
    if type(plain) not in (str, int, float, list, dict) or type(plain) is kind:
        raise NotKept(kind.__qualname__)
    return _json_value(plain, depth)


def _json_key(key: object) -> str:
    plain = key if key is None else plain_of(key)
    if type(plain) is not str:
        raise TypeError(f"a key of type {type(key).__qualname__}; JSON has only str keys")
    return plain


def _to_json(value: object) -> bytes:
    text = json.dumps(_json_value(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode()


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number
