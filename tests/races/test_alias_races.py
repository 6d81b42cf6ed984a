"""Sign-ins with an alias while all sessions with it are ended: in every order, in threads and in processes."""

import inspect
import multiprocessing
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from session_middleware import Send, Session, SessionManager, Store, open_store, rules
from session_middleware.aliases import Aliases
from session_middleware.commits import Committer
from session_middleware.testing.orders import Outcome
from session_middleware.tokens import Token
from tests.backends.running import INDEXED, SERVED, sizes
from tests.gates import full
from tests.races.worlds import USER, Action, World, logout, orders, regenerate, set_key, token_of, transact
from tests.sealing import alias_there
from tests.servers.direct import Racers

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

SID = "sid-5"
KEY = alias_there(SID)

Run = Callable[..., Iterator[tuple[World, Outcome]]]


@pytest.fixture
def run(store: Store, request: pytest.FixtureRequest) -> Run:
    """Runs actions in a sample of their orders; where a server is asked, in a smaller one."""
    most = 60 if request.node.callspec.params["store"] in SERVED else 1000

    def some(*actions: Action, sample: int = 400, **options: Any) -> Iterator[tuple[World, Outcome]]:
        return orders(store, *actions, sample=min(sample, most), **options)

    return some


def sign_in(alias: str = SID, user_id: str = USER) -> Action:
    def action(world: World, session: Session) -> None:
        session.login(user_id, alias=alias)

    return action


def revoke(world: World, session: Session) -> None:
    world.manager.revoke_alias(SID)


def check(world: World, outcome: Outcome, sign_ins: tuple[int, ...], revocation: int) -> int:
    """Check each sign-in against the revocation; return how many are alive."""
    calls = [call for call in world.store.log if call.request is not None]
    of = [(call.request, call.verb, call.key) for call in calls]
    revoking = [(at, call) for at, call in enumerate(calls) if call.request == revocation]
    returned = revoking[-1][0]
    marked = max(at for at, call in revoking if call.key == KEY and call.verb != "load" and call.done)
    alive = 0
    for number in sign_ins:
        began = of.index((number, "load", KEY))
        is_alive = world.user(token_of(outcome, number)) == USER
        alive += is_alive
        assert not (is_alive and began < marked), (outcome.schedule, calls)
        assert is_alive or began < returned, (outcome.schedule, calls)
    assert bool(world.manager.sessions_with(SID)) == bool(alive), (outcome.schedule, calls)
    return alive


class TestInEveryOrder:
    @pytest.mark.parametrize("user_id", [None, USER, "bob"])
    def test_a_sign_in_outlives_no_revocation_that_began_after_it(self, run: Run, user_id: str | None) -> None:
        """Promise 19: and whoever begins when it has returned is signed in."""
        found = {check(world, outcome, (0,), 1) for world, outcome in run(sign_in(), revoke, user_id=user_id)}

        assert found == {0, 1}

    @pytest.mark.parametrize("user_id", [None, USER])
    def test_two_sign_ins_of_one_browser_do_not_either(self, run: Run, user_id: str | None) -> None:
        """Promises 19 and 20: one that has to end does not take the other with it."""
        found = {check(world, outcome, (0, 1), 2) for world, outcome in run(sign_in(), sign_in(), revoke, user_id=user_id)}

        assert found == {0, 1, 2}

    @pytest.mark.parametrize("other", [set_key("x"), transact, regenerate])
    def test_a_session_ends_whatever_else_happens_to_it(self, run: Run, other: Action) -> None:
        """Promise 19: a write, a transaction, a new secret."""

        def cookies(world: World) -> list[Token]:
            token = world.request(sign_in(), world.token).token
            assert token is not None
            return [token]

        for world, outcome in run(other, revoke, cookies=cookies):
            assert world.user(token_of(outcome, 0)) is None, outcome.schedule
            assert world.manager.sessions_with(SID) == [], outcome.schedule
            assert world.manager.sessions_of(USER) == [], outcome.schedule

    def test_a_longer_life_does_not_outlive_it(self, run: Run) -> None:
        """Promise 19: the alias is noted for longer while the session ends."""

        def cookies(world: World) -> list[Token]:
            token = world.request(sign_in(), world.token).token
            assert token is not None
            return [token]

        def remember(world: World, session: Session) -> None:
            session.set_lifetime(absolute=10**6, persistent=True)

        for world, outcome in run(remember, revoke, cookies=cookies):
            assert world.manager.sessions_of(USER) == [], outcome.schedule

    def test_of_two_revocations_each_session_is_ended_once(self, run: Run) -> None:
        """Promise 24: by one of them."""
        ended: list[int] = []

        def counted(world: World, session: Session) -> None:
            ended.append(world.manager.revoke_alias(SID))

        def cookies(world: World) -> list[Token]:
            token = world.request(sign_in(), world.token).token
            assert token is not None
            return [token]

        for world, outcome in run(counted, counted, cookies=cookies):
            assert sum(ended) == 1, outcome.schedule
            assert world.manager.sessions_of(USER) == [], outcome.schedule
            ended.clear()

    def test_a_sign_out_and_another_sign_in_leave_the_other(self, run: Run) -> None:
        """Promise 20: the alias names whoever is there."""
        for world, outcome in run(sign_in(), logout):
            token = token_of(outcome, 0)
            listed = [info.id for info in world.manager.sessions_with(SID)]
            assert listed == ([token.id] if token and world.user(token) == USER else []), outcome.schedule


