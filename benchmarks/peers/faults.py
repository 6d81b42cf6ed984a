"""How long an answer takes when the store is silent, refuses connections, or is full; and whether all is right after."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.peers.contenders import STORES
from benchmarks.peers.gang import Failed, Gang, Member, gang
from benchmarks.peers.results import Row, Scope, of

FULL = {
    "Redis": "`maxmemory` is reached, `noeviction`",
    "SQLite": "no file may grow",
    "PostgreSQL": "not made: its disk is not ours to fill",
}


def faults(scope: Scope) -> list[Row]:
    """Do each fault to all libraries on a store at once: who waits takes no time from the others."""
    rows: list[Row] = []
    with gang(appendonly="yes") as of_all:
        for store in STORES[1:]:
            with ExitStack() as stack:
                members = []
                for contender, _ in scope.pairs(store):
                    member = of_all.member(contender, store)
                    try:
                        members.append(stack.enter_context(member))
                    except Failed as failed:
                        rows.append(of(contender, store) | {"failed": str(failed)})
                if members:
                    rows += _of_store(of_all, store, members, scope.cap)
    return rows


def _of_store(of_all: Gang, store: str, members: Sequence[Member], cap: float) -> list[Row]:
    rows = {member: of(member.contender, member.store) for member in members}
    cookies = {member: member.do("ask", path="/write?key=user")["cookie"] for member in members}
    for fault, begin, end in _faults_of(of_all, store, members):
        begin()
        for path, title in (
            (("/read", "read"), ("/write?key=late", "write")) if fault != "full" else (("/new?kb=64", "new"),)
        ):
            cookie = {member: "" if title == "new" else cookies[member] for member in members}
            for member, found in _ask_all(members, path, cookie, cap, "fill" if title == "new" else "ask_within").items():
                rows[member][f"{fault}, {title}"] = [found["status"], round(found["seconds"], 2), found["text"][:60]]
        end()
        for member in members:
            member.begin("until_right", cookie=cookies[member], cap=cap)
        for member in members:
            seconds = member.end()
            rows[member][f"{fault}, after"] = None if seconds is None else round(seconds, 2)
    return list(rows.values())


def _ask_all(
    members: Sequence[Member], path: str, cookies: dict[Member, str], cap: float, order: str
) -> dict[Member, dict[str, Any]]:
    """Let all ask at once; who has no answer by the cap has the status ``None``."""
    for member in members:
        member.begin(order, path=path, cookie=cookies[member], cap=cap)
    return {member: member.end() for member in members}


Fault = tuple[str, Callable[[], object], Callable[[], object]]


def _faults_of(of_all: Gang, store: str, members: Sequence[Member]) -> list[Fault]:
    if store == "SQLite":
        locks: list[sqlite3.Connection] = []
        return [
            ("silent", lambda: locks.extend(map(_lock, members)), lambda: _unlock(locks)),
            ("full", lambda: _limit(members), lambda: _unlimit(members)),
        ]
    server: Any = of_all.redis if store == "Redis" else of_all.postgresql
    found: list[Fault] = [("silent", server.pause, server.resume), ("refused", server.stop, server.start)]
    if store == "Redis":
        found.append(("full", lambda: _maxmemory(of_all, 1), lambda: _maxmemory(of_all, 0)))
    return found


def _lock(member: Member) -> sqlite3.Connection:
    """Hold the write lock of the file, as a process that hangs in a transaction does."""
    connection = sqlite3.connect(member.place.sqlite_path, isolation_level=None)
    connection.execute("BEGIN EXCLUSIVE")
    return connection


def _unlock(locks: list[sqlite3.Connection]) -> None:
    while locks:
        connection = locks.pop()
        connection.execute("ROLLBACK")
        connection.close()


def _limit(members: Sequence[Member]) -> None:
    for member in members:
        files = sorted(Path(member.place.folder).glob("sessions.sqlite3*"), key=lambda path: path.stat().st_size)
        member.do("limit_files", path=str(files[-1]))


def _unlimit(members: Sequence[Member]) -> None:
    for member in members:
        member.do("limit_files", path=None)


def _maxmemory(of_all: Gang, size: int) -> None:
    with of_all.redis.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", size)
