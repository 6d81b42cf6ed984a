"""Sessions are ended from elsewhere while their holders and sign-ins do what they can, in threads and in processes."""

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from threading import local
from typing import Any, NamedTuple

import pytest

from session_middleware import ConflictError, Record, Send, Session, SessionManager, Store, open_store
from session_middleware.stores.base import Stored, Version
from session_middleware.tokens import Token
from tests.backends.running import INDEXED, LATER, Backends, a_store, sizes
from tests.gates import full
from tests.sealing import mark_there
from tests.servers.direct import Racers

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured


class Span(NamedTuple):
    """When something happened (nanoseconds of a clock that all processes share): not before, and not after."""

    start: int
    end: int


class SignIn(NamedTuple):
    """When it read the user's mark, and whether it is signed in when all is over."""

    began: Span
    is_alive: bool


class Revocation(NamedTuple):
    """When it wrote the user's mark, and when it returned."""

    marked: Span
    returned: int


def innocent_and_guilty(signed_in: list[SignIn], revoked: list[Revocation]) -> tuple[int, int]:
    """Check every sign-in of a round against its revocation; return how many began after it, and before it."""
    after = before = 0
    for sign_in, revocation in zip(signed_in, revoked, strict=True):
        if sign_in.began.end < revocation.marked.start:
            assert not sign_in.is_alive, "it began before the user was signed out everywhere, and outlives that"
            before += 1
        elif sign_in.began.start > revocation.returned:
            assert sign_in.is_alive, "it began after the user had been signed out everywhere, and is not signed in"
            after += 1
    return after, before


