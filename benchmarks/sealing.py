"""What sealing costs: the same sessions read and written with a seal and without one, in turns.

python -m benchmarks.sealing
"""

from collections.abc import Callable, Iterator
from time import thread_time_ns

from session_middleware import MemoryStore, Send, SessionManager
from session_middleware.seal import Seal
from session_middleware.tokens import Token

ROUNDS, CALLS = 2000, 10


def main() -> None:
    """Print what the quickest round took of each."""
    managers = [SessionManager(MemoryStore()), SessionManager(MemoryStore(), seal=Seal(Seal.new_key()))]
    tokens = [_begun(manager) for manager in managers]
    for name, act in (("a read", _read), ("a write", _write), ("a sign-in", _sign_in)):
        found = [_rounds(act, manager, token) for manager, token in zip(managers, tokens, strict=True)]
        pairs = [tuple(next(one) for one in found) for _ in range(ROUNDS)]
        plain, sealed = (min(times) for times in zip(*pairs, strict=True))
        print(f"{name:10} {plain:6.1f} us without a seal, {sealed:6.1f} us with one: {sealed - plain:5.1f} us more")


def _begun(manager: SessionManager) -> Token:
    session = manager.open()
    session.update(user="alice", cart=[1, 2, 3], text="x" * 200)
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return verdict.token


def _read(manager: SessionManager, token: Token, number: int) -> None:
    assert manager.open(token)["user"] == "alice"


def _write(manager: SessionManager, token: Token, number: int) -> None:
    session = manager.open(token)
    session["number"] = number
    manager.commit(session)


def _sign_in(manager: SessionManager, token: Token, number: int) -> None:
    session = manager.open()
    session.login("alice")
    manager.commit(session)


def _rounds(act: Callable[[SessionManager, Token, int], None], manager: SessionManager, token: Token) -> Iterator[float]:
    number = 0
    while True:
        started = thread_time_ns()
        for _ in range(CALLS):
            number += 1
            act(manager, token, number)
        yield (thread_time_ns() - started) / CALLS / 1000


if __name__ == "__main__":
    main()
