"""The small application: one handler for each path, the same for all libraries. It knows no library and no framework."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from benchmarks.applications import data

PATHS = ("untouched", "read", "visit", "write", "new", "sign-in", "sign-out", "increment", "slow-write", "slow-read", "seen")


class Ways(NamedTuple):
    """How an application that uses the library signs in and out, makes its changes known, and counts."""

    sign_in: Callable[[Any], object]
    sign_out: Callable[[Any], object]
    save: Callable[[Any], object] = lambda session: None
    increment: Callable[[Any, float], object] | None = None
    """Adds 1 to the key ``n`` by the library's own means for that, if it has any."""


def no_gate() -> None: ...


gate: Callable[[], None] = no_gate
"""What the slow handlers call when they have read the session."""


def handle(ways: Ways, session_of: Callable[[], Any], path: str, query: str) -> str:
    """Do what *path* says to the session that *session_of* returns; return the text of the answer."""
    name = path.strip("/")
    if name == "untouched":
        return "done"
    session, asked = session_of(), dict(parse_qsl(query))
    wait = int(asked.get("ms", 0)) / 1000
    if name == "read":
        return str(session["user"])
    if name == "seen":
        return json.dumps(_seen(session))
    if name == "slow-read":
        return _slow_read(session)
    if name == "increment":
        (ways.increment or _increment)(session, wait)
    elif name in ("write", "slow-write"):
        _write(session, asked.get("key", "late"), wait, slow=name == "slow-write")
    elif name == "new":
        session.update(data(int(asked.get("kb", 1))))
    elif name == "visit":
        session["visits"] = session["visits"] + 1
    elif name == "sign-in":
        ways.sign_in(session)
    elif name == "sign-out":
        ways.sign_out(session)
        return "done"
    ways.save(session)
    return "done"


def _seen(session: Any) -> dict[str, Any]:
    keys = [key for key in list(session.keys()) if isinstance(key, str) and not key.startswith("_")]
    few = {key: session[key] for key in keys if key in ("user", "n", "late", "by")}
    return {**few, "written": sum(key.startswith("key") for key in keys)}


def _slow_read(session: Any) -> str:
    before = session.get("user")
    gate()
    return f"{before} {session.get('user')}"


def _write(session: Any, key: str, wait: float, *, slow: bool) -> None:
    session.get("user")
    time.sleep(wait)
    if slow:
        gate()
    session[key] = "1"


def _increment(session: Any, wait: float) -> None:
    number = session.get("n", 0)
    time.sleep(wait)
    session["n"] = number + 1
