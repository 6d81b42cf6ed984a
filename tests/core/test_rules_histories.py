"""Random histories of the secrets of a session: each opens what its history says."""

from collections.abc import Iterator
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from session_middleware import rules
from session_middleware.rules import Opens
from tests.core.eras import NOTHING, NOW, REPLAY, SESSION, SIGNED_IN, SNAPSHOT, an_envelope, proof


class Known(NamedTuple):
    """What became of a secret, as its history has it: no more is needed to say what it opens."""

    name: int
    superseded_at: float | None = None
    """When a secret issued later came first, while this one was renewed."""
    out_since: float | None = None
    """When a sign-in or ``regenerate()`` took it out of service."""
    had_its_time: bool = False
    """It was renewed, and the half minute was over when the sign-in came."""


TIMES = st.sampled_from([0, 0.5, 1, 9.999, 10, 15, 29.999, 30, 45, 100])


class Histories(RuleBasedStateMachine):
    """Whatever acts follow each other, each secret opens what its history says."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.known = [Known(0)]
        self.envelope = an_envelope(current="", before="")._replace(current=(proof(0),), issued_at=NOW)
        self.came: int | None = 0  # the secret that a browser is known to have
        self.sign_ins = 0

    def fresh(self) -> bytes:
        self.known.append(Known(len(self.known)))
        return proof(len(self.known) - 1)

    def opens(self, name: int) -> Opens:
        return rules.opens(self.envelope, proof(name), self.now)

    def is_kept(self, name: int) -> bool:
        return proof(name) in [*self.envelope.current, *[before.proof for before in self.envelope.previous]]

    def in_session(self) -> Iterator[int]:
        return (known.name for known in self.known if self.opens(known.name) is SESSION)

    def take_out_of_service(self) -> None:
        for known in self.known[:-1]:
            if known.out_since is None and not known.had_its_time:
                over = known.superseded_at is not None and self.now - known.superseded_at >= 30
                self.known[known.name] = known._replace(**{"had_its_time": True} if over else {"out_since": self.now})
        self.came = None

    @rule(seconds=TIMES)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(data=st.data())
    def use(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.in_session())))
        self.envelope = rules.noted(self.envelope, proof(name), self.now)
        order = self.order()
        for known in self.known:
            if known.name in order and order.index(known.name) < order.index(name) and self.is_renewed(known):
                self.known[known.name] = known._replace(superseded_at=self.now)
        if self.came is None or order.index(name) > order.index(self.came):
            self.came = name

    def order(self) -> list[int]:
        """Return the secrets in service in the order in which they were issued."""
        return [known.name for known in self.known if known.out_since is None and not known.had_its_time]

    def is_renewed(self, known: Known) -> bool:
        return known.superseded_at is None and proof(known.name) not in self.envelope.current

    @rule()
    def renew(self) -> None:
        if len(self.envelope.current) > 1:
            self.came = None  # which of them the browser has is not known
        self.envelope = rules.renewed(self.envelope, self.fresh(), b"family", self.now)

    @rule()
    def regenerate(self) -> None:
        self.envelope = rules.regenerated(self.envelope, self.fresh(), self.now)
        self.take_out_of_service()

    @rule()
    def sign_in(self) -> None:
        self.envelope = rules.signed_in(self.envelope, "alice", None, self.fresh(), self.now, b"")
        self.take_out_of_service()
        self.sign_ins += 1

    @rule(data=st.data())
    @precondition(lambda self: any(before.kind is SIGNED_IN for before in self.envelope.previous))
    def click_again(self, data: st.DataObject) -> None:
        before = data.draw(st.sampled_from([one for one in self.envelope.previous if one.kind is SIGNED_IN]))
        assert rules.is_second_click(self.envelope, "alice", None, before.proof)
        full = self.envelope.current[0] if len(self.envelope.current) == 4 else None
        self.envelope = rules.joined(self.envelope, self.fresh(), self.now)
        if self.came is not None and full == proof(self.came):
            self.came = None

    @invariant()
    def each_secret_opens_what_its_history_says(self) -> None:
        for known in self.known:
            assert self.opens(known.name) is self.expected(known), known

    def expected(self, known: Known) -> Opens:
        if not self.is_kept(known.name):
            return NOTHING
        if known.had_its_time:
            return REPLAY
        if known.out_since is not None:
            return SNAPSHOT if self.now - known.out_since < 10 else NOTHING
        if proof(known.name) in self.envelope.current or known.superseded_at is None:
            return SESSION
        return SESSION if self.now - known.superseded_at < 30 else REPLAY

    @invariant()
    def the_newest_secret_opens_the_session_by_every_clock(self) -> None:
        newest = proof(len(self.known) - 1)
        assert {rules.opens(self.envelope, newest, self.now + seconds) for seconds in (-1e6, -1, 0, 10, 30, 1e6)} == {
            SESSION
        }

    @invariant()
    def nothing_from_before_a_sign_in_opens_what_came_after_it(self) -> None:
        """Promise 18: at any time, by every clock; nor can it take the session by a new secret."""
        for known in self.known:
            if known.out_since is not None or known.had_its_time:
                assert not rules.in_service(self.envelope, proof(known.name))
                for seconds in (-1e6, -100, -31, -10, -1, 0, 1, 10, 30, 1e6):
                    assert rules.opens(self.envelope, proof(known.name), self.now + seconds) is not SESSION

    @invariant()
    def the_record_is_bounded(self) -> None:
        names = [*self.envelope.current, *[before.proof for before in self.envelope.previous]]

        assert 1 <= len(self.envelope.current) <= 4
        assert len(self.envelope.previous) <= 3
        assert len(set(names)) == len(names)
        assert self.envelope.era == self.sign_ins

    @invariant()
    def the_browser_that_came_last_comes_again(self) -> None:
        """Promise 22: however many responses are lost, the secret that was used last is never dropped."""
        if self.came is not None:
            assert self.opens(self.came) is SESSION


Histories.TestCase.settings = settings(max_examples=60, stateful_step_count=30)
TestHistories = Histories.TestCase
