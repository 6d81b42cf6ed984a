"""Somebody else has a token from before: planted in an anonymous session, or stolen. What comes after is not for them."""

import random
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, cycle
from pathlib import Path
from typing import Any

import pytest

from session_middleware import ConflictError, HeadersAlreadySent, Record, Session, Store
from session_middleware.record import unpack
from session_middleware.rules import Opens
from session_middleware.stores.base import Version
from tests.backends.running import LATER, Backends, a_store, sizes
from tests.gates import full
from tests.races.worlds import USER, Action, World, increment, orders, token_of
from tests.sealing import opened
from tests.servers.direct import Answer, Handler, Racers, Site

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

THIEF, VICTIM = 0, 1


@pytest.fixture(params=LATER)
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    """A store of each kind, most of them in the soak."""
    with a_store(request.param, tmp_path, backends) as store:
        yield store


# What the victim does: each ends the time before, and leaves something private.


def sign_in(world: World, session: Session) -> None:
    session.login(USER)
    session["private"] = 1


def sign_in_by_transaction(world: World, session: Session) -> None:
    session.login(USER)
    session.transact(increment)
    session["private"] = 1


def sign_in_remembered(world: World, session: Session) -> None:
    session.login(USER)
    session.set_lifetime(persistent=True)
    session.transact(lambda data: data.update(private=1))


def sign_in_and_stream(world: World, session: Session) -> Iterator[None]:
    session.login(USER)
    yield
    session["private"] = 1


def regenerate(world: World, session: Session) -> None:
    session.regenerate()
    session["private"] = 1


def regenerate_by_transaction(world: World, session: Session) -> None:
    session.regenerate()
    with suppress(ConflictError):  # the thief may have had a new secret before she came
        session.transact(lambda data: data.update(private=1))


def regenerate_and_stream(world: World, session: Session) -> Iterator[None]:
    session.regenerate()
    yield
    with suppress(HeadersAlreadySent):  # the thief may have ended the session before she came
        session["private"] = 1


# What the thief does: everything, and notes all that there is to see.


def look(world: World, session: Session) -> None:
    world.seen.append(dict(session) | {"user": session.user_id})


def spying(act: Callable[[Session], object]) -> Action:
    def action(world: World, session: Session) -> None:
        look(world, session)
        with suppress(ConflictError):
            act(session)
            session.transact(lambda data: world.seen.append(dict(data)))
        look(world, session)

    return action


def spying_late(world: World, session: Session) -> Iterator[None]:
    look(world, session)
    session["stolen"] = 1
    yield
    session["stolen late"] = 1
    look(world, session)
    with suppress(ConflictError):
        session.transact(increment)
    look(world, session)


def remember(session: Session) -> None:
    session.set_lifetime(persistent=True, idle=None)


THEFTS: dict[str, Action] = {
    "read": spying(len),
    "write": spying(lambda session: session.update(stolen=1)),
    "nested": spying(lambda session: session.setdefault("old", []).append("stolen")),
    "transact": spying(lambda session: session.transact(increment)),
    "delete": spying(Session.clear),
    "regenerate": spying(Session.regenerate),
    "remember": spying(remember),
    "sign in": spying(lambda session: session.login("mallory")),
    "late": spying_late,
}


def thief_has_changed(world: World) -> bool:
    """Tell whether the thief has written to the session after the victim's sign-in was stored."""
    written = [(number, verb) for number, verb, key, done in world.store.log if key == world.token.id and done]
    if (VICTIM, "update") not in written:
        return False
    after = written[written.index((VICTIM, "update")) :]
    return (THIEF, "update") in after or (THIEF, "delete") in after


