"""Attacks on the lab, with sessions made for them."""

import time

from webob.exc import HTTPServiceUnavailable

from examples.lab.loopback import Loopback, at_once, eventually
from examples.lab.shortened import id_of, short_token
from examples.lab.stolen import steal
from examples.lab.trial import Fact, Result, Trial, result
from session_middleware.rules import WINDOW
from session_middleware.stores.base import UserIndexed
from session_middleware.tokens import Token


class Attacks:
    """Each is a function from the requests it may send to what came of them."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self.all = {
            "planted": self._planted,
            "before-sign-in": self._before_sign_in,
            "after-sign-out": self._after_sign_out,
            "thief": self._thief,
            "damaged": self._damaged,
            "two-cookies": self._two_cookies,
            "bound": lambda _: steal(trial),
        }

    def _planted(self, loopback: Loopback) -> Result:
        planted = Token.new().reveal()
        read = loopback.get("/probe/who", planted)
        wrote = loopback.get("/sign-in", planted)
        fresh = wrote.token or ""
        left_nothing = read.who is None and read.token is None and self._trial.manager.find(id_of(planted)) is None
        victim = loopback.sign_in(*self._trial.victim)
        # The id is public, so an attacker may know it.
        guessed = Token.new(id_of(victim)).reveal()
        guess, there = loopback.get("/probe/who", guessed), loopback.get("/probe/who", victim)
        for token in filter(None, (fresh, victim)):
            loopback.submit("/sign-out", token)
        made = fresh != "" and id_of(fresh) != id_of(planted)
        held = left_nothing and made and guess.who is None and guess.token is None and there.who == self._trial.victim[0]
        return result(
            held,
            ("sent", {"token": short_token(planted)}),
            left_nothing and ("read", {}),
            ("fresh", {"token": short_token(fresh)}),
            ("guessed", {"token": short_token(guessed), "who": guess.who or "-"}),
        )

    def _before_sign_in(self, loopback: Loopback) -> Result:
        user, password = self._trial.victim
        form = loopback.get("/sign-in")
        old, csrf = form.token or "", form.csrf
        loopback.post("/count", old, csrf=csrf)
        before = loopback.get("/probe/who", old).visits
        new = loopback.post("/sign-in", old, csrf=csrf, user=user, password=password).token or ""
        signed_in = time.monotonic()
        loopback.submit("/count", new)
        replayed = loopback.get("/probe/who", old)
        wrote = loopback.post("/count", old, csrf=csrf)
        victim = loopback.get("/probe/who", new)
        gone = eventually(lambda: self._trial.manager.open(old).is_new, within=WINDOW + 5, pause=0.1)
        seconds = time.monotonic() - signed_in
        late = loopback.get("/probe/who", old)
        loopback.submit("/sign-out", new)
        same_id = old != new and id_of(old) == id_of(new)
        read_only = (before, replayed.visits, wrote.token, victim.who, victim.visits) == (1, 1, None, user, 2)
        held = same_id and replayed.who is None and read_only and gone and (late.who, late.visits) == (None, None)
        return result(
            held,
            ("old", {"token": short_token(old), "number": before}),
            same_id and ("new", {"token": short_token(new), "user": victim.who}),
            ("replayed", {"who": replayed.who or "-"}),
            read_only and ("reads", {"before": replayed.visits, "now": victim.visits}),
            gone and ("late", {"seconds": f"{seconds:.1f}"}),
        )

    def _after_sign_out(self, loopback: Loopback) -> Result:
        token = loopback.sign_in(*self._trial.victim)
        before = loopback.get("/probe/who", token)
        out = loopback.submit("/sign-out", token)
        attacker = loopback.get("/probe/who", token)
        removed = out.token == ""
        held = before.who == self._trial.victim[0] and removed and attacker.who is None and attacker.token is None
        return result(
            held,
            ("in", {"token": short_token(token), "user": before.who}),
            removed and ("out", {"status": out.status}),
            ("replayed", {"token": short_token(token), "who": attacker.who or "-"}),
        )

    def _thief(self, loopback: Loopback) -> Result:
        if not isinstance(self._trial.manager.store, UserIndexed):
            raise HTTPServiceUnavailable("sessions.no_index")
        with self._trial.users.guest() as (user, password):
            copied, here = at_once(2, lambda _: loopback.sign_in(user, password))

            def work(number: int) -> str:
                if number == 0:
                    return loopback.sign_in(user, password)
                # The thief's is the third sign-in, and from here on it is under way.
                eventually(lambda: self._trial.notebook.arrived(loopback.run) > 2, within=20)
                path, token = ("/regenerate", copied) if number == 1 else ("/sessions/revoke-others", here)
                return loopback.submit(path, token).token or ""

            under_way, renewed, _ = at_once(3, work)
            thief = {"copied": copied, "renewed": renewed, "under_way": under_way}
            seen = {name: loopback.get("/probe/who", token).who for name, token in thief.items()}
            victim = loopback.get("/probe/who", here).who
            left = len(self._trial.manager.sessions_of(user))
            loopback.submit("/sign-out", here)
        held = set(seen.values()) == {None} and victim == user and left == 1
        facts: list[Fact] = [(name, {"who": who or "-"}) for name, who in seen.items()]
        return result(held, *facts, ("left", {"number": left, "user": victim or "-"}))

    def _damaged(self, loopback: Loopback) -> Result:
        token = loopback.sign_in(*self._trial.victim)
        other = "A" if token[-2:-1] != "A" else "B"
        variants = {
            "changed": f"{token[:-2]}{other}{token[-1:]}",
            "cut": token[:-1],
            "longer": f"{token}A",
            "id_alone": id_of(token),
            "quoted": f'"{token}"',
            "long": token * 100,
            "strange": "%00\u00ff<script>\\,=",
        }
        replies = {name: loopback.get("/probe/who", value) for name, value in variants.items()}
        whole = loopback.get("/probe/who", token)
        loopback.submit("/sign-out", token)
        harmless = {
            name: reply.status == 200 and reply.who is None and reply.token is None for name, reply in replies.items()
        }
        held = all(harmless.values()) and whole.who == self._trial.victim[0]
        facts: list[Fact] = [(name, {"status": reply.status, "who": reply.who or "-"}) for name, reply in replies.items()]
        return result(held, *facts, ("whole", {"user": whole.who}))

    def _two_cookies(self, loopback: Loopback) -> Result:
        made_up = Token.new().reveal()
        anonymous = loopback.get("/sign-in").token or ""
        tokens = [loopback.sign_in(*self._trial.victim) for _ in range(2)]
        beside_dead = loopback.get("/probe/who", made_up, tokens[0])
        beside_anonymous = loopback.get("/probe/who", anonymous, tokens[0])
        both = loopback.get("/probe/who", *tokens)
        for token in (anonymous, *tokens):
            loopback.submit("/sign-out", token)
        user = self._trial.victim[0]
        held = (beside_dead.who, beside_anonymous.who, both.who, both.token) == (user, user, None, None)
        return result(
            held,
            ("one", {"user": beside_dead.who}),
            ("signed_in", {"user": beside_anonymous.who}),
            ("both", {"who": both.who or "-"}),
        )
