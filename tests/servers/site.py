"""What tests serve with a real server. Its sessions are in the working directory, or where the environment says."""

import json
import logging
import os
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from session_middleware import Session, SessionMiddleware, get_session

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

DATABASE = "sessions.sqlite3"


def make(*, preload: bool = False, debug: bool = False) -> SessionMiddleware:
    """Return the application; *preload*: with the store in use already, as in a master that forks its workers."""
    if debug:
        logging.basicConfig(level=logging.DEBUG)
    application = SessionMiddleware(_application, os.environ.get("SESSION_STORE", f"sqlite:///{DATABASE}"))
    if preload:
        session = application.manager.open()
        session["made in"] = os.getpid()
        application.manager.commit(session)
    return application


def _application(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    query = dict(parse_qsl(environ["QUERY_STRING"]))
    act = _ACTS[environ["PATH_INFO"]]
    answer = act(get_session(environ), query)
    body = json.dumps({"pid": os.getpid(), **answer}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def _set(session: Session, query: dict[str, str]) -> dict[str, Any]:
    """Write one key, with the session held for so many milliseconds between reading and returning."""
    known = len(session)
    time.sleep(int(query.get("hold", "0")) / 1000)
    session[query["key"]] = [query["value"]] * int(query.get("times", "1"))
    return {"known": known}


def _get(session: Session, query: dict[str, str]) -> dict[str, Any]:
    return {"user": session.user_id, "data": dict(session)}


def _login(session: Session, query: dict[str, str]) -> dict[str, Any]:
    session.login(query["user"])
    session["user"] = query["user"]
    return {"id": session.id}


def _regenerate(session: Session, query: dict[str, str]) -> dict[str, Any]:
    session.regenerate()
    return {"id": session.id}


def _invalidate(session: Session, query: dict[str, str]) -> dict[str, Any]:
    session.invalidate()
    return {}


def _fail(session: Session, query: dict[str, str]) -> dict[str, Any]:
    session["unsupported"] = object()
    raise RuntimeError(f"{session!r} failed on purpose")


def _unsupported(session: Session, query: dict[str, str]) -> dict[str, Any]:
    session["unsupported"] = object()
    return {}


_ACTS = {
    "/set": _set,
    "/get": _get,
    "/login": _login,
    "/regenerate": _regenerate,
    "/invalidate": _invalidate,
    "/fail": _fail,
    "/unsupported": _unsupported,
}