@pytest.mark.parametrize("user_id", [None, USER], ids=["planted", "stolen"])
@pytest.mark.parametrize("act", [sign_in, sign_in_by_transaction, sign_in_remembered, sign_in_and_stream])
@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS)
def test_nothing_of_what_comes_after_a_sign_in_is_read_or_written(
    store: Store, theft: Action, act: Action, user_id: str | None
) -> None:
    """Promise 18: a new request or one that was running, in every order of their store calls; also a re-authentication."""
    may_end = user_id is not None and theft is THEFTS["sign in"]  # as another user, so he signs out whom he has stolen from
    many = act is not sign_in or theft in (THEFTS["late"], THEFTS["sign in"])
    for world, outcome in orders(store, theft, act, user_id=user_id, sample=40 if many else None):
        new, theirs = token_of(outcome, VICTIM), token_of(outcome, THIEF)
        if not may_end:
            assert world.user(new) == USER, outcome.schedule
            assert world.data(new)["private"] == 1, outcome.schedule
            assert not thief_has_changed(world), (outcome.schedule, world.store.log)
        assert not any("private" in seen for seen in world.seen), outcome.schedule
        assert "private" not in world.data(theirs), outcome.schedule
        # Who has stolen a signed-in session may have regenerated it before; then he has that one, and she a new one.
        assert theirs is None or user_id or world.user(theirs) in (None, "mallory"), outcome.schedule
        for wait in (0, 11):
            world.clock.advance(wait)
            assert world.opens(world.token) is not Opens.SESSION, outcome.schedule
            assert wait == 0 or world.opens(world.token) is Opens.NOTHING, outcome.schedule
            assert "private" not in dict(world.manager.open(world.token)), outcome.schedule


@pytest.mark.parametrize("user_id", [None, USER], ids=["planted", "stolen"])
def test_the_thief_ends_what_is_signed_in_only_if_he_held_it_signed_in(store: Store, user_id: str | None) -> None:
    """Promise 18: a planted token ends nothing of the victim's; a stolen one signs out, and that is all."""
    for world, outcome in orders(store, spying(Session.invalidate), sign_in, user_id=user_id):
        new = token_of(outcome, VICTIM)
        assert not any("private" in seen for seen in world.seen), outcome.schedule
        if user_id is None:
            assert world.user(new) == USER, outcome.schedule
        else:
            assert world.user(new) in (USER, None), outcome.schedule
            assert world.data(new).get("private") in (1, None), outcome.schedule


@pytest.mark.parametrize("act", [regenerate, regenerate_by_transaction, regenerate_and_stream])
@pytest.mark.parametrize("theft", THEFTS.values(), ids=THEFTS)
def test_the_old_secret_is_dead_once_another_has_taken_its_place(store: Store, theft: Action, act: Action) -> None:
    """Promise 11: whoever comes with it after a regenerate() reads nothing, writes nothing and ends nothing.

    A request that had the session already goes on with it: it is the same session and the same user.
    """
    for world, outcome in orders(store, theft, act, user_id=USER, sample=40):
        new = token_of(outcome, VICTIM)
        log = world.store.log
        ours = [at for at, (number, verb, _, done) in enumerate(log) if (number, verb, done) == (VICTIM, "update", True)]
        came = next(at for at, (number, *_) in enumerate(log) if number == THIEF)
        if ours and ours[0] < came:
            assert not any("private" in seen or seen.get("user") == USER for seen in world.seen), outcome.schedule
            assert not thief_has_changed(world), (outcome.schedule, log)
            assert world.data(new)["private"] == 1, outcome.schedule
        assert world.data(world.token) == {}, outcome.schedule
        if theft is not THEFTS["sign in"]:
            assert world.user(world.token) is None, outcome.schedule


# The same with real threads, thousands of times.


