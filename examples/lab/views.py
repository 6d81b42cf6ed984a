"""What is shown of a session from outside of the request: what is stored and sent by now, and what was before."""

import re
import sqlite3
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from markupsafe import Markup
from webob import Request

from examples.lab import web
from examples.lab.drawing import ACTORS, PLACES, bands
from examples.lab.notebook import Notebook
from examples.lab.texts import Texts
from examples.lab.trace import TimedStore, Trace
from session_middleware import CookiePolicy, Session, StoreError
from session_middleware.codecs import Codec
from session_middleware.record import Damaged, Envelope, unpack

_SHOWN_BANDS = 6


class Views:
    """Looks into the store behind the back of the request, so that what it shows is what is there."""

    def __init__(self, notebook: Notebook, store: TimedStore, cookie: CookiePolicy, codec: Codec) -> None:
        self._notebook = notebook
        self._store = store
        self._cookie = cookie
        self._codec = codec

    def both_sides(self, request: Request, session: Session, t: Texts) -> str:
        """Return the panes and the drawing, of what is stored and sent by now."""
        trace: Trace = request.environ["lab.trace"]
        shown = trace.set_cookie or trace.cookie or ""
        token = re.search(rf"{re.escape(self._cookie.for_scheme(request.scheme).name)}=([^;\s]*)", shown)
        stored = found = None
        with suppress(StoreError, Damaged):
            stored = None if session.is_new else self._store.inner.load(session.id)
            found = None if stored is None else unpack(session.id, stored.value)
        envelope, payload = found if isinstance(found, tuple) else (None, b"")
        data = self._codec.decode(payload) if envelope else {}
        return web.ENVIRONMENT.get_template("live.html").render(
            t=t,
            id=session.id if stored else "",
            stored=stored,
            envelope=envelope,
            ends=_ends(envelope),
            data={key: None if key == "csrf" else repr(value) for key, value in data.items()},
            cookie_name=self._cookie.for_scheme(request.scheme).name,
            token=token[1] if token else "",
            secure=request.scheme == "https",
            store=type(self._store.inner).__name__,
            drawing=Markup(self.drawing(request, t)),  # noqa: S704 - made of a template of ours
        )

    def drawing(self, request: Request, t: Texts) -> str:
        trace: Trace = request.environ["lab.trace"]
        entries = [asdict(trace)]
        with suppress(sqlite3.Error):
            entries += self._notebook.traces(request.environ["lab.visitor"])
        shown = bands(entries, t, most=_SHOWN_BANDS)
        return web.ENVIRONMENT.get_template("drawing.html").render(
            t=t, bands=shown, actors=list(zip(ACTORS, PLACES, strict=True))
        )

    def results(self, request: Request, t: Texts) -> dict[str, Any]:
        visitor = request.environ["lab.visitor"]
        results = self._notebook.results(visitor)
        for result in results.values():
            entries = self._notebook.traces_of(visitor, result["run"])
            result["bands"] = bands(entries, t, most=len(entries))
        return {"results": results, "actors": list(zip(ACTORS, PLACES, strict=True))}


def _ends(envelope: Envelope | None) -> list[tuple[str, float | None]]:
    """Return both deadlines; ``None`` for one that there is not."""
    if envelope is None:
        return []
    idle = None if envelope.idle is None else envelope.last_seen_at + envelope.idle
    return [("idle", idle), ("absolute", envelope.created_at + envelope.absolute)]
