"""Sessions that eight processes end by all means at once: each end is told once, with the reason of who did it."""

import multiprocessing
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from session_middleware import Record, Session, SessionManager, open_store
from session_middleware.events import Created
from session_middleware.record import pack, pack_values
from session_middleware.stores.base import Sweepable
from session_middleware.testing import a_key
from session_middleware.tokens import Token
from tests.backends.running import Backends
from tests.gates import full
from tests.observers.notes import Notes, begin, request

# In processes of their own, which nothing measures.
pytestmark = pytest.mark.unmeasured

PROCESSES = 8
OF_A_USER = 3
MANY = full(2_000, 10_000)

KINDS = [
    *(pytest.param(kind, 300, id=f"{kind}-300") for kind in ("sqlite", "redis", "postgresql")),
    *(pytest.param(kind, MANY, id=f"{kind}-{MANY:,}", marks=pytest.mark.soak) for kind in ("sqlite", "redis", "postgresql")),
    pytest.param("mariadb", 300, id="mariadb-300", marks=pytest.mark.soak),
]


class Target(NamedTuple):
    """A session to end."""

    token: str
    user_id: str


class Told(NamedTuple):
    """What one process was told, and what its calls have returned."""

    created: list[str]
    ends: list[tuple[str | None, str | None, str]]
    acts: dict[str, list[str]]
    """The ids that it has tried to end by each means; of ``revoke`` those that it has ended."""
    counts: Counter[str]
    """How many its calls say that they have ended."""


def sign_out(manager: SessionManager, target: Target, told: Told) -> None:
    request(manager, Session.invalidate, Token(target.token))
    told.acts["signed_out"].append(Token(target.token).id)


def replace(manager: SessionManager, target: Target, told: Told) -> None:
    """Somebody else signs in over it, whose session is there afterwards."""
    request(manager, partial(Session.login, user_id=f"other-{a_key()}"), Token(target.token))
    told.acts["replaced"].append(Token(target.token).id)


def revoke(manager: SessionManager, target: Target, told: Told) -> None:
    if manager.revoke(Token(target.token).id):
        told.acts["revoked"].append(Token(target.token).id)


def revoke_all(manager: SessionManager, target: Target, told: Told) -> None:
    told.counts["signed_out_everywhere"] += manager.revoke_all(target.user_id)


def sweep(manager: SessionManager, target: Target, told: Told) -> None:
    told.counts["records"] += manager.sweep()


MEANS: list[Callable[[SessionManager, Target, Told], None]] = [sign_out, replace, revoke, revoke_all, sweep]


def work(url: str, number: int, targets: list[Target], barrier: Any, results: Any) -> None:
    store: Any = open_store(url)
    notes = Notes()
    manager = SessionManager(store, observer=notes)
    told = Told([], [], {"signed_out": [], "replaced": [], "revoked": []}, Counter())
    chance = random.Random(number)
    barrier.wait(120)
    for target in targets:
        chance.choice(MEANS)(manager, target, told)
    barrier.wait(600)
    told.counts["revoked_everybody"] += manager.revoke_everybody()
    while manager.sweep():
        pass
    told.created.extend(str(event.session_id) for event in notes.of(Created))
    told.ends.extend(notes.ends)
    results.put(told)
    store.close()


def in_processes(url: str, targets: list[Target]) -> list[Told]:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(PROCESSES), context.Queue()
    processes = [
        context.Process(target=work, args=(url, number, targets, barrier, results), daemon=True)
        for number in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    found = [results.get(timeout=1200) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * PROCESSES
    return found


def add_expired(store: Any, manager: SessionManager, count: int) -> set[str]:
    """Store sessions whose time was over long ago, so that a sweep finds them."""
    keys = {a_key() for _ in range(count)}
    envelope = manager.new()._replace(user_id="late", era=1)
    for key in keys:
        store.create(key, Record(pack(envelope, pack_values({})), int(manager.now()) - 1000, "late"))
    return keys


@pytest.mark.parametrize(("kind", "number"), KINDS)
def test_each_end_is_told_once_with_a_right_reason(kind: str, number: int, tmp_path: Path, backends: Backends) -> None:
    """By invalidate(), revoke(), revoke_all(), a sign-in of another, sweeps, and at last by revoke_everybody()."""
    url = f"sqlite:///{tmp_path}/sessions.sqlite3?timeout=30" if kind == "sqlite" else backends.url(kind)
    store: Any = open_store(url)
    manager = SessionManager(store)
    late = number // 6
    targets = [
        Target(begin(manager, user_id).reveal(), user_id)
        for user_id in (f"user-{at // OF_A_USER}" for at in range(number - late))
    ]
    known = {Token(target.token).id for target in targets}
    # Afterwards, for a new session may sweep, and this manager has no observer.
    expired = add_expired(store, manager, late) if isinstance(store, Sweepable) else set()
    found = in_processes(url, targets[: len(targets) * 5 // 6])
    store.close()

    created = known | {key for told in found for key in told.created}
    ends = [end for told in found for end in told.ends]
    assert Counter(key for key, _, _ in ends) == Counter(created | expired)
    assert {key for key, _, reason in ends if reason == "expired"} == expired
    users = {Token(target.token).id: target.user_id for target in targets}
    assert [end for end in ends if end[0] in users and end[1] != users[end[0]]] == []
    for told in found:
        reasons = Counter(reason for _, _, reason in told.ends)
        by_reason = {reason: {key for key, _, one in told.ends if one == reason} for reason in reasons}
        assert by_reason.get("revoked", set()) == set(told.acts["revoked"])
        assert by_reason.get("signed_out", set()) <= set(told.acts["signed_out"])
        assert by_reason.get("replaced", set()) <= set(told.acts["replaced"])
        assert reasons["signed_out_everywhere"] == told.counts["signed_out_everywhere"]
        assert reasons["revoked_everybody"] == told.counts["revoked_everybody"]
    assert {reason for _, _, reason in ends} >= {
        "signed_out",
        "replaced",
        "revoked",
        "signed_out_everywhere",
        "revoked_everybody",
    }
