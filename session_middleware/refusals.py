"""What to tell when encoding failed: the innermost value that is at fault, and the way to it. It knows no format."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, cast

from session_middleware.exceptions import PayloadError

REFUSALS = (TypeError, ValueError, OverflowError, RecursionError)
"""What an encoder raises for a value that it cannot write."""

_LONGEST_PATH = 400
_LONGEST_KEY = 60

# As with the rule for subclasses: what they override has no say.
_ITERATORS: dict[type, Callable[[Any], Iterator[Any]]] = {
    list: list.__iter__,
    tuple: tuple.__iter__,
    set: set.__iter__,
    frozenset: frozenset.__iter__,
}


def explained(encode: Callable[[Any], bytes], data: Mapping[str, Any]) -> bytes:
    """Return what *encode* makes of *data*, or raise a :exc:`PayloadError`."""
    try:
        return encode(data)
    except REFUSALS as error:
        _explain(data, encode, error)


def _explain(data: Mapping[str, Any], encode: Callable[[Any], bytes], cause: Exception) -> NoReturn:
    """Raise the :exc:`PayloadError` that names the value in *data* which *encode* refuses."""
    path, value, error = "session", cast("Any", data), cause
    above: set[int] = set()
    while len(path) < _LONGEST_PATH:
        above.add(id(value))
        steps = _inside(value, at_top=value is data)
        found = next(((step, inner, refusal) for step, inner in steps if (refusal := _refusal(inner, encode))), None)
        if found is None:
            break
        step, value, error = found
        path += step
        if id(value) in above:
            error = ValueError(f"{type(value).__qualname__} contains itself")
            break
    if isinstance(error, UnicodeEncodeError):
        error = ValueError("str with a lone surrogate")
    raise PayloadError(f"{path}: {error}", path=path) from cause


def _refusal(value: object, encode: Callable[[Any], bytes]) -> Exception | None:
    try:
        encode(value)
    except REFUSALS as error:
        return error
    return None


def _inside(value: object, *, at_top: bool) -> Iterator[tuple[str, object]]:
    """Yield what *value* contains, each with the step that leads there: ``['cart']``, ``.price``, ``[3]``."""
    kind = type(value)
    if issubclass(kind, dict):
        for key, inner in dict.items(cast("dict[Any, Any]", value)):
            yield ", a key", key
            yield _step(key, at_top=at_top), inner
    for base, iterate in _ITERATORS.items():
        if issubclass(kind, base):
            for index, inner in enumerate(iterate(value)):
                yield (f"[{index}]" if base in (list, tuple) else ", a member"), inner


def _step(key: object, *, at_top: bool) -> str:
    try:
        if not at_top and isinstance(key, str) and len(key) <= _LONGEST_KEY and str.isidentifier(key):
            return f".{str.__str__(key)}"
        text = repr(key)
    # The key is the application's own object, or an int of more digits than Python writes.
    except Exception:
        text = type(key).__qualname__
    return f"[{text}]" if len(text) <= _LONGEST_KEY else f"[{text[:_LONGEST_KEY]}...]"
