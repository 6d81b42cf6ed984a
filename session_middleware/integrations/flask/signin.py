"""Flask-Login signs the session in and out. Its signals say when; nothing of it is imported here."""

import sys
from collections.abc import Mapping
from typing import Any, Final, cast

import flask

from session_middleware.exceptions import TooManySessions
from session_middleware.integrations.flask.view import FLASHES, FlaskSession
from session_middleware.manager import SessionManager
from session_middleware.rules import Opens
from session_middleware.values import Values

# What Flask-Login itself has put there when its signal comes; all else of another user goes.
_LOGIN_KEYS: Final = ("_user_id", "_fresh", "_id", "_remember", "_remember_seconds")


def follow(app: flask.Flask) -> None:
    """Listen to the signals of Flask-Login, if the login manager of *app* is one of its own."""
    signals = sys.modules.get("flask_login.signals")
    if signals is None:
        return
    signals.user_logged_in.connect(_signed_in, app)
    signals.user_login_confirmed.connect(_signed_in, app)
    signals.user_loaded_from_cookie.connect(_remembered, app)
    signals.user_logged_out.connect(_signed_out, app)
    signals.session_protected.connect(_protected, app)


def _current() -> FlaskSession | None:
    found = cast("Any", flask.session)._get_current_object()  # noqa: SLF001  # Werkzeug documents it
    return found if isinstance(found, FlaskSession) else None


def _signed_in(app: flask.Flask, **_: object) -> None:
    session = _current()
    if session is not None and "_user_id" in session:
        own = {key: session[key] for key in _LOGIN_KEYS if key in session}
        try:
            session.login(str(own["_user_id"]))
        except TooManySessions:
            _refuse(app, session)
            raise
        session.update(own)


def _refuse(app: flask.Flask, session: FlaskSession) -> None:
    """Take back what Flask-Login has noted of a sign-in that is refused: it would take the user for signed in by that."""
    before = _stored(session)
    for key in _LOGIN_KEYS:
        if key in before:
            session[key] = before[key]
        else:
            session.pop(key, None)
    # Who was signed in is so again. Nobody else is: not to be remembered anew at each use of current_user in this request.
    flask.g.pop("_login_user", None)
    if "_user_id" not in session:
        cast("Any", app).login_manager._update_request_context_with_user()  # noqa: SLF001  # as it does itself


def _remembered(app: flask.Flask, **_: object) -> None:
    """Sign in, as the browser remembers, but not in place of who has just signed in by a parallel request.

    This request is answered for the user that the browser remembers all the same; it stores nothing and sends no cookie.
    """
    session = _current()
    if session is not None and (not session.underlying.is_gone or _is_remembered_there(session)):
        _signed_in(app)


def _is_remembered_there(session: FlaskSession) -> bool:
    """Tell whether a parallel request has just signed the same user in, and by the same cookie.

    One that a password was given for is not to be joined by who has a cookie.
    """
    state = session.underlying.state
    found = None if state is None or state.opens is not Opens.SNAPSHOT else state.found
    if found is None or found.envelope.user_id != str(session["_user_id"]):
        return False
    return not _stored(session).get("_fresh")


def _stored(session: FlaskSession) -> Mapping[str, Any]:
    """Return what the session held when it was loaded, be it what a parallel request has made of it."""
    state, keeper = session.underlying.state, session.underlying.keeper
    if state is None or state.found is None or not isinstance(keeper, SessionManager):
        return {}
    return Values(state.found.values, keeper.codec)


def _signed_out(app: flask.Flask, **_: object) -> None:
    """End the session. What this request has written goes on, and so do messages that nobody has seen yet.

    Others note there, as Flask-Login does, that a cookie of theirs is to be removed.
    """
    session = _current()
    if session is not None:
        written = {key: value for key, value in _written(session).items() if key not in _LOGIN_KEYS}
        flashes = {FLASHES: session[FLASHES]} if FLASHES in session else {}
        _begin_anew(session, written | flashes)


def _begin_anew(session: FlaskSession, data: dict[str, Any]) -> None:
    """End the session, but let Flask-Login remove the cookie that remembers the user."""
    clear = {"_remember": "clear"} if session.get("_remember") == "clear" else {}
    session.invalidate()
    if not session.underlying.announced:
        session.update(data | clear)


def _written(session: FlaskSession) -> dict[str, Any]:
    state = session.underlying.state
    return {} if state is None else state.values.written()


def _protected(app: flask.Flask, **_: object) -> None:
    """In its strong mode Flask-Login ends the whole session, and it asks for that in this way.

    It does so for every anonymous session that has data, too; that one may stay.
    """
    session = _current()
    if session is not None and session.get("_remember") == "clear" and session.user_id is not None:
        # Whoever comes with the cookie may have stolen it, so nothing else goes on.
        _begin_anew(session, {})
