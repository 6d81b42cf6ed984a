"""Requests a second under gunicorn, and the memory of a process that has served very many new sessions."""

import socket
import statistics
import tempfile
import threading
import time
from pathlib import Path
from random import Random

from benchmarks.peers.contenders import BY_HAND, KEEPS, LOSES
from benchmarks.peers.gang import ROOT, Gang, Member
from benchmarks.peers.results import Row, Scope, each
from benchmarks.peers.results import of as row_of
from tests.servers.gunicorn import Gunicorn

WORKERS = {"sync": ("--workers", "1"), "gthread": ("--worker-class", "gthread", "--workers", "1", "--threads", "4")}
MIXES = (10, 100)
"""Of 100 requests so many write; the others read."""

_CLIENTS = 4
_SESSIONS = 50


def load(gang: Gang, scope: Scope) -> list[Row]:
    """Ask on Redis, with four clients that wait for their answers, each round all in turns."""
    members = [gang.member(contender, store) for contender, store in scope.pairs("Redis")]
    found: dict[tuple[Member, str, int], list[tuple[float, float, float]]] = {}
    failed: dict[Member, str] = {}
    for _ in range(scope.load_rounds):
        for member in members:
            for worker, arguments in WORKERS.items():
                try:
                    for mix, measured in _serve(member, arguments, scope.load_seconds).items():
                        found.setdefault((member, worker, mix), []).append(measured)
                except (AssertionError, OSError) as error:
                    failed[member] = f"{type(error).__name__}: {error}"[:300]
    rows = []
    for member in members:
        row = row_of(member.contender, member.store)
        for (one, worker, mix), rounds in found.items():
            if one is member:
                row[f"{worker} {mix}"] = _summary(rounds)
        rows.append(row | ({"failed": failed[member]} if member in failed else {}))
    return rows


def _summary(rounds: list[tuple[float, float, float]]) -> list[list[float]]:
    """Return the least, the median and the most of each figure."""
    return [[round(of(values), 2) for of in (min, statistics.median, max)] for values in zip(*rounds, strict=True)]


def _serve(member: Member, arguments: tuple[str, ...], seconds: float) -> dict[int, tuple[float, float, float]]:
    environment = {"PEER": "\n".join(member.command())}
    with (
        tempfile.TemporaryDirectory() as folder,
        Gunicorn(
            "benchmarks.peers.served:application", *arguments, cwd=Path(folder), pythonpath=ROOT, env=environment
        ) as it,
    ):
        cookies = [_cookie(_get(it.port, "/new", "")) for _ in range(_SESSIONS)]
        return {mix: _ask_for(it.port, cookies, mix, seconds) for mix in MIXES}


def _ask_for(port: int, cookies: list[str], mix: int, seconds: float) -> tuple[float, float, float]:
    """Return requests a second, and the times of the median and of one in a hundred (milliseconds)."""
    times: list[float] = []
    end = time.perf_counter() + seconds

    def client(number: int) -> None:
        chance = Random(number)
        while time.perf_counter() < end:
            path = "/visit" if chance.random() * 100 < mix else "/read"
            start = time.perf_counter()
            answer = _get(port, path, chance.choice(cookies))
            times.append(time.perf_counter() - start)
            wrong.extend([answer[:200]] if b" 200 " not in answer[:20] else [])

    wrong: list[bytes] = []
    threads = [threading.Thread(target=client, args=(number,)) for number in range(_CLIENTS)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.perf_counter() - start
    assert len(wrong) <= len(times) / 100, wrong[0]
    times.sort()
    return len(times) / spent, times[len(times) // 2] * 1000, times[len(times) * 99 // 100] * 1000


def _get(port: int, path: str, cookie: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        line = f"Cookie: {cookie}\r\n" if cookie else ""
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{line}Connection: close\r\n\r\n".encode())
        found = b""
        while block := connection.recv(65536):
            found += block
        return found


def _cookie(answer: bytes) -> str:
    lines = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    return next(line.partition(":")[2].partition(";")[0].strip() for line in lines if line.lower().startswith("set-cookie:"))


def memory(gang: Gang, scope: Scope) -> list[Row]:
    """Begin very many sessions in one process; return its resident bytes before and after."""

    def measure(member: Member) -> Row:
        member.do("new_sessions", count=100)
        before = member.do("memory")
        began = member.do("new_sessions", count=scope.began)
        return {"before": before, "after": member.do("memory"), "began": began}

    chosen = [
        (contender, store)
        for contender, store in scope.pairs("memory", "Redis")
        if contender.is_default and contender.name not in (BY_HAND, KEEPS, LOSES) and "," not in contender.name
    ]
    return each(gang, chosen, measure)
