"""What is too much for one click: many requests at once, failures, attacks. Each is really sent to the running server."""

import json
import secrets
from collections.abc import Callable, Mapping
from threading import BoundedSemaphore
from typing import Any, Literal, TypeAlias

from webob import Request, Response
from webob.exc import HTTPServiceUnavailable

from examples.lab import web
from examples.lab.loopback import Loopback, Reply, at_once, eventually
from examples.lab.notebook import Notebook
from examples.lab.trace import untraced
from session_middleware import CookiePolicy, Session, SessionManager

Fact: TypeAlias = tuple[str, dict[str, Any]]
Result: TypeAlias = dict[str, Any]

WRITERS = 10
PARALLEL = 20

# An experiment holds a thread of the server while others answer it: two at a time leave enough of them.
_places = BoundedSemaphore(2)


class Experiments:
    """Runs an experiment for a visitor and keeps what came of it in the notebook, for the next page to show."""

    def __init__(self, manager: SessionManager, notebook: Notebook, cookie: CookiePolicy, victim: tuple[str, str]) -> None:
        self._manager = manager
        self._notebook = notebook
        self._cookie = cookie
        self._victim = victim
        self._all: Mapping[str, Callable[[Loopback], Result]] = {
            "break": self._break,
            "stream": self._stream,
            "parallel": self._parallel,
            "writers": self._writers,
            "planted": self._planted,
            "before-sign-in": self._before_sign_in,
            "after-sign-out": self._after_sign_out,
            "damaged": self._damaged,
            "two-cookies": self._two_cookies,
        }
        self.paths = {f"/try/{name}": name for name in self._all}

    def run(self, request: Request, session: Session) -> Response:
        name = self.paths[request.path_info]
        loopback = Loopback(request, self._cookie, name, self._token(request))
        if not _places.acquire(blocking=False):
            raise HTTPServiceUnavailable("error.busy")
        try:
            with untraced():
                result = {"run": loopback.run, **self._all[name](loopback)}
        finally:
            _places.release()
        self._notebook.keep_result(request.environ["lab.visitor"], name, result)
        if name == "writers":
            session.invalidate()
        return web.back(request, name)

    # Things to do

    def _break(self, loopback: Loopback) -> Result:
        before = self._data(loopback.token)
        reply = loopback.post("/probe/break", loopback.token, csrf=before["csrf"])
        after = self._data(loopback.token)
        held = reply.status == 500 and after == before
        return _result(
            held, ("status", {"status": reply.status}), ("wrote", {"number": 2}), ("kept", {"kept": int(after != before)})
        )

    def _stream(self, loopback: Loopback) -> Result:
        csrf = self._data(loopback.token)["csrf"]
        reply = loopback.post("/probe/stream", loopback.token, csrf=csrf, run=loopback.run)
        parts = json.loads(reply.text.partition("\n")[0]) if reply.text else 0
        # The server sends the last byte before it closes the response, which is when the change is stored.
        stored = eventually(lambda: self._data(loopback.token).get("streamed") == loopback.run)
        held = stored and reply.status == 200 and reply.token is None
        first, last = round(reply.pauses[0]), round(reply.pauses[-1])
        return _result(
            held,
            ("head", {"ms": first}),
            ("parts", {"number": parts, "ms": last}),
            stored and ("stored", {"key": "streamed"}),
        )

    def _parallel(self, loopback: Loopback) -> Result:
        names = [f"key-{number + 1:02}" for number in range(PARALLEL)]
        csrf = self._data(loopback.token)["csrf"]
        replies = list(at_once(PARALLEL, lambda number: self._write(loopback, csrf, names[number], PARALLEL)))
        data = self._data(loopback.token)
        ours = [data.get(name) == loopback.run for name in names]
        naive = set(self._notebook.naive_load(loopback.run))
        held = all(ours) and {reply.status for reply in replies} == {200}
        facts: list[Fact] = [
            ("ours", {"kept": sum(ours), "sent": PARALLEL}),
            ("naive", {"kept": len(naive), "sent": PARALLEL}),
        ]
        return _result(held, *facts) | {"ours": ours, "naive": [name in naive for name in names]}

    def _writers(self, loopback: Loopback) -> Result:
        csrf = self._data(loopback.token)["csrf"]
        names = [f"late-{number + 1:02}" for number in range(WRITERS)]

        statuses: list[int] = []

        def work(number: int) -> int:
            if number < WRITERS:
                statuses.append(self._write(loopback, csrf, names[number], WRITERS + 1).status)
                return 0
            eventually(lambda: self._notebook.arrived(loopback.run) >= WRITERS)
            signed_out = loopback.post("/sign-out", loopback.token, csrf=csrf).status
            under_way = WRITERS - len(statuses)
            self._notebook.arrive(loopback.run, "sign-out")
            return under_way if signed_out == 303 else 0

        *_, in_flight = at_once(WRITERS + 1, work)
        answered = statuses.count(200)
        alive = not self._manager.open(loopback.token).is_new
        back = loopback.get("/probe/who", loopback.token)
        held = not alive and in_flight > 0 and answered == WRITERS and back.who is None
        return _result(
            held,
            ("in_flight", {"number": in_flight}),
            ("answered", {"number": answered}),
            ("revived", {"revived": int(alive)}),
            ("replayed", {"who": back.who or "-"}),
        )

    def _write(self, loopback: Loopback, csrf: str, name: str, together: int) -> Reply:
        fields = {"csrf": csrf, "name": name, "run": loopback.run, "together": str(together)}
        return loopback.post("/probe/write", loopback.token, **fields)

    # Attacks

    def _planted(self, loopback: Loopback) -> Result:
        planted = secrets.token_urlsafe(32)
        read = loopback.get("/probe/who", planted)
        wrote = loopback.get("/sign-in", planted)
        fresh = wrote.token or ""
        left_nothing = read.who is None and read.token is None and not self._data(planted)
        held = left_nothing and fresh not in ("", planted)
        if fresh:
            loopback.sign_out(fresh)
        return _result(
            held, ("sent", {"token": planted[:4]}), left_nothing and ("read", {}), ("fresh", {"token": fresh[:4]})
        )

    def _before_sign_in(self, loopback: Loopback) -> Result:
        before, signed_in = loopback.sign_in(*self._victim)
        victim, attacker = loopback.get("/probe/who", signed_in.token or ""), loopback.get("/probe/who", before)
        held = victim.who == self._victim[0] and attacker.who is None and signed_in.token not in (None, "", before)
        if signed_in.token:
            loopback.sign_out(signed_in.token)
        return _result(
            held,
            ("old", {"token": before[:4]}),
            ("new", {"token": (signed_in.token or "")[:4], "user": victim.who}),
            ("replayed", {"token": before[:4], "who": attacker.who or "-"}),
        )

    def _after_sign_out(self, loopback: Loopback) -> Result:
        _, signed_in = loopback.sign_in(*self._victim)
        token = signed_in.token or ""
        before = loopback.get("/probe/who", token)
        out = loopback.sign_out(token)
        attacker = loopback.get("/probe/who", token)
        removed = out.token == ""
        held = before.who == self._victim[0] and removed and attacker.who is None and attacker.token is None
        return _result(
            held,
            ("in", {"token": token[:4], "user": before.who}),
            removed and ("out", {"status": out.status}),
            ("replayed", {"token": token[:4], "who": attacker.who or "-"}),
        )

    def _damaged(self, loopback: Loopback) -> Result:
        _, signed_in = loopback.sign_in(*self._victim)
        token = signed_in.token or ""
        other = "A" if token[-2:-1] != "A" else "B"
        variants = {
            "changed": f"{token[:-2]}{other}{token[-1:]}",
            "cut": token[:-1],
            "longer": f"{token}A",
            "quoted": f'"{token}"',
            "long": token * 100,
            "strange": "%00\u00ff<script>\\,=",
        }
        replies = {name: loopback.get("/probe/who", value) for name, value in variants.items()}
        whole = loopback.get("/probe/who", token)
        loopback.sign_out(token)
        harmless = {
            name: reply.status == 200 and reply.who is None and reply.token is None for name, reply in replies.items()
        }
        held = all(harmless.values()) and whole.who == self._victim[0]
        facts: list[Fact] = [(name, {"status": reply.status, "who": reply.who or "-"}) for name, reply in replies.items()]
        return _result(held, *facts, ("whole", {"user": whole.who}))

    def _two_cookies(self, loopback: Loopback) -> Result:
        planted = secrets.token_urlsafe(32)
        _, first = loopback.sign_in(*self._victim)
        _, second = loopback.sign_in(*self._victim)
        tokens = [first.token or "", second.token or ""]
        beside_dead, both = loopback.get("/probe/who", planted, tokens[0]), loopback.get("/probe/who", *tokens)
        for token in tokens:
            loopback.sign_out(token)
        held = beside_dead.who == self._victim[0] and both.who is None and both.token is None
        return _result(held, ("one", {"user": beside_dead.who}), ("both", {"who": both.who or "-"}))

    def _token(self, request: Request) -> str:
        """Return the token that opens the visitor's session; a browser may send others with it."""
        tokens = self._cookie.for_scheme(request.scheme).read(request.environ.get("HTTP_COOKIE"))
        with untraced():
            return next((token for token in tokens if not self._manager.open(token).is_new), "")

    def _data(self, token: str) -> dict[str, Any]:
        """Return what the store holds for the token, empty if it opens nothing."""
        return dict(self._manager.open(token))


def _result(held: bool, *facts: Fact | Literal[False]) -> Result:
    """Return what came of it; ``False`` stands for a fact that was none."""
    return {"held": held, "facts": [fact for fact in facts if fact]}
