"""Two requests on one session, in every order of their store calls: nothing is lost, nothing comes back."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from session_middleware import ConflictError, Session, Store
from session_middleware.rules import Opens
from session_middleware.testing.orders import Outcome
from tests.backends.running import SERVED
from tests.races.worlds import (
    DATA,
    USER,
    Action,
    World,
    increment,
    login,
    logout,
    orders,
    read,
    regenerate,
    set_key,
    token_of,
    transact,
)

# Thousands of requests: measuring what they cover would take most of the time, and other tests cover as much.
pytestmark = pytest.mark.unmeasured

Run = Callable[..., Iterator[tuple[World, Outcome]]]


@pytest.fixture
def run(store: Store, request: pytest.FixtureRequest) -> Run:
    """Runs actions in every order, or in a sample of them; where a server is asked in at most 50, and in the soak in 200."""
    if request.node.callspec.params["store"] not in SERVED:
        return partial(orders, store)
    most = 200 if request.node.get_closest_marker("soak") else 50

    def some(*actions: Action, sample: int = most, **options: Any) -> Iterator[tuple[World, Outcome]]:
        return orders(store, *actions, sample=min(sample, most), **options)

    return some


def revoke(world: World, session: Session) -> None:
    world.manager.revoke(world.token.id)


def revoke_all(world: World, session: Session) -> None:
    world.manager.revoke_all(USER)


def revoke_all_but_this(world: World, session: Session) -> None:
    session.login(USER)
    world.manager.revoke_all(USER, keep=session.id)


class TestChanges:
    def test_writes_to_different_keys_both_survive(self, run: Run) -> None:
        """Promise 3: parallel requests never lose each other's changes."""
        for world, outcome in run(set_key("x"), set_key("y")):
            assert world.data(world.token) == {**DATA, "x": True, "y": True}, outcome.schedule

    def test_a_delete_and_a_nested_change_both_survive(self, run: Run) -> None:
        """Promises 3 and 8: one request deletes a key while another changes inside a value."""

        def delete(world: World, session: Session) -> None:
            del session["a"]

        def append(world: World, session: Session) -> None:
            session["old"].append(2)

        for world, outcome in run(delete, append):
            assert world.data(world.token) == {"old": [1, 2]}, outcome.schedule

    def test_a_change_in_place_does_not_bring_back_a_deleted_key(self, run: Run) -> None:
        """Promise 3: nobody asked for it to be there, unless the change came first."""

        def delete(world: World, session: Session) -> None:
            session.pop("old", None)

        def append(world: World, session: Session) -> None:
            session.get("old", []).append(2)

        for world, outcome in run(delete, append):
            assert world.data(world.token) == {"a": 1}, outcome.schedule

    def test_writes_to_one_key_leave_the_one_or_the_other(self, run: Run) -> None:
        """Promise 3: the same key keeps one of the values whole."""
        for world, outcome in run(set_key("x", [1]), set_key("x", [2])):
            assert world.data(world.token)["x"] in ([1], [2]), outcome.schedule

    def test_a_reader_does_not_disturb_a_writer(self, run: Run) -> None:
        """Promises 2 and 3: reading writes nothing, so it can undo nothing."""
        for world, outcome in run(read, set_key("x")):
            assert world.data(world.token) == {**DATA, "x": True}, outcome.schedule

    def test_late_changes_of_two_streams_both_survive(self, run: Run) -> None:
        """Promise 3, W-3: before the first byte and after it."""

        def stream(key: str) -> Action:
            def action(world: World, session: Session) -> Iterator[None]:
                session[f"{key} early"] = True
                yield
                session[f"{key} late"] = True

            return action

        for world, outcome in run(stream("x"), stream("y"), sample=300):
            expected = {f"{key} {when}": True for key in "xy" for when in ("early", "late")}
            assert world.data(world.token) == DATA | expected, outcome.schedule


