"""A site that binds sessions to devices, as a real server serves it. Its clock is moved by a file that all workers read."""

import json
import os
import sys
import time
from collections.abc import Iterable
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from session_middleware import CookiePolicy, Lifetime, Session, SessionManager, SessionMiddleware, get_session
from session_middleware.binding import DeviceBinding

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

CLOCK = "clock"
"""The file, in the working directory: how many seconds the clock of the site is ahead."""

SHOP, ELSEWHERE = "shop.test", "elsewhere.test"
"""The hosts of two sites. The second one is a page with a link to the first."""

_HEAD = '<!doctype html><meta charset="utf-8"><title>{title}</title><link rel="icon" href="data:,">\n'
_LINK = '<a href="https://{host}/">to the shop</a>\n'
_FORMS = "".join(
    f'<form method="post" action="/{act}"><button>{act}</button></form>\n' for act in ("sign-in", "sign-out", "regenerate")
)


def make() -> "WSGIApplication":
    """Return the application, with the store that the environment says (``SESSION_STORE``), and another name of the cookie
    if it has one (``COOKIE``).

    Each request is a line on stderr, before its answer leaves: ``[host method path status signed]``; *signed*: by a device.
    """
    site = _Site()
    lifetime = Lifetime(persistent=True, renew=float(os.environ["RENEW"]) if "RENEW" in os.environ else None)
    name = os.environ.get("COOKIE")
    options: dict[str, Any] = {"lifetime": lifetime, "clock": _clock, "device_binding": DeviceBinding()}
    cookie = CookiePolicy() if name is None else CookiePolicy(name=name, former=(CookiePolicy(),))
    middleware = SessionMiddleware(site, os.environ["SESSION_STORE"], cookie=cookie, namespace="session", **options)
    site.manager = middleware.manager
    return partial(_logged, middleware)


def _logged(app: "WSGIApplication", environ: "WSGIEnvironment", start_response: Any) -> Iterable[bytes]:
    def start(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        host, signed = environ["HTTP_HOST"].partition(":")[0], environ.get("HTTP_SECURE_SESSION_RESPONSE", "-")
        line = f"[{host} {environ['REQUEST_METHOD']} {environ['PATH_INFO']} {status[:3]} {signed}]\n"
        os.write(sys.stderr.fileno(), line.encode())
        return start_response(status, headers, exc_info)

    return app(environ, start)


def _clock() -> float:
    return time.time() + float(Path(CLOCK).read_text())


class _Site:
    manager: SessionManager

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        host, _, port = environ["HTTP_HOST"].partition(":")
        if host == ELSEWHERE:
            return _page(start_response, "elsewhere", _LINK.format(host=f"{SHOP}:{port}"))
        session, act = get_session(environ), environ["PATH_INFO"].strip("/")
        if environ["REQUEST_METHOD"] == "POST":
            self._act(session, act, dict(parse_qsl(environ["QUERY_STRING"])))
        if act in ("who", "set"):
            found = {"user": session.user_id, "bound": session.device_bound, "id": session.id, "data": dict(session)}
            return _answer(start_response, "application/json", json.dumps(found))
        if environ["REQUEST_METHOD"] == "POST":
            start_response("303 See Other", [("Location", "/"), ("Content-Length", "0")])
            return []
        return _page(start_response, f"{session.user_id}, {'bound' if session.device_bound else 'not bound'}", _FORMS)

    def _act(self, session: Session, act: str, query: dict[str, str]) -> None:
        match act:
            case "sign-in":
                session.login("alice")
            case "sign-out":
                session.invalidate()
            case "regenerate":
                session.regenerate()
            case "set":
                session.update(query)
            case "revoke":
                self.manager.revoke_all("alice", keep=session.id)


def _page(start_response: "StartResponse", title: str, content: str) -> list[bytes]:
    return _answer(start_response, "text/html", _HEAD.format(title=escape(title)) + content)


def _answer(start_response: "StartResponse", kind: str, text: str) -> list[bytes]:
    body = text.encode()
    start_response("200 OK", [("Content-Type", f"{kind}; charset=utf-8"), ("Content-Length", str(len(body)))])
    return [body]
