"""Fifty sign-ins of one user at once, in threads and in processes: exactly as many sessions are left as may be."""

import multiprocessing
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Send, SessionManager, Store, TooManySessions, open_store
from session_middleware.tokens import Token
from tests.backends.running import INDEXED, Backends, a_store, sizes
from tests.gates import full
from tests.servers.direct import racers

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

MOST = 5

POLICIES = ("end_oldest", "refuse")


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    with a_store(request.param, tmp_path, backends) as store:
        yield store


def limited(store: Store, policy: Any) -> SessionManager:
    return SessionManager(store, max_per_user=MOST, at_limit=policy)


def sign_in(manager: SessionManager, user: str) -> Token | None:
    """Sign in; return the token that the browser is told. ``None``: it was refused, or ended at once."""
    session = manager.open()
    try:
        session.login(user)
    except TooManySessions:
        return None
    verdict = manager.commit(session)
    return verdict.token if isinstance(verdict, Send) else None


def assert_kept(manager: SessionManager, user: str, there: Token, tokens: list[Token | None], policy: str) -> None:
    """Assert that there are exactly as many sessions as may be, and that somebody has the token of each."""
    left = {info.id for info in manager.sessions_of(user)}
    assert len(left) == MOST
    assert left <= {token.id for token in (there, *tokens) if token is not None}
    assert policy == "end_oldest" or there.id in left, "who was there has ended"


@pytest.mark.parametrize("policy", POLICIES)
@sizes("rounds", 3, full(20, 200), served=full(20, 200))
def test_fifty_threads_leave_exactly_the_limit(store: Store, policy: str, rounds: int) -> None:
    """Promise 23: never one more and never one fewer; where sign-ins are refused, who was there before stays."""
    manager = limited(store, policy)
    with racers(50) as crew:
        for number in range(rounds):
            user = f"alice-{number}"
            there = sign_in(manager, user)
            assert there is not None
            tokens = crew.run(*[partial(sign_in, manager, user)] * 50)
            assert_kept(manager, user, there, tokens, policy)
            manager.revoke_all(user)


def names(rounds: int) -> list[tuple[str, str]]:
    """Return a user for each round, and a policy."""
    return [(policy, f"{policy}-{number}") for number in range(rounds) for policy in POLICIES]


def _in_a_process(url: str, each: int, rounds: int, barrier: Any, results: Any) -> None:
    store: Any = open_store(url)
    managers = {policy: limited(store, policy) for policy in POLICIES}
    found = []
    with racers(each) as crew:
        for policy, user in names(rounds):
            barrier.wait(600)
            tokens = crew.run(*[partial(sign_in, managers[policy], user)] * each)
            found.append([token and token.reveal() for token in tokens])
    results.put(found)
    store.close()


@pytest.mark.parametrize("url", INDEXED, indirect=True)
@pytest.mark.parametrize(("many", "rounds"), [(2, 2), pytest.param(5, full(20, 200), marks=pytest.mark.soak)])
def test_fifty_threads_of_several_processes_leave_exactly_the_limit(url: str, many: int, rounds: int) -> None:
    """The same, of processes with a store and a manager each."""
    store: Any = open_store(url)
    managers = {policy: limited(store, policy) for policy in POLICIES}
    there = [sign_in(managers[policy], user) for policy, user in names(rounds)]
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(many), context.Queue()
    arguments = url, 50 // many, rounds, barrier, results
    processes = [context.Process(target=_in_a_process, args=arguments, daemon=True) for _ in range(many)]
    for process in processes:
        process.start()
    found = [results.get(timeout=600) for _ in processes]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * many
    for (policy, user), first, *texts in zip(names(rounds), there, *found, strict=True):
        assert first is not None
        tokens = [text and Token(text) for some in texts for text in some]
        assert_kept(managers[policy], user, first, tokens, policy)
    store.close()