class TestTransactions:
    def test_both_count(self, run: Run) -> None:
        """Promise 4: an atomic read-modify-write."""
        for world, outcome in run(transact, transact):
            assert world.data(world.token)["n"] == 2, outcome.schedule

    def test_one_and_a_write_both_survive(self, run: Run) -> None:
        """Promises 3 and 4."""
        for world, outcome in run(transact, set_key("x")):
            assert world.data(world.token) == {**DATA, "n": 1, "x": True}, outcome.schedule

    def test_one_beside_a_regenerate_counts(self, run: Run) -> None:
        """Promise 4: whichever comes first, and also if the regenerate counts, too."""

        def regenerate_and_count(world: World, session: Session) -> None:
            session.regenerate()
            session.transact(increment)

        for other, counted in ((regenerate, 1), (regenerate_and_count, 2)):
            for world, outcome in run(transact, other):
                token = token_of(outcome, 1)
                is_there = "n" in world.writers
                assert world.data(token).get("n", 0) == counted - (not is_there), outcome.schedule
                assert world.data(world.token) == {}, outcome.schedule

    @pytest.mark.parametrize("user_id", [None, USER])
    def test_one_beside_a_sign_in_counts_or_raises(self, run: Run, user_id: str | None) -> None:
        """Promises 4 and 18: never lost without a word, and never beyond the boundary; a re-authentication is one, too."""
        refused: set[bool] = set()

        def careful(world: World, session: Session) -> None:
            is_there = session.get("a") == 1 and session.is_gone is False
            try:
                session.transact(increment)
            except ConflictError:
                refused.add(True)
            else:
                refused.add(False)
                if is_there:
                    world.writers.add("n")

        for world, outcome in run(careful, login(USER, y=True), user_id=user_id):
            data = world.data(token_of(outcome, 1))
            assert data.keys() == {*DATA, "y"} | world.writers, outcome.schedule
        assert refused == {True, False}

    @pytest.mark.parametrize("user_id", [None, USER])
    def test_those_of_two_sign_ins_both_count(self, run: Run, user_id: str | None) -> None:
        """Promises 4 and 20: a double click on a page that counts sign-ins."""

        def sign_in_and_count(world: World, session: Session) -> None:
            session.login(USER)
            session.transact(increment)

        for world, outcome in run(sign_in_and_count, sign_in_and_count, user_id=user_id):
            for number in (0, 1):
                assert world.data(token_of(outcome, number))["n"] == 2, outcome.schedule

    def test_one_beside_a_revocation_goes_with_the_session(self, run: Run) -> None:
        """Promises 4 and 5: one that comes later counts in a session of its own."""
        for world, outcome in run(transact, revoke):
            assert world.live() in ([], [{"n": 1}]), outcome.schedule
            assert (world.live() == []) == (token_of(outcome, 0) is None), outcome.schedule


