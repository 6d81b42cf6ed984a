"""What is too much for one click, or goes wrong: many requests at once, failures, late changes."""

import json

from examples.lab.loopback import Loopback, Reply, at_once, eventually
from examples.lab.shortened import id_of, short_token
from examples.lab.trial import Fact, Result, Trial, result

WRITERS = 10
PARALLEL = 20


class Strains:
    """Each is a function from the requests it may send to what came of them."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.all = {
            "break": self._break,
            "stream": self._stream,
            "parallel": self._parallel,
            "writers": self._writers,
            "double-click": self._double_click,
        }

    def _break(self, loopback: Loopback) -> Result:
        before = self._trial.data(loopback.token)
        reply = loopback.post("/probe/break", loopback.token, csrf=before["csrf"])
        after = self._trial.data(loopback.token)
        held = reply.status == 500 and after == before
        return result(
            held, ("status", {"status": reply.status}), ("wrote", {"number": 2}), ("kept", {"kept": int(after != before)})
        )

    def _stream(self, loopback: Loopback) -> Result:
        csrf = self._trial.data(loopback.token)["csrf"]
        reply = loopback.post("/probe/stream", loopback.token, csrf=csrf, run=loopback.run)
        parts = json.loads(reply.text.partition("\n")[0]) if reply.text else 0
        # The server sends the last byte before it closes the response, which is when the change is stored.
        stored = eventually(lambda: self._trial.data(loopback.token).get("streamed") == loopback.run)
        held = stored and reply.status == 200 and reply.token is None
        first, last = round(reply.pauses[0]), round(reply.pauses[-1])
        return result(
            held,
            ("head", {"ms": first}),
            ("parts", {"number": parts, "ms": last}),
            stored and ("stored", {"key": "streamed"}),
        )

    def _parallel(self, loopback: Loopback) -> Result:
        names = [f"key-{number + 1:02}" for number in range(PARALLEL)]
        csrf = self._trial.data(loopback.token)["csrf"]
        replies = list(at_once(PARALLEL, lambda number: self._write(loopback, csrf, names[number], PARALLEL)))
        data = self._trial.data(loopback.token)
        ours = [data.get(name) == loopback.run for name in names]
        naive = set(self._trial.notebook.naive_load(loopback.run))
        held = all(ours) and {reply.status for reply in replies} == {200}
        facts: list[Fact] = [
            ("ours", {"kept": sum(ours), "sent": PARALLEL}),
            ("naive", {"kept": len(naive), "sent": PARALLEL}),
        ]
        return result(held, *facts) | {"ours": ours, "naive": [name in naive for name in names]}

    def _writers(self, loopback: Loopback) -> Result:
        csrf = self._trial.data(loopback.token)["csrf"]
        names = [f"late-{number + 1:02}" for number in range(WRITERS)]

        statuses: list[int] = []

        def work(number: int) -> int:
            if number < WRITERS:
                statuses.append(self._write(loopback, csrf, names[number], WRITERS + 1).status)
                return 0
            eventually(lambda: self._trial.notebook.arrived(loopback.run) >= WRITERS)
            signed_out = loopback.post("/sign-out", loopback.token, csrf=csrf).status
            under_way = WRITERS - len(statuses)
            self._trial.notebook.arrive(loopback.run, "sign-out")
            return under_way if signed_out == 303 else 0

        *_, in_flight = at_once(WRITERS + 1, work)
        answered = statuses.count(200)
        alive = self._trial.state(loopback.token) is not None
        back = loopback.get("/probe/who", loopback.token)
        held = not alive and in_flight > 0 and answered == WRITERS and back.who is None
        return result(
            held,
            ("in_flight", {"number": in_flight}),
            ("answered", {"number": answered}),
            ("revived", {"revived": int(alive)}),
            ("replayed", {"who": back.who or "-"}),
        )

    def _write(self, loopback: Loopback, csrf: str, name: str, together: int) -> Reply:
        fields = {"csrf": csrf, "name": name, "run": loopback.run, "together": str(together)}
        return loopback.post("/probe/write", loopback.token, **fields)

    def _double_click(self, loopback: Loopback) -> Result:
        user, password = self._trial.victim
        form = loopback.get("/sign-in")
        before = form.token or ""
        fields = {"csrf": form.csrf, "user": user, "password": password}
        answers = list(at_once(2, lambda _: loopback.post("/sign-in", before, **fields)))
        tokens = [answer.token or "" for answer in answers]
        seen = [loopback.get("/probe/who", token) for token in tokens]
        state = self._trial.state(tokens[0])
        envelope = None if state is None else state.envelope
        one = len({*tokens, before}) == 3 and len({id_of(token) for token in (*tokens, before)}) == 1
        loopback.submit("/sign-out", tokens[0])
        held = one and [reply.who for reply in seen] == [user, user] and envelope is not None and envelope.era == 1
        return result(
            held,
            ("first", {"token": short_token(tokens[0]), "who": seen[0].who or "-"}),
            ("second", {"token": short_token(tokens[1]), "who": seen[1].who or "-"}),
            one and envelope is not None and ("one", {"era": envelope.era, "number": len(envelope.current)}),
        )