class TimedStore:
    """Notes when the mark of a user was first read by a request, and when it was written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._local = local()
        self.delete = store.delete
        self.keys_of = store.keys_of  # type: ignore[attr-defined]  # each of these can

    @contextmanager
    def watching(self, user: str) -> Iterator[dict[str, Span]]:
        found: dict[str, Span] = {}
        self._local.found, self._local.key = found, mark_there(user)
        yield found
        self._local.key = None

    def create(self, key: str, record: Record) -> bool:
        return bool(self._timed("written", key, partial(self._store.create, key, record)))

    def load(self, key: str) -> Stored | None:
        found: Stored | None = self._timed("read", key, partial(self._store.load, key))
        return found

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        return bool(self._timed("written", key, partial(self._store.update, key, record, version=version)))

    def _timed(self, what: str, key: str, call: Callable[[], Any]) -> Any:
        start = time.monotonic_ns()
        result = call()
        if key == getattr(self._local, "key", None) and (what == "written" or what not in self._local.found):
            self._local.found[what] = Span(start, time.monotonic_ns())
        return result


class Site:
    """Requests without HTTP, on a store that is watched; several processes may each have one."""

    def __init__(self, store: Store) -> None:
        self.store = TimedStore(store)
        self.manager = SessionManager(self.store)
        self._chance = random.Random()

    def begin(self, user: str | None = None, **data: Any) -> Token:
        session = self.manager.open()
        session.update(data)
        if user is not None:
            session.login(user)
        verdict = self.manager.commit(session)
        assert isinstance(verdict, Send)
        return verdict.token

    def user(self, token: Token) -> str | None:
        return self.manager.open(token).user_id

    def hesitate(self) -> None:
        """Let other requests be faster, or not."""
        end = time.monotonic() + self._chance.random() * 0.002
        while time.monotonic() < end:
            time.sleep(0)

    def sign_in(self, how: int, user: str, token: Token) -> tuple[Span, Token | None]:
        """Sign in on the session of *token*; return when that began, and the token that the browser then has."""
        self.hesitate()
        with self.store.watching(user) as found:
            session = self.manager.open(token)
            if how % 4 == 0:
                session.login(user, mark=self.manager.mark_of(user))
            else:
                session.login(user)
            if how % 4 == 1:
                session.transact(lambda data: data.update(n=1))
            if how % 4 == 2:
                session.set_lifetime(persistent=True)
            session["private"] = 1
            verdict = self.manager.commit(session)
        return found["read"], verdict.token if isinstance(verdict, Send) else None

    def revoke_all(self, user: str) -> Revocation:
        self.hesitate()
        with self.store.watching(user) as found:
            self.manager.revoke_all(user)
        return Revocation(found["written"], time.monotonic_ns())

    def steal(self, how: int, user: str, token: Token) -> list[Token]:
        """Do what a thief can to keep a session that is being revoked; return all tokens that he has then."""
        self.hesitate()
        tokens = [token]
        for act in (*THEFTS[how % len(THEFTS) :], *THEFTS[: how % len(THEFTS)]):
            session = self.manager.open(tokens[-1])
            with suppress(ConflictError):
                act(session, user)
                verdict = self.manager.commit(session)
                if isinstance(verdict, Send):
                    tokens.append(verdict.token)
        return tokens


def write(session: Session, user: str) -> None:
    session["written"] = 1


def regenerate(session: Session, user: str) -> None:
    if "secret" in session:
        session.regenerate()


def sign_in_again(session: Session, user: str) -> None:
    if session.user_id is not None:
        session.login(user)


def remember(session: Session, user: str) -> None:
    session.set_lifetime(persistent=True)


def transact(session: Session, user: str) -> None:
    session.transact(lambda data: data.update(n=1))


THEFTS = [regenerate, sign_in_again, remember, write, transact, regenerate]


@pytest.fixture(params=LATER)
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    """A store of each kind, most of them in the soak."""
    with a_store(request.param, tmp_path, backends) as store:
        yield store


class TestThreads:
    @sizes("rounds", 200, 2_000, served=2_000)
    def test_a_revoked_session_is_gone_whatever_the_thief_does(self, store: Store, three: Racers, rounds: int) -> None:
        """Promise 19: by the id that was listed; new secrets, a sign-in, a lifetime and writes gain nothing."""
        site = Site(store)
        moved = 0
        for number in range(rounds):
            user = f"alice-{number}"  # what Redis remembers of a user for minutes is not to make later rounds slow
            token = site.begin(user, secret=1)
            (info,) = site.manager.sessions_of(user)

            def revoke(session_id: str = info.id) -> bool:
                site.hesitate()
                return site.manager.revoke(session_id)

            ended, *stolen = three.run(
                revoke, partial(site.steal, number, user, token), partial(site.steal, number + 3, user, token)
            )
            assert ended
            moved += assert_gone(site, info.id, [one for tokens in stolen for one in tokens])
        assert moved > rounds / 10, "the requests did not meet"

    @sizes("rounds", 200, 2_000, served=2_000)
    @pytest.mark.parametrize("start", ["anonymous", "signed in"])
    def test_a_sign_in_outlives_no_revocation_that_began_after_it_and_every_one_before_it(
        self, store: Store, three: Racers, start: str, rounds: int
    ) -> None:
        """Promise 19, A-7.4.2: 0 survivors that began before, 0 innocent ones ended; two sign-ins from one browser."""
        site = Site(store)
        signed_in, revoked = list[SignIn](), list[Revocation]()
        for number in range(rounds):
            user = f"alice-{number}"
            token = site.begin(user if start == "signed in" else None, cart=1)

            def revoke_and_sign_in(user: str = user) -> tuple[Revocation, Span, Token | None]:
                revocation = site.revoke_all(user)
                return revocation, *site.sign_in(number, user, site.begin(cart=1))  # noqa: B023  # at once

            (revocation, *later), *others = three.run(
                revoke_and_sign_in,
                partial(site.sign_in, number, user, token),
                partial(site.sign_in, number + 1, user, token),
            )
            for began, new in (tuple(later), *others):
                signed_in.append(SignIn(began, new is not None and site.user(new) == user))
                revoked.append(revocation)
            assert start == "anonymous" or site.user(token) is None
            site.manager.revoke_all(user)
        after, before = innocent_and_guilty(signed_in, revoked)
        assert after >= rounds
        assert before > rounds / 10, "the requests did not meet"

    @sizes("rounds", 100, 2_000, served=500)
    def test_two_changes_of_a_password_in_one_browser_leave_it_signed_in_alone(
        self, store: Store, three: Racers, rounds: int
    ) -> None:
        """Promises 19 and 20: a double click on a page that signs in and ends all other sessions; a thief has another."""
        site = Site(store)

        def change(user: str, token: Token) -> Token | None:
            session = site.manager.open(token)
            session.login(user)
            site.manager.revoke_all(user, keep=session.id)
            verdict = site.manager.commit(session)
            return verdict.token if isinstance(verdict, Send) else None

        for number in range(rounds):
            user = f"alice-{number}"
            token, stolen = site.begin(user), site.begin(user, secret=1)
            *tokens, theirs = three.run(
                partial(change, user, token), partial(change, user, token), partial(site.steal, number, user, stolen)
            )
            assert any(new and site.user(new) == user for new in tokens)
            assert token.id in [info.id for info in site.manager.sessions_of(user)]
            assert_gone(site, stolen.id, theirs)
            for info in site.manager.sessions_of(user):
                site.manager.revoke(info.id)


def assert_gone(site: Site, session_id: str, tokens: list[Token]) -> int:
    """Assert that nothing is left of a session, nor of its data elsewhere; return how many secrets it has had."""
    assert site.manager.find(session_id) is None
    for token in tokens:
        session = site.manager.open(token)
        assert "secret" not in session
        assert token.id != session_id or (session.is_new and session.user_id is None)
    return len({token for token in tokens if token.id == session_id}) > 1


# The same in processes, each of which has a store and a manager of its own.


def _in_a_process(url: str, role: str, rounds: int, tokens: list[str], barrier: Any, results: Any) -> None:
    store: Any = open_store(url)
    site = Site(store)
    found: list[Any] = []
    for number, text in zip(count(), tokens, strict=False):
        user, token = f"alice-{number}", Token(text)
        barrier.wait(600)
        match role:
            case "revoke":
                site.hesitate()
                found.append((site.manager.revoke(token.id), ()))
            case "steal":
                found.append((True, [one.reveal() for one in site.steal(number, user, token)]))
            case "revoke all":
                found.append(site.revoke_all(user))
            case _:
                began, new = site.sign_in(number, user, token)
                found.append((began, new and new.reveal()))
    results.put((role, found))
    store.close()


def in_processes(url: str, roles: list[str], tokens: list[Token]) -> dict[str, list[list[Any]]]:
    """Let each role be played by a process of its own, round after round, one for each token; return what they found."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(len(roles)), context.Queue()
    texts = [token.reveal() for token in tokens]
    processes = [
        context.Process(target=_in_a_process, args=(url, role, len(texts), texts, barrier, results), daemon=True)
        for role in roles
    ]
    for process in processes:
        process.start()
    found: dict[str, list[list[Any]]] = {role: [] for role in roles}
    for _ in processes:
        role, what = results.get(timeout=600)
        found[role].append(what)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * len(processes)
    return found


