"""Two requests on one session, in every order of their store calls."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest

from session_middleware import ConflictError, Session, SessionMiddleware, Store, get_session
from tests.backends.running import SERVED
from tests.interleaving import Outcome, SteppedStore, every_order, some_orders

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

Action = Callable[["World", Session], None]


class World:
    """A site with one browser that has a session; each request of it runs one action."""

    def __init__(self, store: Store, data: dict[str, Any], user_id: str | None) -> None:
        self.store = SteppedStore(store)
        self.application = SessionMiddleware(self._app, self.store)
        self.manager = self.application.manager
        self.token = self.request(lambda _, session: _begin(session, data, user_id))[1]
        assert self.token is not None
        self.writers: set[str] = set()
        """The keys written by requests that had the session."""

    def _app(self, environ: dict[str, Any], start_response: Any) -> list[bytes]:
        environ["test.action"](self, get_session(environ))
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"mine"]

    def request(self, action: Action, token: str | None = None) -> tuple[str, str | None]:
        """Return the status and the token that the response sets, if it sets one; "" if it removes the cookie."""
        seen: list[tuple[str, str | None]] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], None]:
            cookies = [value for name, value in headers if name == "Set-Cookie"]
            assert len(cookies) <= 1
            seen.append((status, cookies[0].partition("=")[2].partition(";")[0] if cookies else None))
            return lambda data: None

        environ = {"REQUEST_METHOD": "GET", "wsgi.url_scheme": "http", "test.action": action}
        if token is not None:
            environ["HTTP_COOKIE"] = f"session={token}"
        body = b"".join(self.application(environ, start_response))
        assert body == b"mine", body
        return seen[0]

    def data(self, token: str | None) -> dict[str, Any]:
        """Return what the session of *token* holds now, and nothing if it is dead."""
        return dict(self.manager.open(token))

    def live(self) -> list[dict[str, Any]]:
        """Return the data of every live session in the store, whoever knows its token."""
        found = [self.manager._sessions.find(key) for key in list(self.store.keys())]
        return [session[1] for session in found if isinstance(session, tuple)]


def _begin(session: Session, data: dict[str, Any], user_id: str | None) -> None:
    session.update(data)
    if user_id is not None:
        session.login(user_id)


Orders = Callable[..., Iterator[tuple[World, Outcome]]]


@pytest.fixture
def orders(store: Store) -> Orders:
    """Every order of the given actions, each outcome checked for what holds always."""

    def run(*actions: Action, user_id: str | None = None, sample: int | None = None) -> Iterator[tuple[World, Outcome]]:
        def world() -> tuple[SteppedStore, list[Callable[[], Any]], World]:
            made = World(store, {"a": 1, "old": [1]}, user_id)
            return made.store, [partial(made.request, action, made.token) for action in actions], made

        count = 0
        for made, outcome in every_order(world) if sample is None else some_orders(world, sample):
            count += 1
            assert outcome.errors == [None] * len(actions), (outcome.schedule, outcome.errors)
            assert [status for status, _ in outcome.results] == ["200 OK"] * len(actions), outcome.schedule
            yield made, outcome
            made.store.empty()
        assert count > 1

    return run


def set_key(key: str, value: object = True) -> Action:
    def action(world: World, session: Session) -> None:
        if session.get("a") == 1:
            world.writers.add(key)
        session[key] = value

    return action


def read(world: World, session: Session) -> None:
    session.get("a")


def logout(world: World, session: Session) -> None:
    session.invalidate()


def regenerate(world: World, session: Session) -> None:
    session["regenerated"] = True
    session.regenerate()


def login(user_id: str, key: str) -> Action:
    def action(world: World, session: Session) -> None:
        session.login(user_id)
        session[key] = True

    return action


def transact(world: World, session: Session) -> None:
    def add(data: dict[str, Any]) -> None:
        data["n"] = data.get("n", 0) + 1

    if session.get("a") == 1:
        world.writers.add("n")
    session.transact(add)


def revoke_all(world: World, session: Session) -> None:
    world.manager.revoke_all("alice")


def token_of(outcome: Outcome, number: int) -> str | None:
    token: str | None = outcome.results[number][1]
    return token


def test_writes_to_different_keys_both_survive(orders: Orders) -> None:
    """Promise 3: parallel requests never lose each other's changes."""
    for world, outcome in orders(set_key("x"), set_key("y")):
        assert world.data(world.token) == {"a": 1, "old": [1], "x": True, "y": True}, outcome.schedule


