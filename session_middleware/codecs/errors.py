"""What to tell when encoding failed: the innermost value that is at fault, and the way to it. It knows no format."""

from collections.abc import Callable, Iterator
from typing import Any, NoReturn, cast

from session_middleware.exceptions import PayloadError

REFUSALS = (TypeError, ValueError, OverflowError, RecursionError)
"""What an encoder raises for a value that it cannot write."""


class NotKept(TypeError):
    """A value of a type that is not supported, which is the only argument."""


_LONGEST_PATH = 400
_LONGEST_KEY = 60

# As with the rule for subclasses: what they override has no say.
_ITERATORS: dict[type, Callable[[Any], Iterator[Any]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
}


def explained(encode: Callable[[Any], bytes], value: object, kept: str) -> bytes:
    """Return what *encode* makes of *value*, or raise a :exc:`PayloadError` whose path begins at *value*.

    *kept* names the types that are supported.
    """
    try:
        return encode(value)
    except REFUSALS as error:
        _explain(value, encode, error, kept)


def step(key: object) -> str:
    """Return the step to what is under a key: ``['cart']``."""
    try:
        text = repr(key)
    # The key is the application's own object, or an int of more digits than Python writes.
    except Exception:
        text = type(key).__qualname__
    return f"[{text}]" if len(text) <= _LONGEST_KEY else f"[{text[:_LONGEST_KEY]}...]"


def _explain(value: object, encode: Callable[[Any], bytes], cause: Exception, kept: str) -> NoReturn:
    """Raise the :exc:`PayloadError` that names what *encode* refuses in *value*."""
    path, error = "", cause
    above: set[int] = set()
    while len(path) < _LONGEST_PATH:
        above.add(id(value))
        found = next(((way, inner, refusal) for way, inner in _inside(value) if (refusal := _refusal(inner, encode))), None)
        if found is None:
            break
        way, value, error = found
        path += way
        if id(value) in above:
            error = ValueError(f"{type(value).__qualname__} contains itself")
            break
    if isinstance(error, UnicodeEncodeError):
        error = ValueError("str with a lone surrogate")
    reason = f"{error} cannot be kept; what can be: {kept}" if isinstance(error, NotKept) else str(error)
    raise PayloadError(reason, path=path) from cause


def _refusal(value: object, encode: Callable[[Any], bytes]) -> Exception | None:
    try:
        encode(value)
    except REFUSALS as error:
        return error
    return None


def _inside(value: object) -> Iterator[tuple[str, object]]:
    """Yield what *value* contains, each with the step that leads there: ``['price']``, ``[3]``."""
    kind = type(value)
    if issubclass(kind, dict):
        for key, inner in dict.items(cast("dict[Any, Any]", value)):
            yield ", a key", key
            yield step(key), inner
    for base, iterate in _ITERATORS.items():
        if issubclass(kind, base):
            for index, inner in enumerate(iterate(value)):
                yield (f"[{index}]" if base in (list, tuple) else ", a member"), inner
