"""What the sites of the frameworks do with a session: the same in each, whatever kind of session it hands out."""

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

Query = Mapping[str, str]

# How many requests meet in one another's middle.
MEETING = 4
WITHIN = 120.0

_met = threading.Barrier(MEETING)
GO = threading.Event()


def show(session: Any, query: Query) -> Any:
    return {"user": session.user_id, "data": dict(session)}


def put(session: Any, query: Query) -> Any:
    session[query["key"]] = query["value"]
    return {}


def meet(session: Any, query: Query) -> Any:
    """Change the session while the other requests of a meeting have it open, too."""
    known = len(session)
    _met.wait(WITHIN)
    session[query["key"]] = query["value"]
    return {"known": known}


def append(session: Any, query: Query) -> Any:
    session.setdefault("cart", {"items": []})["items"].append(query["value"])
    return {}


def login(session: Any, query: Query) -> Any:
    session.login(query["user"])
    return {"user": session.user_id}


def logout(session: Any, query: Query) -> Any:
    session.invalidate()
    return {"user": session.user_id}


def regenerate(session: Any, query: Query) -> Any:
    session.regenerate()
    return {}


def remember(session: Any, query: Query) -> Any:
    session.set_lifetime(persistent=True, absolute=1000)
    return {}


def count(session: Any, query: Query) -> Any:
    return {"count": session.transact(lambda data: data.update(count=data.get("count", 0) + 1) or data["count"])}


def in_and_out(session: Any, query: Query) -> Any:
    """Sign in, have that stored at once, and sign out."""
    session.login(query["user"])
    session.transact(lambda data: data.update(count=1))
    session.invalidate()
    return {"user": session.user_id}


def go(session: Any, query: Query) -> Any:
    GO.set()
    return {}


ACTS: dict[str, Callable[[Any, Query], Any]] = {
    "show": show,
    "put": put,
    "meet": meet,
    "append": append,
    "login": login,
    "logout": logout,
    "regenerate": regenerate,
    "remember": remember,
    "count": count,
    "in_and_out": in_and_out,
    "go": go,
}


def fail(session: Any) -> Any:
    session["half"] = "done"
    raise RuntimeError("failed on purpose")


def blocks(session: Any) -> Iterator[bytes]:
    """The second block comes when another request says so; the session is changed before it."""
    GO.clear()
    yield b"one\n"
    told = GO.wait(WITHIN)
    session["late"] = "yes"
    yield b"two\n" if told else b"nobody has read the first block\n"
