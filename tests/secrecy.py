"""What nobody but a browser may see: collects secrets, and finds them in whatever was shown."""

import base64
import re
from pathlib import Path
from traceback import TracebackException

import session_middleware

# A piece of a secret this long is as good as the secret to whoever looks for it in a log.
PIECE = 12

_RUN = re.compile(rf"[A-Za-z0-9_-]{{{PIECE},}}")
_ID = 12
_OURS = str(Path(session_middleware.__file__).parent)


class Secrets:
    """The secrets of tokens that came and that were sent, and where in some text one, or a good piece of one, is found."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._pieces: set[str] = set()
        self._raw: set[bytes] = set()

    def add(self, token: str) -> None:
        """Note a token; its first twelve characters are the id, which is no secret."""
        secret = token[_ID:]
        assert len(secret) == 28
        self.all.append(token)
        self._pieces.update(secret[at : at + PIECE] for at in range(len(secret) - PIECE + 1))
        raw = base64.urlsafe_b64decode(secret)
        self._raw.add(raw[:8])
        self._pieces.update(raw.hex()[at : at + PIECE] for at in range(2 * len(raw) - PIECE + 1))

    def found_in(self, text: str | bytes) -> list[str]:
        """Return the pieces of secrets in *text*: as they are, in hexadecimal, or as the bytes that they stand for."""
        data = text if isinstance(text, bytes) else text.encode()
        found = [
            run[at : at + PIECE]
            for run in _RUN.findall(data.decode("latin-1"))
            for at in range(len(run) - PIECE + 1)
            if run[at : at + PIECE] in self._pieces
        ]
        return found + [data[at : at + 8].hex() for at in range(len(data) - 7) if data[at : at + 8] in self._raw]


def locals_of_ours(error: BaseException) -> list[str]:
    """Return what a traceback with locals shows of the frames of this package: of the error, its causes and contexts.

    Left out is the environ that a server hands over and that each frame of WSGI has; it holds the cookie by its nature.
    """
    shown: list[str] = []
    todo: list[TracebackException | None] = [TracebackException.from_exception(error, capture_locals=True)]
    while todo:
        found = todo.pop()
        if found is None:
            continue
        shown.extend(found.format_exception_only())
        todo += [found.__cause__, found.__context__]
        for frame in found.stack:
            if frame.filename.startswith(_OURS):
                for name, value in (frame.locals or {}).items():
                    if (frame.name, name) != ("__call__", "environ"):
                        shown.append(f"{frame.name}: {name} = {value}")
    return shown