BROKEN: dict[str, tuple[Any, str, str]] = {
    "no look afterwards": (Aliases.has_revoked, "return any(", "return False and any("),
    "another nonce counts for the same": (rules.names_still, "alias.revoked == nonce", "True"),
    "noted when it is stored": (
        Committer._begin,
        "self._aliases.note(token.id, started)",
        "pass",
    ),
    "a second click joins whatever was read": (rules.is_second_click, "and envelope.mark == mark", ""),
    "the nonce stays": (Aliases._renew, "Alias(ids, new_id(), until)", "Alias(ids, found and found.revoked, until)"),
}


@pytest.mark.parametrize("store", ["memory"], indirect=True)
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_step_is_seen(run: Run, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The search is worth what it finds: it finds each step left out."""
    function, passage, instead = BROKEN[name]
    source = textwrap.dedent(inspect.getsource(function))
    assert source.count(passage) == 1
    made: dict[str, Any] = {}
    exec(source.replace(passage, instead), function.__globals__, made)
    monkeypatch.setattr(function, "__code__", made[function.__name__].__code__)

    with pytest.raises(AssertionError):
        search(run)


def search(run: Run) -> None:
    for user_id in (None, "bob"):
        for world, outcome in run(sign_in(), sign_in(), revoke, user_id=user_id):
            check(world, outcome, (0, 1), 2)


class Crew:
    """Requests of several threads or processes on one store: sign-ins with an alias of their own round."""

    def __init__(self, store: Any) -> None:
        self.manager = SessionManager(store)

    def begin(self) -> Token:
        session = self.manager.open()
        session["cart"] = 1
        verdict = self.manager.commit(session)
        assert isinstance(verdict, Send)
        return verdict.token

    def sign_in(self, alias: str, token: Token) -> tuple[int, Token | None]:
        """Sign in on the session of *token*; return when that began (nanoseconds), and the token that is told."""
        session = self.manager.open(token)
        assert session.is_new in (True, False)
        began = time.monotonic_ns()
        session.login(USER, alias=alias)
        verdict = self.manager.commit(session)
        return began, verdict.token if isinstance(verdict, Send) else None

    def revoke(self, alias: str) -> int:
        """End all; return when that was done."""
        self.manager.revoke_alias(alias)
        return time.monotonic_ns()

    def survivors(self, alias: str, returned: int, signed_in: list[tuple[int, Token | None]]) -> tuple[int, int]:
        """Check what is left of a round; return how many sign-ins live and how many do not.

        Every live session is named by its alias, and whoever began when all were ended is signed in.
        """
        named = {info.id for info in self.manager.sessions_with(alias)}
        alive = {token.id for _, token in signed_in if token and self.manager.open(token).user_id == USER}
        assert named == alive
        late = [token for began, token in signed_in if began > returned]
        assert all(token is not None and token.id in alive for token in late)
        self.manager.revoke_alias(alias)
        assert self.manager.sessions_with(alias) == []
        assert not any(token and self.manager.open(token).user_id for _, token in signed_in)
        return len(alive), len(signed_in) - len(alive)


@sizes("rounds", 100, 2_000, served=1_000)
def test_threads_leave_no_session_that_its_alias_does_not_name(store: Store, three: Racers, rounds: int) -> None:
    """Promise 19: two sign-ins of one browser and one who ends them all, at once."""
    crew = Crew(store)
    alive = ended = 0
    for number in range(rounds):
        alias, token = f"sid-{number}", crew.begin()
        returned, *signed_in = three.run(
            partial(crew.revoke, alias), partial(crew.sign_in, alias, token), partial(crew.sign_in, alias, token)
        )
        more, less = crew.survivors(alias, returned, signed_in)
        alive, ended = alive + more, ended + less
    assert alive + ended == 2 * rounds


def _in_a_process(url: str, tokens: list[str] | None, rounds: int, barrier: Any, results: Any) -> None:
    store: Any = open_store(url)
    crew = Crew(store)
    found: list[Any] = []
    for number in range(rounds):
        barrier.wait(600)
        if tokens is None:
            found.append(crew.revoke(f"sid-{number}"))
        else:
            began, token = crew.sign_in(f"sid-{number}", Token(tokens[number]))
            found.append((began, token and token.reveal()))
    results.put((tokens is None, found))
    store.close()


@pytest.mark.parametrize("url", INDEXED, indirect=True)
@pytest.mark.parametrize(
    "rounds", [pytest.param(50, id="50"), pytest.param(full(500, 2_000), id="many", marks=pytest.mark.soak)]
)
def test_processes_leave_no_session_that_its_alias_does_not_name(url: str, rounds: int) -> None:
    """Promise 19: the identity provider's request comes to another worker than those of the browser."""
    store: Any = open_store(url)
    crew = Crew(store)
    texts = [crew.begin().reveal() for _ in range(rounds)]
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(3), context.Queue()
    processes = [
        context.Process(target=_in_a_process, args=(url, tokens, rounds, barrier, results), daemon=True)
        for tokens in (None, texts, texts)
    ]
    for process in processes:
        process.start()
    found = sorted([results.get(timeout=600) for _ in processes], key=lambda one: not one[0])
    for process in processes:
        process.join(60)
    (_, returned), *others = found
    for number in range(rounds):
        signed_in = [(began, text and Token(text)) for began, text in (one[number] for _, one in others)]
        crew.survivors(f"sid-{number}", returned[number], signed_in)
    store.close()