class WatchedStore:
    """Notes of which user and era the records are that threads in disguise have written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._local = threading.local()
        self.written: list[tuple[str | None, int]] = []
        self.create, self.load, self.delete = store.create, store.load, store.delete
        self.keys_of = store.keys_of  # type: ignore[attr-defined]  # each of these can

    @contextmanager
    def watching(self) -> Iterator[None]:
        self._local.watches = True
        yield
        self._local.watches = False

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        done = self._store.update(key, record, version=version)
        if done and getattr(self._local, "watches", False) and record.expires_at:
            found = unpack(record.value)
            assert isinstance(found, tuple)
            self.written.append((opened(*found)[0].user_id, found[0].era))
        return done


def signs_in(user: str) -> Handler:
    def handler(session: Session) -> Iterable[bytes]:
        session.login(user)
        session["private"] = 1
        return [b""]

    return handler


def signs_in_by_transaction(user: str) -> Handler:
    def handler(session: Session) -> Iterable[bytes]:
        session.login(user)
        session.transact(lambda data: data.update(private=1))
        return [b""]

    return handler


def signs_in_and_is_remembered(user: str) -> Handler:
    def handler(session: Session) -> Iterable[bytes]:
        session.login(user)
        session.set_lifetime(persistent=True)
        session["private"] = 1
        return [b""]

    return handler


def signs_in_and_streams(user: str) -> Handler:
    def handler(session: Session) -> Iterable[bytes]:
        session.login(user)
        yield b""
        session["private"] = 1
        yield b""

    def eager(session: Session) -> Iterable[bytes]:
        blocks = iter(handler(session))
        return chain([next(iter(blocks))], blocks)

    return eager


def steals(act: Callable[[Session], object], seen: list[dict[str, Any]], *, late: bool = False) -> Handler:
    """Return what the thief asks of the application; it notes all that there is to see."""

    def handler(session: Session) -> Iterator[bytes]:
        seen.append(dict(session))
        if late:
            yield b""
        with suppress(ConflictError):
            act(session)
            session.transact(lambda data: seen.append(dict(data)))
        seen.append(dict(session))
        yield b""

    def eager(session: Session) -> Iterable[bytes]:
        blocks = handler(session)
        return chain([next(blocks)], blocks)

    return eager


def write(session: Session) -> None:
    session["stolen"] = 1


VICTIMS = [signs_in, signs_in_by_transaction, signs_in_and_is_remembered, signs_in_and_streams]

STEALING: list[tuple[Callable[[Session], object], bool]] = [
    (write, False),
    (lambda session: session.transact(increment), False),
    (Session.regenerate, False),
    (remember, False),
    (write, True),
    (lambda session: session.login("mallory"), False),
    (len, False),
]


@sizes("rounds", 200, 10_000, served=full(1_000, 10_000))
@pytest.mark.parametrize("is_signed_in", [False, True], ids=["planted", "stolen"])
def test_in_thousands_of_races_nothing_of_what_comes_after_a_sign_in_is_read_or_written(
    store: Store, three: Racers, is_signed_in: bool, rounds: int
) -> None:
    """Promise 18, F-C7, G-5: two requests of the thief while the victim signs in, and one more afterwards."""
    watched = WatchedStore(store)
    site = Site(watched)
    chance, met = random.Random(rounds), 0

    def stealing(theft: Handler, token: str) -> Answer:
        with watched.watching():
            return site.visit(theft, token)

    for number, victim in zip(range(rounds), cycle(VICTIMS), strict=False):
        user = f"{USER}-{number}"  # what Redis remembers of a user for minutes is not to make later rounds slow
        token = site.sign_in(user if is_signed_in else None, cart=["tea"])
        seen: list[dict[str, Any]] = []
        chosen = [chance.choice(STEALING[:-2] if is_signed_in else STEALING) for _ in range(2)]
        thefts = [partial(stealing, steals(act, seen, late=late), token) for act, late in chosen]
        answer, *others = three.run(partial(site.visit, victim(user), token), *thefts)
        met += sum("cart" in data for data in seen)
        others.append(stealing(steals(write, seen), token))

        assert answer.token
        opened = site.opened(answer.token)
        assert (opened["user_id"], opened["private"]) == (user, 1)
        assert not any("private" in data for data in seen), chosen
        assert "private" not in site.opened(token)
        for other in others:
            assert not other.token or is_signed_in or site.opened(other.token).get("user_id") in (None, "mallory")
            assert not other.token or "private" not in site.opened(other.token)
        before = {(user, 1)} if is_signed_in else {(None, 0), ("mallory", 1)}
        assert set(watched.written) <= before, (chosen, watched.written)
        watched.written.clear()
        site.manager.revoke(site.manager.open(answer.token).id)
    assert met > rounds / 10, "the requests did not meet"