class TestEnds:
    @pytest.mark.parametrize("other", [set_key("x"), read, transact, logout])
    @pytest.mark.parametrize("user_id", [None, USER])
    def test_logout_is_final(self, run: Run, other: Action, user_id: str | None) -> None:
        """Promise 5: nothing in flight brings an ended session back, and the other request keeps its response."""
        for world, outcome in run(other, logout, user_id=user_id):
            assert world.data(world.token) == {}, outcome.schedule
            assert not any("old" in data for data in world.live()), outcome.schedule

    @pytest.mark.parametrize("user_id", [None, USER])
    def test_logout_beside_a_regenerate_is_final_unless_it_comes_with_the_replaced_secret(
        self, run: Run, user_id: str | None
    ) -> None:
        """Promises 5 and 18: what the secret does not open any more, it does not end; the browser has another one."""
        for world, outcome in run(regenerate, logout, user_id=user_id):
            log = [(number, verb) for number, verb, _, done in world.store.log if done]
            came_too_late = (0, "update") in log and log.index((0, "update")) < log.index((1, "load"))
            assert any("old" in data for data in world.live()) == came_too_late, outcome.schedule
            assert outcome.results[1].forgets != came_too_late, outcome.schedule
            assert ("old" in world.data(token_of(outcome, 0))) == came_too_late, outcome.schedule

    @pytest.mark.parametrize("other", [set_key("x"), transact, regenerate, login(USER, x=True), logout])
    def test_a_revoked_session_is_gone(self, run: Run, other: Action) -> None:
        """Promise 19: by its id, whatever it does meanwhile; who signs in has a new session without anything of it."""
        for world, outcome in run(other, revoke, user_id=USER):
            assert world.manager.find(world.token.id) is None, outcome.schedule
            assert not any("old" in data for data in world.live()), outcome.schedule

    @pytest.mark.parametrize("other", [set_key("x"), transact, regenerate, logout])
    def test_revoking_all_sessions_of_a_user_leaves_none_behind(self, run: Run, other: Action) -> None:
        """Promise 19: a request in flight does not carry the session past the revocation."""
        for world, outcome in run(other, revoke_all, user_id=USER):
            assert world.manager.sessions_of(USER) == [], outcome.schedule
            assert not any("old" in data for data in world.live()), outcome.schedule

    @pytest.mark.parametrize("user_id", [None, USER])
    def test_a_sign_in_that_began_before_a_revocation_ends_and_one_that_began_after_it_stays(
        self, run: Run, user_id: str | None
    ) -> None:
        """Promise 19: it begins when login() reads the mark; the revocation begins when it writes that, and then returns."""
        for world, outcome in run(login(USER), revoke_all, user_id=user_id):
            token = token_of(outcome, 0)
            is_alive = world.user(token) == USER if token else False
            log = [(number, verb) for number, verb, _, _ in world.store.log]
            marked, returned = log.index((1, "create")), max(at for at, (number, _) in enumerate(log) if number == 1)
            began = [at for at, entry in enumerate(log) if entry == (0, "load")][1]
            assert not (is_alive and began < marked), (outcome.schedule, log)
            assert not (began > returned and not is_alive), (outcome.schedule, log)
            assert len(world.manager.sessions_of(USER)) == is_alive, outcome.schedule

    def test_two_sign_ins_that_each_sign_out_all_others_leave_one_or_both_of_one_session(self, run: Run) -> None:
        """Promise 19: nobody ends up without, and there are never two sessions."""
        for world, outcome in run(revoke_all_but_this, revoke_all_but_this, sample=200):
            assert len(world.manager.sessions_of(USER)) == 1, outcome.schedule
            tokens = [token for token in (token_of(outcome, 0), token_of(outcome, 1)) if token]
            assert tokens, outcome.schedule
            assert any(world.user(token) == USER for token in tokens), outcome.schedule


