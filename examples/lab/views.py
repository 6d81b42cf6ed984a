"""What is shown of a session from outside of the request: what is stored and sent by now, and what was before."""

import re
import sqlite3
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from typing import Any, NamedTuple

from markupsafe import Markup
from webob import Request

from examples.lab import web
from examples.lab.book import Book
from examples.lab.drawing import ACTORS, PLACES, bands
from examples.lab.notebook import Notebook
from examples.lab.texts import Texts
from examples.lab.trace import TimedStore, Trace
from session_middleware import CookiePolicy, Session, SessionManager, StoreError
from session_middleware.notes import Damaged
from session_middleware.record import Encoded, Envelope, Kind, unpack, unpack_values
from session_middleware.rules import WINDOW, Opens
from session_middleware.stores.base import Stored
from session_middleware.tokens import proof_function
from session_middleware.values import Values

_SHOWN_BANDS = 6
_SHOWN_BYTES = 8
_SHOWN_PROOF = 4
_SHOWN_VERSION = 8


class Value(NamedTuple):
    """A value of a session: as the application has it, and as it is stored. The secret of the forms has neither."""

    key: str
    text: str | None
    size: int
    bytes: str


class Secret(NamedTuple):
    """What a record keeps of a secret. ``left``: so long (seconds) it still opens the snapshot."""

    proof: str
    kind: str
    at: float | None
    left: float
    here: bool
    """Whether it is the one that this browser has."""


class Views:
    """Looks into the store behind the back of the request, so that what it shows is what is there."""

    def __init__(
        self, notebook: Notebook, store: TimedStore, cookie: CookiePolicy, manager: SessionManager, book: Book | None
    ) -> None:
        self._notebook = notebook
        self._store = store
        self._cookie = cookie
        self._manager = manager
        self._book = book
        self._proof_of = proof_function(manager.namespace)

    def both_sides(self, request: Request, session: Session, t: Texts) -> str:
        """Return the panes and the drawing, of what is stored and sent by now.

        Whoever has only a snapshot is shown no more than that.
        """
        trace: Trace = request.environ["lab.trace"]
        cookie = self._cookie.for_scheme(request.scheme)
        shown = trace.set_cookie or trace.cookie or ""
        token = re.search(rf"{re.escape(cookie.name)}=([^;\s]*)", shown)
        stored, envelope, values = self._stored(session)
        snapshot = trace.opens == Opens.SNAPSHOT.value and envelope is None
        return web.ENVIRONMENT.get_template("live.html").render(
            t=t,
            id=session.id if envelope else "",
            stored=stored,
            version="" if stored is None else sha256(str(stored.version).encode()).hexdigest()[:_SHOWN_VERSION],
            envelope=envelope,
            ends=_ends(envelope),
            secrets=self._secrets(session, envelope),
            snapshot=None if envelope is None else _keys(envelope.snapshot),
            before={key: _written(value) for key, value in session.items() if key != "csrf"} if snapshot else None,
            values=self._values(values),
            cookie_name=cookie.name,
            token=web.coloured(token[1]) if token else "",
            secure=request.scheme == "https",
            store=type(self._store.inner).__name__,
            drawing=Markup(self.drawing(request, t)),  # noqa: S704 - made of a template of ours
        )

    def _stored(self, session: Session) -> tuple[Stored | None, Envelope | None, Encoded]:
        """Return what the store has of the session, if this request may see it."""
        state = session.state
        if state is not None and state.found is not None and state.opens is Opens.SESSION:
            with suppress(StoreError, Damaged):
                stored = self._store.inner.load(state.found.id)
                found = None if stored is None else unpack(stored.value)
                if isinstance(found, tuple):
                    return stored, found[0], unpack_values(found[1])
        return None, None, {}

    def _values(self, stored: Encoded) -> list[Value]:
        values = Values(stored, self._manager.codec)
        return [
            Value(key, None, 0, "")
            if key == "csrf"
            else Value(key, _written(values.get(key)), len(stored[key]), _in_hex(stored[key], _SHOWN_BYTES, " "))
            for key in stored
        ]

    def _secrets(self, session: Session, envelope: Envelope | None) -> list[Secret]:
        """Return the secrets that the record has proofs of, the newest first."""
        if envelope is None:
            return []
        own = session.state and session.state.own
        here = self._proof_of(own) if own else b""
        current = [
            Secret(_in_hex(proof, _SHOWN_PROOF), "current", envelope.issued_at, 0, proof == here)
            for proof in envelope.current
        ]
        previous = [
            Secret(_in_hex(proof, _SHOWN_PROOF), kind.name.lower(), at, _left(kind, at), proof == here)
            for proof, kind, at in envelope.previous
        ]
        return [*reversed(current), *reversed(previous)]

    def drawing(self, request: Request, t: Texts) -> str:
        trace: Trace = request.environ["lab.trace"]
        entries = [asdict(trace)]
        with suppress(sqlite3.Error):
            entries += self._notebook.traces(request.environ["lab.visitor"])
        shown = bands(entries, t, most=_SHOWN_BANDS)
        return web.ENVIRONMENT.get_template("drawing.html").render(
            t=t,
            bands=shown,
            actors=list(zip(ACTORS, PLACES, strict=True)),
            lesson=[self._book.step(t.language, number) if self._book else "" for number in range(1, 7)],
        )

    def results(self, request: Request, t: Texts) -> dict[str, Any]:
        visitor = request.environ["lab.visitor"]
        results = self._notebook.results(visitor)
        for result in results.values():
            entries = self._notebook.traces_of(visitor, result["run"])
            result["bands"] = bands(entries, t, most=len(entries))
            result["facts"] = [(key, _coloured(values)) for key, values in result["facts"]]
        return {"results": results, "actors": list(zip(ACTORS, PLACES, strict=True))}


def _ends(envelope: Envelope | None) -> list[tuple[str, float | None]]:
    """Return both deadlines; ``None`` for one that there is not."""
    if envelope is None:
        return []
    idle = None if envelope.idle is None else envelope.last_seen_at + envelope.idle
    return [("idle", idle), ("absolute", envelope.signed_in_at + envelope.absolute)]


def _written(value: object) -> str:
    """Return a value as Python writes it, but for dates, which are written as people do."""
    match value:
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S %Z}".rstrip()
        case dict():
            return "{" + ", ".join(f"{key!r}: {_written(each)}" for key, each in value.items()) + "}"
        case list():
            return "[" + ", ".join(map(_written, value)) + "]"
    return repr(value)


def _left(kind: Kind, at: float | None) -> float:
    return 0 if at is None or kind is Kind.RENEWED else max(0, at + WINDOW - time.time())


def _keys(snapshot: bytes) -> tuple[list[str], int]:
    """Return the keys in a snapshot, and its size."""
    with suppress(Damaged):
        return (list(unpack_values(snapshot)) if snapshot else []), len(snapshot)
    return [], len(snapshot)


def _in_hex(data: bytes, most: int, separator: str = "") -> str:
    digits = [f"{byte:02x}" for byte in data[:most]]
    return separator.join(digits) + ("…" if len(data) > most else "")


def _coloured(values: dict[str, Any]) -> dict[str, Any]:
    return {name: web.coloured(value) if isinstance(value, str) else value for name, value in values.items()}