def test_a_delete_and_a_nested_change_both_survive(orders: Orders) -> None:
    """Promises 3 and 8: one request deletes a key while another changes inside a value."""

    def delete(world: World, session: Session) -> None:
        del session["a"]

    def append(world: World, session: Session) -> None:
        session["old"].append(2)

    for world, outcome in orders(delete, append):
        assert world.data(world.token) == {"old": [1, 2]}, outcome.schedule


def test_writes_to_one_key_leave_the_one_or_the_other(orders: Orders) -> None:
    """Promise 3: the same key keeps one of the values whole."""
    for world, outcome in orders(set_key("x", [1]), set_key("x", [2])):
        assert world.data(world.token)["x"] in ([1], [2]), outcome.schedule


def test_transactions_on_one_key_both_count(orders: Orders) -> None:
    """Promise 4: an atomic read-modify-write."""
    for world, outcome in orders(transact, transact):
        assert world.data(world.token)["n"] == 2, outcome.schedule


def test_a_transaction_and_a_write_both_survive(orders: Orders) -> None:
    """Promises 3 and 4."""
    for world, outcome in orders(transact, set_key("x")):
        assert world.data(world.token) == {"a": 1, "old": [1], "n": 1, "x": True}, outcome.schedule


def test_a_reader_does_not_disturb_a_writer(orders: Orders) -> None:
    """Promises 2 and 3: reading writes nothing, so it can undo nothing."""
    for world, outcome in orders(read, set_key("x")):
        assert world.data(world.token) == {"a": 1, "old": [1], "x": True}, outcome.schedule


@pytest.mark.parametrize("other", [set_key("x"), read, transact, regenerate, logout])
def test_logout_is_final(orders: Orders, other: Action) -> None:
    """Promise 5: nothing in flight brings an ended session back, and the other request keeps its response."""
    for world, outcome in orders(other, logout):
        assert world.data(world.token) == {}, outcome.schedule
        assert not any("old" in data for data in world.live()), outcome.schedule


@pytest.mark.parametrize("other", [set_key("x"), regenerate, login("alice", "x")])
def test_revoking_all_sessions_of_a_user_leaves_none_behind(orders: Orders, other: Action) -> None:
    """Promise 5: a request in flight does not carry the session past the revocation; a new sign-in may follow it."""
    for world, outcome in orders(other, revoke_all, user_id="alice"):
        assert world.data(world.token) == {}, outcome.schedule
        assert len(world.live()) <= (token_of(outcome, 0) is not None), outcome.schedule


@pytest.mark.parametrize(
    ("other", "move"),
    [(set_key("x"), regenerate), (transact, regenerate), (set_key("x"), login("alice", "regenerated"))],
)
def test_a_write_survives_a_new_token(orders: Orders, other: Action, move: Action) -> None:
    """Promises 3 and 11: who had the session before it moved loses nothing; the old token is dead at once."""
    for world, outcome in orders(other, move):
        token = token_of(outcome, 1)
        assert token is not None
        assert token_of(outcome, 0) is None, outcome.schedule
        assert world.data(token).keys() >= {"a", "old", "regenerated"} | world.writers, outcome.schedule
        assert world.data(world.token) == {}, outcome.schedule
        assert len(world.live()) == 1, outcome.schedule


def test_a_transaction_is_not_lost_over_a_sign_in_without_a_word(orders: Orders) -> None:
    """Promises 4 and 11: it may not see what the sign-in brought, so then it raises."""
    refused: list[bool] = []

    def careful(world: World, session: Session) -> None:
        with suppress(ConflictError):
            transact(world, session)
            refused.append(False)
            return
        world.writers.clear()
        refused.append(True)

    for world, outcome in orders(careful, login("alice", "y")):
        data = world.data(token_of(outcome, 1))
        assert data.keys() == {"a", "old", "y"} | world.writers, outcome.schedule
    assert set(refused) == {True, False}


