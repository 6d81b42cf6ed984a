"""Every error that the package raises, in one tree. It imports nothing of the package."""

from collections.abc import Mapping
from typing import TypeVar

F = TypeVar("F", bound=Exception)


class SessionError(Exception):
    """The root: everything that this package raises on purpose."""


class ConfigurationError(SessionError):
    """An option, or a combination of them, cannot work; the message says what to write instead."""


class StoreError(SessionError):
    """The store failed. It says nothing about whether a session exists."""


class StoreUnavailable(StoreError):
    """The store could not be asked, or did not answer in its time; the driver's error is the cause."""


class StoreUnusable(StoreUnavailable, ConfigurationError):
    """The store will not work before somebody changes something, which the message names: it does not start, either."""


class PayloadError(SessionError):
    """A value cannot be encoded, or stored bytes cannot be decoded.

    ``path`` names the value (``session['cart'][3]['price']``); it is empty for bytes that cannot be decoded. ``reason`` is
    what is wrong with it.
    """

    def __init__(self, reason: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {reason}" if path else reason)
        self.reason = reason
        self.path = path


class SessionTooLarge(SessionError):
    """The encoded session is over the limit; the stored one is untouched.

    ``size`` and ``limit`` are bytes; ``by_key`` maps each top-level key to the bytes that it takes.
    """

    def __init__(self, size: int, limit: int, by_key: Mapping[str, int]) -> None:
        super().__init__(f"the session takes {size:,} bytes, over the limit of {limit:,}: {sizes(by_key)}")
        self.size = size
        self.limit = limit
        self.by_key = dict(by_key)


class TooManySessions(SessionError):
    """``login()`` is refused: the user has as many sessions as ``max_per_user`` allows. It has changed nothing.

    ``limit`` is that number.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"the user is signed in {limit} times already, which is as often as may be")
        self.limit = limit


class ConflictError(SessionError):
    """Other requests kept changing the session; this one gave up, and its change is not stored."""


class HeadersAlreadySent(SessionError):
    """The call needs a new cookie, and the response headers have already left."""


def anew(fault: F) -> F:
    """Return the same error to be kept or raised: without its traceback, which would keep every frame alive that saw it."""
    new: F = fault.__class__.__new__(fault.__class__, *fault.args)
    new.__dict__.update(fault.__dict__)
    new.__cause__ = fault.__cause__
    return new


def sizes(by_key: Mapping[str, int], most: int = 8) -> str:
    """Return the largest of *by_key* as text, largest first: ``'cart' 1,200, 'csrf' 40``."""
    largest = sorted(by_key.items(), key=lambda item: -item[1])
    text = ", ".join(f"{key[:60]!r} {size:,}" for key, size in largest[:most])
    return text if len(largest) <= most else f"{text}, and {len(largest) - most} more"
