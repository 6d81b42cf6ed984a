"""A server that says nothing costs the SQLAlchemy store its budget, and then nothing: F-N3."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, filled, race
from tests.backends.mariadb import SecretMariaDBServer
from tests.backends.postgresql import SecretPostgresServer
from tests.backends.proxy import FaultProxy
from tests.backends.running import PATIENCE
from tests.stores.budgets import served
from tests.stores.sqlalchemy.databases import Database
from tests.stores.sqlalchemy.faults.recovery import LATE, forget_failures, recover, refused_after, verbs

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]

BUDGET = 0.25


@pytest.fixture
def far(database: Database, proxy: FaultProxy, table: str, store: SQLAlchemyStore) -> Iterator[SQLAlchemyStore]:
    """A store on the same table, at the other end of the proxy, that has a short budget."""
    far = SQLAlchemyStore(database.url(port=proxy.port), table=table, timeout=BUDGET)
    recover(far)
    yield far
    proxy.heal()
    far.close()


def begun(begin: Callable[[], Iterator[str]]) -> Iterator[str]:
    """Begin a list; anew, if its first page took too long on a machine that is late."""

    def first_page() -> Iterator[str]:
        listing = begin()
        next(listing)
        return listing

    return served(first_page, within=10)


class TestSilence:
    """F-N3: a server that says nothing costs the budget, and then nothing."""

    def test_a_server_that_stops_costs_each_verb_its_budget_at_most(self, database: Database, table: str) -> None:
        """Connections that are open, and new ones; the first verb after a pause and all that come at once."""
        with closing(SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)) as patient:
            version = created(patient, key := a_key()).version
        store = SQLAlchemyStore(database.url(), table=table, timeout=BUDGET)
        recover(store)
        took = {}
        database.pause()
        try:
            for name in ("keys_of", "load", "create", "update"):
                forget_failures(store)
                took[name] = refused_after(verbs(store, key, version)[name], BUDGET)
            took["at once"] = refused_after(lambda: store.load(key))
        finally:
            database.resume()
        recover(store)

        assert max(took.values()) <= 1.1 * BUDGET + LATE, took
        assert took["at once"] < LATE
        store.close()

    @pytest.mark.soak
    @pytest.mark.parametrize("fault", ["black_hole", "drop", "trickle"])
    def test_the_budget_holds_to_a_tenth(
        self, database: Database, proxy: FaultProxy, store: SQLAlchemyStore, table: str, fault: str
    ) -> None:
        """F-N3: with the default budget, on a machine that has nothing else to do."""
        far = SQLAlchemyStore(database.url(port=proxy.port), table=table)
        took = []
        for number in range(15):
            if number % 2:  # with an open connection, and without
                proxy.heal()
                recover(far)
            key = a_key()
            proxy.trickle(0.05, towards="client") if fault == "trickle" else getattr(proxy, fault)()
            forget_failures(far)
            took.append(refused_after(lambda key=key: far.load(key), 1.0))  # type: ignore[misc]
        proxy.heal()
        recover(far)
        far.close()

        assert max(took) <= 1.1, sorted(took)[-5:]

    @pytest.mark.parametrize("fault", ["black_hole", "drop"])
    def test_a_network_that_swallows_everything_is_the_same(
        self, proxy: FaultProxy, store: SQLAlchemyStore, far: SQLAlchemyStore, fault: str
    ) -> None:
        """Whether it accepts connections or not."""
        key = recover(far)
        getattr(proxy, fault)()
        took = []
        for _ in range(2):
            forget_failures(far)
            took.append(refused_after(lambda: far.load(key), BUDGET))
        proxy.heal()
        recover(far)

        assert max(took) <= 1.1 * BUDGET + LATE
        assert store.load(key)

    def test_a_list_that_is_late_keeps_nobody_from_asking(
        self, proxy: FaultProxy, store: SQLAlchemyStore, far: SQLAlchemyStore
    ) -> None:
        """Promise 7: there is more to answer than for a session, and so it is no sign of the server being away."""
        filled(store, 1200, user_id="alice")
        for begin in (lambda: far.keys_of("alice"), far.keys):
            listing = begun(begin)
            proxy.latency(2 * BUDGET)
            took = refused_after(lambda: list(listing), BUDGET)  # noqa: B023 - called at once
            assert took <= 1.1 * BUDGET + LATE
            assert not far._database._breaker.is_open
            proxy.heal()
            recover(far)

    def test_one_byte_at_a_time_is_not_an_answer(
        self, proxy: FaultProxy, store: SQLAlchemyStore, far: SQLAlchemyStore
    ) -> None:
        """The budget is for the whole verb, not for each piece of what comes."""
        created(store, key := a_key(), a_record(b"x" * 200))
        proxy.trickle(BUDGET / 8, towards="client")
        took = []
        for _ in range(2):
            forget_failures(far)
            took.append(refused_after(lambda: far.load(key), BUDGET))
        proxy.heal()
        recover(far)

        assert max(took) <= 1.1 * BUDGET + LATE

    def test_many_threads_do_not_wait_for_each_other(self, proxy: FaultProxy, far: SQLAlchemyStore) -> None:
        """All of a site's threads are refused within the budget of one."""
        key = recover(far)
        proxy.black_hole()

        took = race(*[lambda: refused_after(lambda: far.load(key), BUDGET)] * 16)
        assert max(took) <= 1.1 * BUDGET + LATE
        proxy.heal()

    def test_a_slow_server_is_waited_for(self, proxy: FaultProxy, patient: SQLAlchemyStore) -> None:
        """F-N4: an answer within the budget is an answer."""
        created(patient, key := a_key())
        proxy.latency(0.1)

        assert patient.load(key)


class TestSilenceByTLS:
    @pytest.mark.parametrize("kind", ["secret_postgresql", "secret_mariadb"])
    def test_a_server_that_falls_silent_costs_the_budget(
        self, kind: str, table: str, request: pytest.FixtureRequest
    ) -> None:
        """F-N3: on a connection that is open, on a new one, and in the middle of the handshake."""
        secret: SecretPostgresServer | SecretMariaDBServer = request.getfixturevalue(kind)
        took = []
        with FaultProxy(secret.port) as proxy:
            patient = SQLAlchemyStore(secret.url(port=proxy.port), table=table, timeout=PATIENCE)
            created(patient, key := a_key())
            patient.close()
            store = SQLAlchemyStore(secret.url(port=proxy.port), table=table, timeout=0.5)
            recover(store)
            proxy.black_hole()
            for _ in range(2):  # the first has a connection, the second needs one
                forget_failures(store)
                took.append(refused_after(lambda: store.load(key), 0.5))
            proxy.heal()
            recover(store)
            store.close()
            # What the server says before the handshake has less than 150 bytes; what it says in it has more.
            proxy.trickle(0.5 / 150, towards="client")
            took.append(refused_after(lambda: store.load(key), 0.5))
            proxy.heal()
            recover(store)
            store.close()
            assert patient.load(key)
            patient.close()

        assert max(took) <= 0.55 + LATE, took
