"""What a browser is called, for whoever lists sessions: the application says it, of a request. It knows no session.

What the application's callable does wrong changes no response.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from session_middleware.clock import steady_clock
from session_middleware.exceptions import ConfigurationError
from session_middleware.record import LONGEST_DEVICE

if TYPE_CHECKING:
    from wsgiref.types import WSGIEnvironment

log = logging.getLogger("session_middleware")

_EVERY: Final = 60.0


class Describer:
    """Asks *describe*, which returns a short text about the environ of a request, cookies apart, or ``None`` for nothing.

    Raise :exc:`ConfigurationError` if it cannot be called.
    """

    def __init__(self, describe: "Callable[[WSGIEnvironment], str | None]") -> None:
        if not callable(describe):
            raise ConfigurationError(
                f"describe={describe!r}: write a function of the environ that returns a text, such as"
                " session_middleware.devices.browser_and_network"
            )
        self._describe = describe
        self._next_line = 0.0

    def description(self, environ: "WSGIEnvironment") -> "Description":
        """Return what can be asked for the text about a request; *environ* as it is now."""
        return Description(self, dict(environ))

    def ask(self, environ: "WSGIEnvironment") -> tuple[bool, str | None]:
        """Return whether the callable has answered, and the text as it can be kept and shown."""
        try:
            # Where the traceback of a failure goes, its locals may go, too.
            environ.pop("HTTP_COOKIE", None)
            text = self._describe(environ)
            return True, None if text is None else readable(text, LONGEST_DEVICE) or None
        except Exception as error:
            if (now := steady_clock()) >= self._next_line:
                self._next_line = now + _EVERY
                log.error("describe failed, and the session keeps what it had: %s", type(error).__name__, exc_info=True)
            return False, None


class Description:
    """The text about one request. The callable is asked for it once at most, and not before somebody wants it."""

    _is_known = False
    _text: str | None = None

    def __init__(self, asks: Describer, environ: "WSGIEnvironment") -> None:
        self._asks = asks
        self._environ: WSGIEnvironment | None = environ

    def __call__(self, before: str | None) -> str | None:
        """Return the text; *before*, which is there until now, if there is no way to know."""
        environ, self._environ = self._environ, None
        if environ is not None:
            self._is_known, self._text = self._asks.ask(environ)
        return self._text if self._is_known else before

    def forget(self) -> None:
        """The request is over: nobody asks any more."""
        self._environ = None


def readable(text: str, longest: int) -> str:
    """Return a text to be shown to people, also in a terminal: without control characters, at most *longest* bytes long.

    Raise ``TypeError`` if it is no text.
    """
    if not isinstance(text, str):
        raise TypeError(f"a text is str, not {type(text).__name__}")
    # No character has less than a byte.
    shown = "".join([character if character.isprintable() else "?" for character in str.__str__(text)[:longest]])
    return shown.encode()[:longest].decode(errors="ignore")
