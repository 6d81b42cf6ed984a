"""Runs a request up to its next store call.

What a request does is a function of the answers that the store has given it, and of the time. So it is run anew for each
step, from its beginning: the calls that have been answered get their answers, and the next one ends the run.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

from session_middleware import Lifetime, MsgpackCodec, Record, Stored
from session_middleware.limit import AtLimit
from session_middleware.notes import Tombstone
from session_middleware.record import Envelope, unpack, unpack_values
from session_middleware.rules import Opens, opens
from session_middleware.stores.base import Version
from tests import sealing
from tests.protocol.acts import SID, Manager, Outcome, Request, Visit
from tests.protocol.turn import START, proof_of, turn

MARK, ALIAS = sealing.mark_there("alice"), sealing.alias_there(SID)

CREATE, LOAD, UPDATE, DELETE, KEYS_OF = "create", "load", "update", "delete", "keys_of"


class Kept:
    """A record, which is there once however often it is met, so that it is quick to compare."""

    __slots__ = ("content", "data", "envelope", "record")

    def __init__(self, record: Record) -> None:
        self.record = record
        self.content = unpack(record.value) if record.value else Tombstone()
        self.envelope: Envelope | None = None
        """That of a session; ``None`` of anything else."""
        self.data: dict[str, Any] = {}
        if isinstance(self.content, tuple):
            self.envelope, packed = sealing.opened(*self.content)
            self.data = {key: _codec.decode(value) for key, value in unpack_values(packed).items()}


class Verb(NamedTuple):
    """A call of the store. ``key`` is a user id if it asks for the index."""

    do: str
    key: str
    kept: Kept | None = None
    version: Version | None = None
    label: str = ""
    """What the request begins with it, of what is watched."""


Result: TypeAlias = "bool | tuple[str, ...] | tuple[Kept, Version] | None"


class Node:
    """A request, and the answers that it has got, each with its time."""

    __slots__ = ("_after", "answers", "following", "request")

    def __init__(self, request: Request, answers: tuple[tuple[Result, int], ...] = ()) -> None:
        self.request = request
        self.answers = answers
        self.following: dict[int, Verb | Outcome] = {}
        """What comes next, by the time."""
        self._after: dict[tuple[Result, int], Node] = {}

    def after(self, result: Result, now: int) -> "Node":
        """Return the node that one more answer leads to."""
        node = self._after.get((result, now))
        if node is None:
            node = self._after[result, now] = Node(self.request, (*self.answers, (result, now)))
        return node


class _Pause(BaseException):
    """The request waits for the answer to a verb."""

    def __init__(self, verb: Verb) -> None:
        self.verb = verb


class Script:
    """A store that gives the answers which have been given, and a manager in front of it.

    *stalling*: a request may stall between reading the clock and the verb that it has read it for. *timed* and *counted*: an
    outcome tells when its request made its verbs, and how many.
    """

    def __init__(
        self, *, lifetime: Lifetime, limit: "tuple[int, AtLimit] | None", stalling: bool, timed: bool, counted: bool
    ) -> None:
        self.manager = Manager(self, clock=turn.clock, lifetime=lifetime)
        self.manager.limit_to(limit)
        self.runs = 0
        self._stalling, self._timed, self._counted = stalling, timed, counted
        self._kept: dict[Record, Kept] = {}
        self._answers: tuple[tuple[Result, int], ...] = ()
        self._given = 0
        self._until = 0

    def next(self, node: Node, now: int) -> Verb | Outcome:
        """Return the next verb of a request if it is made now; or what has become of it."""
        following = node.following.get(now)
        if following is None:
            following = node.following[now] = self._run(node, now)
        return following

    def kept(self, record: Record) -> Kept:
        """Return the one that stands for the record."""
        kept = self._kept.get(record)
        if kept is None:
            kept = self._kept[record] = Kept(record)
        return kept

    def _run(self, node: Node, now: int) -> Verb | Outcome:
        self.runs += 1
        self._answers, self._given, self._until = node.answers, 0, now
        turn.begin(node.request.name, node.answers[0][1] if node.answers else now)
        try:
            outcome = Visit(self.manager, node.request).run()
        except _Pause as pause:
            return pause.verb
        if outcome.opened is Opens.NOTHING and self._is_replay(node):
            outcome = outcome._replace(opened=Opens.REPLAY)
        if self._timed and node.answers:
            outcome = outcome._replace(began=node.answers[0][1], at=node.answers[-1][1])
        return outcome._replace(verbs=len(node.answers)) if self._counted else outcome

    def _is_replay(self, node: Node) -> bool:
        """Tell whether the only token was one whose successor is known to have been used; the manager does not say so."""
        if len(node.request.tokens) != 1 or not node.answers:
            return False
        (loaded, now), token = node.answers[0], node.request.tokens[0]
        envelope = loaded[0].envelope if isinstance(loaded, tuple) and loaded and isinstance(loaded[0], Kept) else None
        return envelope is not None and opens(envelope, proof_of(token), START + now) is Opens.REPLAY

    # The store

    def create(self, key: str, record: Record) -> bool:
        return bool(self._answer(Verb(CREATE, key, self.kept(record))))

    def load(self, key: str) -> Stored | None:
        found = self._answer(Verb(LOAD, key, label=turn.label if key in (MARK, ALIAS) else ""))
        return None if found is None else Stored(found[0].record.value, found[1])

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return bool(self._answer(Verb(UPDATE, key, self.kept(record), version)))

    def delete(self, key: str) -> bool:
        deleted = bool(self._answer(Verb(DELETE, key)))
        turn.deleted.append(key)
        return deleted

    def keys_of(self, user_id: str) -> Iterator[str]:
        # One page: there are fewer sessions than in any.
        turn.listed = list(self._answer(Verb(KEYS_OF, user_id)))
        yield from turn.listed

    def _answer(self, verb: Verb) -> Any:
        given = self._given
        if given == len(self._answers):
            raise _Pause(verb)
        self._given = given + 1
        result, turn.answered = self._answers[given]
        if self._stalling:
            turn.now = turn.answered
        else:
            turn.now = self._answers[given + 1][1] if given + 1 < len(self._answers) else self._until
        return result


_codec = MsgpackCodec()