ROUNDS = [pytest.param(50, id="50"), pytest.param(full(500, 2_000), id="many", marks=pytest.mark.soak)]


@pytest.fixture
def shared(url: str) -> Iterator[tuple[str, Site]]:
    """A store that processes share, with an index of users, and a site on it in this process."""
    store: Any = open_store(url)
    yield url, Site(store)
    store.close()


@pytest.mark.parametrize("url", INDEXED, indirect=True)
class TestProcesses:
    @pytest.mark.parametrize("rounds", ROUNDS)
    def test_a_revoked_session_is_gone_whatever_the_thief_does(self, shared: tuple[str, Site], rounds: int) -> None:
        """Promise 19: the thief's requests come to other workers."""
        url, site = shared
        tokens = [site.begin(f"alice-{number}", secret=1) for number in range(rounds)]
        found = in_processes(url, ["revoke", "steal", "steal"], tokens)

        assert all(ended for ended, _ in found["revoke"][0])
        moved = 0
        for number, token in enumerate(tokens):
            stolen = [Token(text) for thief in found["steal"] for text in thief[number][1]]
            moved += assert_gone(site, token.id, stolen)
        assert moved > rounds / 10, "the requests did not meet"

    @pytest.mark.parametrize("rounds", ROUNDS)
    def test_a_sign_in_outlives_no_revocation_that_began_after_it_and_every_one_before_it(
        self, shared: tuple[str, Site], rounds: int
    ) -> None:
        """Promise 19: the administrator's worker and those where she signs in."""
        url, site = shared
        tokens = [site.begin(cart=1) for _ in range(rounds)]
        found = in_processes(url, ["revoke all", "sign in", "sign in"], tokens)

        signed_in = [
            SignIn(Span(*began), text is not None and site.user(Token(text)) == f"alice-{number}")
            for browser in found["sign in"]
            for number, (began, text) in enumerate(browser)
        ]
        _, before = innocent_and_guilty(signed_in, [Revocation(*one) for one in found["revoke all"][0]] * 2)
        assert before > rounds / 10, "the requests did not meet"