def test_a_write_from_before_a_sign_in_does_not_overwrite_what_came_with_it(orders: Orders) -> None:
    """Promise 11: who shared the session before the sign-in cannot set the keys that the sign-in sets."""

    def sign_in(world: World, session: Session) -> None:
        session.login("alice")
        session["role"] = "customer"

    for world, outcome in orders(set_key("role", "admin"), sign_in):
        assert world.data(token_of(outcome, 1))["role"] == "customer", outcome.schedule


def test_two_regenerations_leave_one_session_that_one_response_names(orders: Orders) -> None:
    """Promises 3 and 11: in whatever order the responses arrive, the browser keeps the live token."""
    for world, outcome in orders(regenerate, regenerate):
        tokens = {token_of(outcome, 0), token_of(outcome, 1)} - {None}
        assert len(tokens) == 1, outcome.schedule
        assert len(world.live()) == 1, outcome.schedule
        assert world.data(tokens.pop()) == {"a": 1, "old": [1], "regenerated": True}, outcome.schedule
        assert world.data(world.token) == {}, outcome.schedule


def test_two_sign_ins_of_one_user_both_work_and_lose_nothing(orders: Orders) -> None:
    """Promises 3 and 11: each response's token opens the session, with what both requests did; the old token is dead."""
    for world, outcome in orders(login("alice", "x"), login("alice", "y")):
        for number, key in ((0, "x"), (1, "y")):
            token = token_of(outcome, number)
            assert token is not None
            assert world.data(token)[key] is True, outcome.schedule
            assert world.manager.open(token).user_id == "alice"
        assert world.data(world.token) == {}, outcome.schedule


def test_two_sign_ins_of_different_users_never_share_data(orders: Orders) -> None:
    """Promise 11: what one user's sign-in wrote is not in the session of the other."""
    for world, outcome in orders(login("alice", "x"), login("bob", "y")):
        first, second = (world.data(token_of(outcome, number)) for number in (0, 1))
        assert "x" in first, outcome.schedule
        assert "y" in second, outcome.schedule
        assert "y" not in first, outcome.schedule
        assert "x" not in second, outcome.schedule
        assert world.data(world.token) == {}, outcome.schedule


def test_a_write_for_the_former_user_does_not_reach_the_next(orders: Orders) -> None:
    """Promise 5: signing in as somebody else ends the session of the former user, with all that was in flight."""
    for world, outcome in orders(set_key("x"), login("bob", "y"), user_id="alice"):
        assert world.data(token_of(outcome, 1)) == {"y": True}, outcome.schedule
        assert world.manager.sessions_of("alice") == []


def test_a_pre_login_request_never_sees_what_the_sign_in_brought(orders: Orders) -> None:
    """Promise 11: a token known before the sign-in reads nothing that was written after it (fixation)."""
    seen: list[dict[str, Any]] = []

    def spy(world: World, session: Session) -> None:
        seen.append(dict(session))
        session["spied"] = True
        with suppress(ConflictError):
            session.transact(lambda data: seen.append(dict(data)))
        seen.append(dict(session))

    for _world, outcome in orders(spy, login("alice", "secret")):
        assert not any("secret" in data for data in seen), outcome.schedule


@pytest.mark.soak
@pytest.mark.parametrize(
    "actions",
    [
        (set_key("x"), set_key("y"), set_key("z")),
        (set_key("x"), regenerate, logout),
        (set_key("x"), login("alice", "y"), regenerate),
        (transact, transact, regenerate),
        (transact, set_key("x"), logout),
    ],
)
def test_three_requests_keep_the_promises_of_two(
    request: pytest.FixtureRequest, orders: Orders, actions: tuple[Action, ...]
) -> None:
    """Promises 3 and 5, in a thousand orders of three requests; in two hundred where a server is asked."""
    is_served = request.node.callspec.params["store"] in SERVED
    for world, outcome in orders(*actions, sample=200 if is_served else 1000):
        tokens = [token for token in (world.token, *(token_of(outcome, n) for n in range(3))) if token]
        holders = [data for data in map(world.data, tokens) if "old" in data]
        if logout in actions:
            assert not any("old" in data for data in world.live()), outcome.schedule
        else:
            assert any(data.keys() >= world.writers for data in holders), outcome.schedule
