"""Parallel requests with the cookie of another library make one session, in whatever order their calls come."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from session_middleware import ConflictError, Session, Store
from session_middleware.carry_over import Carried
from session_middleware.testing import race
from session_middleware.testing.orders import SteppedStore, some_orders
from tests.backends.running import EMBEDDED, Backends, a_store
from tests.takeover.library import ANNA, Library, Site, increment, regenerating, signing_in, told


class World:
    """A site on a stepped store and a stepped library, and requests that come with one old cookie."""

    def __init__(self, store: Store, user: str | None) -> None:
        self.store = SteppedStore(store)
        self.library = Library({"anna": Carried(ANNA, user)}, step=lambda: self.store.step("old", "", lambda: None))
        self.site = Site(self.store, self.library)
        self.manager = self.site.manager
        self.told: list[str] = []
        self.saw: list[dict[str, Any]] = []
        """What each request found that looked."""
        self.revoked: list[object] = []

    def request(self, deed: "Deed") -> str:
        response = self.site.request(partial(deed, self))
        self.told += told(response)
        return response.status

    @property
    def all_saw(self) -> bool:
        return all(saw.items() >= ANNA.items() for saw in self.saw)

    def opened(self) -> list[dict[str, Any]]:
        """Return what each cookie opens that the browser may have kept, the old one last."""
        return [*map(self.site.opened, self.told), self.site.sees()]

    def live(self) -> list[dict[str, Any]]:
        found = map(self.manager.find, self.store.keys())
        return [dict(info.data) for info in found if info is not None]


Deed = Callable[[World, Session], object]


def look(world: World, session: Session) -> None:
    world.saw.append(dict(session))


def write(key: str) -> Deed:
    def deed(world: World, session: Session) -> None:
        look(world, session)
        session[key] = True

    return deed


def count(world: World, session: Session) -> None:
    look(world, session)
    with suppress(ConflictError):  # someone may have signed in
        increment(session)


def end(world: World, session: Session) -> None:
    session.invalidate()


def renew(world: World, session: Session) -> None:
    look(world, session)
    regenerating(session)


def remember(world: World, session: Session) -> None:
    look(world, session)
    session.set_lifetime(persistent=True)


def sign_in(user_id: str) -> Deed:
    return lambda world, session: signing_in(user_id)(session)


def revoke(world: World, session: Session) -> None:
    world.revoked.append(world.manager.revoke(world.site.token.id))


def revoke_all(world: World, session: Session) -> None:
    world.revoked.append(world.manager.revoke_all("7"))


Orders = Callable[..., Iterator[World]]


@pytest.fixture(params=[100, pytest.param(500, marks=pytest.mark.soak)])
def orders(request: pytest.FixtureRequest, kind: str, tmp_path: Path, backends: Backends) -> Iterator[Orders]:
    """A sample of the orders in which the requests, all with the old cookie, can call the two stores; a larger one in the
    soak."""
    with a_store(kind, tmp_path, backends) as store:

        def run(*deeds: Deed, user: str | None = "7") -> Iterator[World]:
            def world() -> tuple[SteppedStore, list[Callable[[], Any]], World]:
                made = World(store, user)
                return made.store, [partial(made.request, deed) for deed in deeds], made

            for made, outcome in some_orders(world, request.param):
                assert outcome.errors == [None] * len(deeds), (outcome.errors, outcome.schedule)
                assert outcome.results == ["200 OK"] * len(deeds), (outcome.results, outcome.schedule)
                yield made
                made.store.empty()

        yield run


@pytest.mark.unmeasured
@pytest.mark.parametrize("kind", EMBEDDED)
class TestOrders:
    """Two requests, and three, with the old cookie, in the orders of their calls to the store and to the library."""

    @pytest.mark.parametrize(
        "deeds",
        [
            (look, look),
            (write("a"), look),
            (write("a"), write("b")),
            (write("a"), write("b"), write("c")),
            (look, write("b"), remember),
        ],
    )
    def test_parallel_requests_make_one_session(self, orders: Orders, deeds: tuple[Deed, ...]) -> None:
        """Promises 3 and 20: all see what was there, nothing is lost, and whichever cookie the browser keeps works."""
        for world in orders(*deeds):
            assert world.all_saw
            (live,) = world.live()
            assert live.items() >= ANNA.items()
            assert len(live) - len(ANNA) == len([deed for deed in deeds if deed not in (look, remember)])
            assert len(world.told) == 1 if remember not in deeds else len(world.told) in (1, 2)
            assert world.opened() == [live] * (len(world.told) + 1)
            assert world.library.sessions == {}

    def test_increments_beside_each_other_all_count(self, orders: Orders) -> None:
        """Promise 4."""
        for world in orders(count, count):
            assert world.all_saw
            assert world.live() == [ANNA | {"count": 2}]
            assert world.opened() == [ANNA | {"count": 2}] * 2

    @pytest.mark.parametrize("user", ["7", None])
    @pytest.mark.parametrize("others", [(look,), (write("a"),), (count,), (end,), (write("a"), write("b"))])
    def test_a_sign_out_is_final(self, orders: Orders, others: tuple[Deed, ...], user: str | None) -> None:
        """Promise 5: in no order is the session alive afterwards; another may have begun one without its data."""
        for world in orders(end, *others, user=user):
            assert all("name" not in live for live in world.live())
            assert all("name" not in opened for opened in world.opened())
            assert world.library.sessions == {}

    @pytest.mark.parametrize("others", [(look,), (write("a"),), (write("a"), write("b"))])
    @pytest.mark.parametrize("revocation", [revoke, revoke_all])
    def test_what_was_revoked_stays_so(self, orders: Orders, others: tuple[Deed, ...], revocation: Deed) -> None:
        """Promise 19: if the session was known by then; one that is carried over later is another matter."""
        for world in orders(revocation, *others):
            was_there = bool(world.revoked[0])
            assert any("name" in live for live in world.live()) != was_there
            assert any("name" in opened for opened in world.opened()) != was_there
            assert world.library.sessions == {}

    @pytest.mark.parametrize("other", [look, write("a")])
    def test_who_signs_in_keeps_what_the_others_did_before(self, orders: Orders, other: Deed) -> None:
        """Promise 18: an anonymous visitor, and what is done after the sign-in is not theirs."""
        for world in orders(sign_in("7"), other, user=None):
            assert world.all_saw
            (info,) = world.manager.sessions_of("7")
            assert info.data.items() >= {**ANNA, "signed in": True}.items()
            assert [token[:12] for token in world.told] == [info.id] * len(world.told)
            assert dict(info.data) in world.opened()
            assert world.site.seen == {key: value for key, value in info.data.items() if key != "signed in"}

    def test_a_double_click_signs_in_once(self, orders: Orders) -> None:
        """Promise 20: either cookie is that of the one session."""
        for world in orders(sign_in("7"), sign_in("7"), user=None):
            (info,) = world.manager.sessions_of("7")
            assert len(world.told) == 2
            assert [world.site.opened(token) for token in world.told] == [info.data] * 2
            assert world.live() == [info.data]

    @pytest.mark.parametrize("other", [look, write("a")])
    def test_who_proves_who_they_are_again_is_alone(self, orders: Orders, other: Deed) -> None:
        """Promise 18: of the cookies only that of the sign-in works, and one that a write after it may have begun."""
        for world in orders(sign_in("7"), other):
            (info,) = world.manager.sessions_of("7")
            assert info.data.items() >= {**ANNA, "signed in": True}.items()
            assert [opened for opened in world.opened() if "name" in opened] == [info.data]
            assert world.site.seen == {}

    @pytest.mark.parametrize("other", [look, write("a")])
    def test_another_user_who_signs_in_ends_the_session(self, orders: Orders, other: Deed) -> None:
        """Promise 18."""
        for world in orders(sign_in("8"), other):
            (info,) = world.manager.sessions_of("8")
            assert info.data == {"signed in": True}
            assert all("name" not in live for live in world.live())
            assert world.manager.sessions_of("7") == []
            assert world.library.sessions == {}

    @pytest.mark.parametrize("other", [look, write("a"), count])
    def test_a_new_secret_keeps_what_the_others_did(self, orders: Orders, other: Deed) -> None:
        """Promise 3: and it is the only one, but for who was told another before it."""
        for world in orders(renew, other):
            (live,) = [live for live in world.live() if "name" in live]
            assert live.items() >= {**ANNA, "regenerated": True}.items()
            assert ("a" in live or "count" in live or other is look) or {} in world.saw
            assert [opened for opened in world.opened() if "name" in opened] == [live]


@pytest.mark.parametrize("kind", EMBEDDED)
def test_threads_at_once(kind: str, tmp_path: Path, backends: Backends) -> None:
    """Promises 3 and 4: real threads, real time: one session, all changes, one cookie."""
    with a_store(kind, tmp_path, backends) as store:
        for number in range(30):
            world = World(store, "7")
            deeds = [write("a"), write("b"), write("c"), count, count, look]
            assert race(*[partial(world.request, deed) for deed in deeds]) == ["200 OK"] * 6
            (info,) = world.manager.sessions_of("7")
            assert info.data == ANNA | {"a": True, "b": True, "c": True, "count": 2}, number
            assert world.all_saw
            assert len(world.told) == 1
            assert world.opened() == [info.data] * 2
            assert race(*[partial(world.request, deed) for deed in (end, write("d"), look, count)]) == ["200 OK"] * 4
            assert all("name" not in opened for opened in world.opened())
            world.store.empty()