class TestNewSecrets:
    @pytest.mark.parametrize("other", [set_key("x"), transact, read])
    @pytest.mark.parametrize("user_id", [None, USER])
    def test_a_write_survives_a_regenerate(self, run: Run, other: Action, user_id: str | None) -> None:
        """Promises 3 and 11: who had the session before loses nothing; the old token is dead at once."""
        for world, outcome in run(other, regenerate, user_id=user_id):
            token = token_of(outcome, 1)
            assert token is not None
            assert token_of(outcome, 0) is None, outcome.schedule
            assert world.data(token).keys() >= {*DATA, "regenerated"} | world.writers, outcome.schedule
            assert world.opens(world.token) is Opens.SNAPSHOT, outcome.schedule
            assert len(world.live()) == 1, outcome.schedule

    def test_of_two_regenerates_one_response_names_the_secret(self, run: Run) -> None:
        """Promises 3 and 11: in whatever order the responses arrive, the browser keeps the live token."""
        for world, outcome in run(regenerate, regenerate):
            tokens = {token_of(outcome, 0), token_of(outcome, 1)} - {None}
            assert len(tokens) == 1, outcome.schedule
            assert world.live() == [{**DATA, "regenerated": True}], outcome.schedule
            assert world.data(tokens.pop()) == {**DATA, "regenerated": True}, outcome.schedule
            assert world.data(world.token) == {}, outcome.schedule

    def test_a_changed_lifetime_never_sends_a_dead_token(self, run: Run) -> None:
        """Promise 20: in whatever order the responses arrive, what they name is alive."""

        def remember(world: World, session: Session) -> None:
            session.set_lifetime(persistent=True)

        for world, outcome in run(remember, regenerate):
            new, same = token_of(outcome, 1), token_of(outcome, 0)
            assert world.opens(new) is Opens.SESSION, outcome.schedule
            if same is not None:
                log = [number for number, verb, _, done in world.store.log if verb == "update" and done]
                assert log == [0, 1], outcome.schedule

    def test_two_sign_ins_of_one_user_are_one_session_that_both_responses_open(self, run: Run) -> None:
        """Promises 3 and 20: each response's token opens it, with what both requests did; the old token is dead."""
        for world, outcome in run(login(USER, x=True), login(USER, y=True)):
            for number in (0, 1):
                token = token_of(outcome, number)
                assert world.user(token) == USER, outcome.schedule
                assert world.data(token) == {**DATA, "x": True, "y": True}, outcome.schedule
            assert len(world.live()) == 1, outcome.schedule
            assert world.data(world.token) == {}, outcome.schedule

    def test_two_sign_ins_of_different_users_never_share_data(self, run: Run) -> None:
        """Promise 18: what one user's sign-in wrote is not in the session of the other."""
        for world, outcome in run(login(USER, x=True), login("bob", y=True)):
            first, second = (world.data(token_of(outcome, number)) for number in (0, 1))
            assert "x" in first, outcome.schedule
            assert "y" in second, outcome.schedule
            assert "y" not in first, outcome.schedule
            assert "x" not in second, outcome.schedule
            assert world.data(world.token) == {}, outcome.schedule

    def test_a_write_for_the_former_user_does_not_reach_the_next(self, run: Run) -> None:
        """Promise 5: signing in as somebody else ends the session of the former user, with all that was in flight."""
        for world, outcome in run(set_key("x"), login("bob", y=True), user_id=USER):
            assert world.data(token_of(outcome, 1)) == {"y": True}, outcome.schedule
            assert world.manager.sessions_of(USER) == [], outcome.schedule


@pytest.mark.soak
@pytest.mark.parametrize(
    "actions",
    [
        (set_key("x"), set_key("y"), set_key("z")),
        (set_key("x"), regenerate, logout),
        (set_key("x"), regenerate, login(USER, y=True)),
        (transact, transact, regenerate),
        (transact, set_key("x"), logout),
        (login(USER, x=True), login(USER, y=True), set_key("z")),
        (login(USER, x=True), transact, revoke),
    ],
)
def test_three_requests_keep_the_promises_of_two(run: Run, actions: tuple[Any, ...]) -> None:
    """Promises 3 and 5, in a thousand orders of three requests."""
    signs_in = any(action.__qualname__.startswith("login") for action in actions)
    for world, outcome in run(*actions, sample=1000):
        tokens = [token for token in (world.token, *(token_of(outcome, n) for n in range(3))) if token]
        holders = [data for data in map(world.data, tokens) if "old" in data]
        # Who comes with a secret that a regenerate has replaced neither ends the session nor signs in to it.
        came_too_late = regenerate in actions and _came_after_an_update(world, 1, 2)
        if logout in actions or revoke in actions:
            assert any("old" in data for data in world.live()) == came_too_late, outcome.schedule
        elif not signs_in:
            assert any(data.keys() >= world.writers for data in holders), outcome.schedule
        else:
            assert len(world.live()) == 1 + came_too_late, outcome.schedule


def _came_after_an_update(world: World, one: int, other: int) -> bool:
    """Tell whether the request *other* first looked when the request *one* had replaced the record."""
    log = [(number, verb) for number, verb, _, done in world.store.log if done or verb == "load"]
    return (one, "update") in log and log.index((one, "update")) < log.index((other, "load"))
