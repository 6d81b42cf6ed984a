"""One library on one store, in a process of its own: reads orders as lines of JSON, answers each with one.

``python -m benchmarks.peers.worker NAME STORE FOLDER REDIS_PORT POSTGRESQL_PORT DATABASE``
"""

import gc
import json
import logging
import os
import random
import resource
import sqlite3
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.peers import application as small
from benchmarks.peers.contenders import BY_NAME, Place
from benchmarks.peers.requests import Answer, ask, environ_of, kept, serve

_IN_TIME = 30.0
_BLOCKED = 1.0
_THREADS = 20
_LONG, _FEWEST = 0.1, 5
_POLL = 0.05
_CONNECT = sqlite3.connect


class Worker:
    """What can be ordered: each method but ``__init__`` is an order; what it returns can be JSON."""

    def __init__(self, name: str, store: str, place: Place) -> None:
        self.statements = 0
        if "PEER_TRACE" in os.environ:
            sqlite3.connect = sqlite3.dbapi2.connect = self._connect  # type: ignore[assignment]  # for all
        self.made = BY_NAME[name].make(store, place)
        self.app = self.made.application

    def _connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = _CONNECT(*args, **options)
        connection.set_trace_callback(self._note)
        return connection

    def _note(self, sql: str) -> None:
        self.statements += 1

    # Cost

    def counted(self) -> int:
        """Return the statements that SQLite was asked so far; they are counted when PEER_TRACE is set."""
        return self.statements

    def seed(self, kb: int = 1) -> str:
        """Return the cookie of a new session of that size."""
        answer = ask(self.app, f"/new?kb={kb}")
        assert answer.status == 200, answer
        return kept("", answer)

    def time(self, verb: str, calls: int, kb: int = 1) -> float:
        """Return the microseconds of a request: the median of so many, or of fewer where they take long."""
        app = self.made.without if verb == "without" else self.app
        environs = self.environs(verb, calls, kb)
        gc.collect()
        spent: list[float] = []
        for environ in environs:
            start = time.perf_counter()
            status, _, _ = serve(app, environ)
            spent.append(time.perf_counter() - start)
            assert status.startswith("200"), (verb, status)
            if len(spent) >= _FEWEST and sum(spent) > _LONG:
                break
        return statistics.median(spent) * 1e6

    def environs(self, verb: str, calls: int, kb: int) -> list[dict[str, Any]]:
        if verb == "new":
            return [environ_of(f"/new?kb={kb}") for _ in range(calls)]
        if verb in ("sign-in", "sign-out"):
            cookies = [self.seed(kb) for _ in range(calls)]
            if verb == "sign-out":
                cookies = [kept(cookie, ask(self.app, "/sign-in", cookie)) for cookie in cookies]
            return [environ_of(f"/{verb}", cookie) for cookie in cookies]
        path = {"read": "/read", "write": "/visit"}.get(verb, "/untouched")
        cookie = self.seed(kb)
        return [environ_of(path, cookie) for _ in range(calls)]

    def prepare(self, verb: str, calls: int, kb: int = 1) -> None:
        """Make ready for :meth:`run`, so that nothing but requests of this kind comes between."""
        self.ready = self.environs(verb, calls, kb)

    def run(self) -> None:
        for environ in self.ready:
            serve(self.app, environ)

    def read_some(self, cookies: list[str]) -> list[float]:
        """Return the microseconds of a read of one of the sessions, and of a request without sessions."""
        found = []
        for app, path in ((self.app, "/read"), (self.made.without, "/untouched")):
            spent = []
            for cookie in cookies:
                environ = environ_of(path, cookie)
                start = time.perf_counter()
                status, _, _ = serve(app, environ)
                spent.append(time.perf_counter() - start)
                assert status.startswith("200"), status
            found.append(statistics.median(spent) * 1e6)
        return found

    def cookies_of(self, keys: list[str], cookie: str) -> list[str]:
        """Return the ``Cookie`` headers for sessions that the store has under these ids; *cookie* is one of another."""
        name, value_of = cookie.partition("=")[0], self.made.cookie_of or str
        return [f"{name}={value_of(key)}" for key in keys]

    def memory(self) -> int:
        """Return the resident bytes of this process."""
        gc.collect()
        with open("/proc/self/statm") as statm:  # noqa: PTH123  # not a file
            return int(statm.read().split()[1]) * resource.getpagesize()

    def new_sessions(self, count: int) -> int:
        """Return how many began; each is of 1 KB."""
        return sum(ask(self.app, "/new").status == 200 for _ in range(count))

    def clean(self, days: float = 0) -> float | None:
        """Remove expired sessions by the library's own means, as if so many days later; return the seconds."""
        if self.made.clean is None:
            return None
        import time_machine

        start = time.perf_counter()
        with time_machine.travel(time.time() + days * 86400):
            self.made.clean()
        return time.perf_counter() - start

    def later(self, days: float, requests: int) -> int:
        """Begin so many sessions, as if so many days later; return how many began."""
        import time_machine

        with time_machine.travel(time.time() + days * 86400):
            return self.new_sessions(requests)

    # Requests

    def ask(self, path: str, cookie: str = "", scheme: str = "http") -> dict[str, Any]:
        answer = ask(self.app, path, cookie, scheme)
        return {**answer._asdict(), "cookies": answer.cookies, "cookie": kept(cookie, answer)}

    def ask_within(self, path: str, cookie: str, cap: float) -> dict[str, Any]:
        """Do as :meth:`ask` does in a thread; give up after *cap* seconds, with ``None`` as the status."""
        found: list[dict[str, Any]] = []
        asking = threading.Thread(target=lambda: found.append(self.ask(path, cookie)), daemon=True)
        asking.start()
        asking.join(cap)
        return found[0] if found else {"status": None, "seconds": cap, "text": "", "cookies": [], "cookie": cookie}

    def fill(self, path: str, cookie: str, cap: float) -> dict[str, Any]:
        """Ask at most 40 times, until the answer is no 200; return the last one."""
        for _ in range(40):
            found = self.ask_within(path, cookie, cap)
            if found["status"] != 200:
                break
        return found

    def until_right(self, cookie: str, cap: float) -> float | None:
        """Ask until the session is there again; return the seconds, or ``None`` after *cap*."""
        start = time.perf_counter()
        while time.perf_counter() - start < cap:
            found = self.ask_within("/seen", cookie, cap)
            if found["status"] == 200 and '"user"' in found["text"]:
                return time.perf_counter() - start
            time.sleep(_POLL)
        return None

    def limit_files(self, path: str | None) -> None:
        """Let no file grow over the size that *path* has; ``None``: let them grow again."""
        size = resource.RLIM_INFINITY if path is None else os.stat(path).st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # Several at once

    def write_at_once(self, count: int, ms: float) -> dict[str, int]:
        """Write distinct keys of one session, up to 20 at once; return how many are kept, and were answered well."""
        return self._at_once(lambda number: f"/write?key=key{number}&ms={ms}", count, "written")

    def increment_at_once(self, count: int) -> dict[str, int]:
        return self._at_once(lambda number: "/increment?ms=1", count, "n")

    def _at_once(self, path: Callable[[int], str], count: int, key: str) -> dict[str, int]:
        cookie = kept("", ask(self.app, "/write?key=user"))
        start = threading.Barrier(min(_THREADS, count))

        def one(number: int) -> int:
            if number < start.parties:
                start.wait(_IN_TIME)
            return ask(self.app, path(number), cookie).status

        with ThreadPoolExecutor(start.parties) as pool:
            statuses = list(pool.map(one, range(count)))
        seen = json.loads(ask(self.app, "/seen", cookie).text)
        return {"kept": seen.get(key, 0), "answered": sum(status == 200 for status in statuses)}

    def within(self, slow: str, inner: str) -> dict[str, Any]:
        """Begin the *slow* request, let another come and go, and the slow one go on; tell what was answered and is left."""
        first = kept("", ask(self.app, "/write?key=user"))
        at_gate, go_on = threading.Event(), threading.Event()

        def gate() -> None:
            at_gate.set()
            go_on.wait(_IN_TIME)

        small.gate = gate
        answers: dict[str, Answer] = {}
        try:
            threads = [
                threading.Thread(target=lambda: answers.update(slow=ask(self.app, slow, first)), daemon=True),
                threading.Thread(target=lambda: answers.update(inner=ask(self.app, inner, first)), daemon=True),
            ]
            threads[0].start()
            assert at_gate.wait(_IN_TIME), "the slow request did not read"
            threads[1].start()
            threads[1].join(_BLOCKED)  # whoever has one request wait for the other
            go_on.set()
            for thread in threads:
                thread.join(_IN_TIME)
        finally:
            small.gate = small.no_gate
        return self._left(first, answers)

    def _left(self, first: str, answers: dict[str, Answer]) -> dict[str, Any]:
        after = kept(kept(first, answers["inner"]), answers["slow"])
        return {
            "status": answers["slow"].status,
            "text": answers["slow"].text,
            "inner": answers["inner"].status,
            "old": _seen(ask(self.app, "/seen", first)),
            "new": _seen(ask(self.app, "/seen", kept(first, answers["inner"]))),
            "browser": _seen(ask(self.app, "/seen", after)),
        }


def _seen(answer: Answer) -> dict[str, Any]:
    return json.loads(answer.text) if answer.status == 200 else {"status": answer.status}


def main(name: str, store: str, folder: str, redis: str, postgresql: str, database: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever prints does not print between the answers
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    random.seed(0)
    worker = Worker(name, store, Place(folder, int(redis), int(postgresql), database))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            found: Any = {"found": getattr(worker, order["do"])(**order["with"])}
        except Exception as error:
            found = {"error": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(found), file=answers, flush=True)
    os._exit(0)  # threads that wait for a store that is silent are not waited for


if __name__ == "__main__":
    main(*sys.argv[1:])
