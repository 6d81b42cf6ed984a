"""What a request costs: microseconds, store calls, bytes to the store and back, instructions."""

import gc
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random

from benchmarks.peers.contenders import Place
from benchmarks.peers.gang import ROOT, CountingProxy, Failed, Gang, Member
from benchmarks.peers.requests import serve
from benchmarks.peers.results import Row, Scope, of

VERBS = ("untouched", "read", "write", "new", "sign-in", "sign-out")
_LARGER = ("read", "write", "new")


def times(gang: Gang, scope: Scope) -> list[Row]:
    """Measure all in turns, in one run; return the median and the quartiles of a request minus one without sessions (µs)."""
    cases = [(verb, kb) for kb in scope.sizes for verb in (VERBS if kb == 1 else _LARGER)]
    found: dict[Member, dict[tuple[str, int], list[float]]] = {}
    failed: list[Row] = []
    with ExitStack() as stack:
        for contender, store in scope.pairs():
            member = gang.member(contender, store)
            try:
                stack.enter_context(member)
                member.do("time", verb="read", calls=scope.calls)
            except Failed as error:
                failed.append(of(contender, store) | {"failed": str(error)})
            else:
                found[member] = {case: [] for case in cases}
        order, members = Random(0), list(found)
        for _ in range(scope.rounds):
            order.shuffle(members)
            for member in members:
                _round(member, found[member], scope.calls)
    return [*(_costs(member, measured) for member, measured in found.items()), *failed]


def _round(member: Member, measured: dict[tuple[str, int], list[float]], calls: int) -> None:
    for (verb, kb), into in measured.items():
        few = calls if kb < 64 and not verb.startswith("sign") else max(5, calls // 4)
        base = member.do("time", verb="without", calls=calls)
        try:
            into.append(member.do("time", verb=verb, calls=few, kb=kb) - base)
        except Failed:
            continue


def _costs(member: Member, measured: dict[tuple[str, int], list[float]]) -> Row:
    row = of(member.contender, member.store)
    for (verb, kb), values in measured.items():
        if len(values) > 1:
            low, middle, high = statistics.quantiles(values, n=4)
            row[f"{verb} {kb}"] = [round(low, 1), round(middle, 1), round(high, 1)]
    return row


def calls(gang: Gang, scope: Scope) -> list[Row]:
    """Count the calls of the store in one request, and the bytes to it and back; a session of 1 KB."""
    count = max(4, scope.calls // 4)
    rows = []
    with ExitStack() as stack:
        proxies = {
            store: stack.enter_context(CountingProxy(gang.redis.port if store == "Redis" else gang.postgresql.port))
            for store in ("Redis", "PostgreSQL")
            if scope.pairs(store)
        }
        ports = {store: proxy.port for store, proxy in proxies.items()}
        for contender, store in scope.pairs("SQLite", "Redis", "PostgreSQL"):
            member = gang.member(contender, store, ports.get("Redis", 0), ports.get("PostgreSQL", 0))
            member.proxy, member.tracing = proxies.get(store), store == "SQLite"
            try:
                with member:
                    rows.append(of(contender, store) | {verb: _count(member, verb, count) for verb in VERBS})
            except Failed as error:
                rows.append(of(contender, store) | {"failed": str(error)})
    return rows


def _count(member: Member, verb: str, count: int) -> list[float | None]:
    """Return round trips (of SQLite: statements), bytes to the store and bytes back of a request."""
    member.do("seed")  # connections are there
    member.do("prepare", verb=verb, calls=count)
    before = _so_far(member)
    member.do("run")
    after = _so_far(member)
    return [None if b is None or a is None else round((b - a) / count, 2) for a, b in zip(before, after, strict=True)]


def _so_far(member: Member) -> list[int | None]:
    if member.proxy is None:
        return [member.do("counted"), None, None]
    sent, received = member.proxy.bytes_to_server, member.proxy.bytes_to_client
    return [member.proxy.round_trips, sent, received]


# Instructions


COUNTED = ("without", *VERBS[:4])


def instructions(gang: Gang, scope: Scope) -> list[Row]:
    """Count the instructions of requests by Callgrind, those without sessions taken away; on memory, or Redis."""
    if shutil.which("valgrind") is None or not scope.instructions:
        return []
    chosen = [
        (contender, contender.stores[0])
        for contender, store in scope.pairs()
        if store == contender.stores[0] and contender.is_default
    ]
    members = [gang.member(*one) for one in chosen]
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda member: _instructions(member, scope.instructions), members))


def _instructions(member: Member, count: int) -> Row:
    row = of(member.contender, member.store)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        valgrind = ["valgrind", "--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={folder / 'out'}"]
        command = [*valgrind, sys.executable, "-m", "benchmarks.peers.cost", str(count), *member.command()]
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, env=environment, capture_output=True, timeout=1200, cwd=ROOT, text=True)
        if done.returncode:
            return row | {"failed": done.stderr[-300:]}
        totals = [_total(folder / f"out.{number}") for number in range(1, len(list(folder.glob("out.*"))) + 1)]
    # What was imported may have called it, too, before.
    base, *counted = totals[-2 * len(COUNTED) :][1::2]
    return row | {verb: (total - base) // count for verb, total in zip(COUNTED[1:], counted, strict=True)}


def _total(dump: Path) -> int:
    found = re.search(r"^(?:summary|totals): (\d+)", dump.read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def under_callgrind(count: int, name: str, store: str, folder: str, redis: int, postgresql: int, database: str) -> None:
    """Run the cases, with a call of ``getppid()``, which nothing else makes, before and after each."""
    from benchmarks.peers.worker import Worker

    worker = Worker(name, store, Place(folder, redis, postgresql, database))
    for verb in COUNTED:
        app = worker.made.without if verb == "without" else worker.app
        for environ in worker.environs(verb, 20, 1):
            serve(app, environ)
        environs = worker.environs(verb, count, 1)
        gc.collect()
        gc.disable()
        os.getppid()
        for environ in environs:
            serve(app, environ)
        os.getppid()
        gc.enable()


if __name__ == "__main__":
    count_, name_, store_, folder_, redis_, postgresql_, database_ = sys.argv[1:]
    under_callgrind(int(count_), name_, store_, folder_, int(redis_), int(postgresql_), database_)
