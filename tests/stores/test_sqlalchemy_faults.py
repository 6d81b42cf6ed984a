"""The SQLAlchemy store when the server, the network, other transactions or the process itself do not behave."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread
from typing import TypeAlias

import pytest
from sqlalchemy import create_engine

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded, race
from tests.backends.mariadb import MariaDBServer, SecretMariaDBServer
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer, SecretPostgresServer
from tests.backends.process import free_port
from tests.backends.proxy import FaultProxy
from tests.stopwatch import Stopwatch
from tests.stores.forked import in_child, while_others_work

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]

Database: TypeAlias = PostgresServer | MariaDBServer

BUDGET = 0.25

# Where time is not what is tested, a busy machine is waited for (seconds).
PATIENCE = 10.0

# How late a thread may come to run on a busy machine (seconds).
LATE = 0.2


class KoreanPostgresServer(PostgresServer):
    """One that tells its errors in Korean, if the environment says so too, and its texts are installed."""

    def command(self) -> Sequence[str]:
        return [*super().command(), "--lc_messages=C.utf8"]


@pytest.fixture(params=["postgresql", "mariadb"])
def database(request: pytest.FixtureRequest) -> Database:
    server: Database = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def store(database: Database, table: str) -> Iterator[SQLAlchemyStore]:
    store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
    store.create_schema()
    yield store
    store.close()


@pytest.fixture
def proxy(database: Database) -> Iterator[FaultProxy]:
    with FaultProxy(database.port) as proxy:
        yield proxy


@pytest.fixture
def far(database: Database, proxy: FaultProxy, table: str, store: SQLAlchemyStore) -> Iterator[SQLAlchemyStore]:
    """A store on the same table, at the other end of the proxy, that has a short budget."""
    far = SQLAlchemyStore(database.url(port=proxy.port), table=table, timeout=BUDGET)
    recover(far)
    yield far
    proxy.heal()
    far.close()


@pytest.fixture
def patient(database: Database, proxy: FaultProxy, table: str, store: SQLAlchemyStore) -> Iterator[SQLAlchemyStore]:
    """A store on the same table, at the other end of the proxy, that has time."""
    patient = SQLAlchemyStore(database.url(port=proxy.port), table=table, timeout=PATIENCE)
    yield patient
    proxy.heal()
    patient.close()


def column(database: Database) -> str:
    return '"key"' if isinstance(database, PostgresServer) else "`key`"


def verbs(store: SQLAlchemyStore, key: str, version: object) -> dict[str, Callable[[], object]]:
    return {
        "create": lambda: store.create(a_key(), a_record()),
        "load": lambda: store.load(key),
        "update": lambda: store.update(key, a_record(b"new"), version=version),
        "remove": lambda: store.update(key, Record(b"", 0, None), version=version),
        "delete": lambda: store.delete(key),
        "sweep": lambda: store.sweep(10),
        "keys_of": lambda: listed(store, "alice"),
        "keys": lambda: list(store.keys()),
    }


def forget_failures(store: SQLAlchemyStore) -> None:
    """Let the next verb try, and not be refused at once for what happened to the last."""
    store._database._breaker.answered()


def refused_after(call: Callable[[], object]) -> float:
    """Return how long *call* took to say that the store is not available (seconds), but for what the machine was late."""
    with Stopwatch() as watch, pytest.raises(StoreUnavailable) as caught:
        call()
    assert "tests" in str(caught.value), "the message names the server"
    return watch.own


def recover(store: SQLAlchemyStore, *, within: float = PATIENCE) -> None:
    """Use the store until it works again."""
    deadline = time.monotonic() + within
    while True:
        try:
            created(store, a_key())
        except StoreUnavailable:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


class TestSilence:
    """F-N3: a server that says nothing costs the budget, and then nothing."""

    def test_a_server_that_stops_costs_each_verb_its_budget_at_most(self, database: Database, table: str) -> None:
        """Connections that are open, and new ones; the first verb after a pause and all that come at once."""
        SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE).create_schema()
        store = SQLAlchemyStore(database.url(), table=table, timeout=BUDGET)
        recover(store)
        version = created(store, key := a_key()).version
        took = {}
        database.pause()
        try:
            for name in ("keys_of", "load", "create", "update"):
                forget_failures(store)
                took[name] = refused_after(verbs(store, key, version)[name])
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
            took.append(refused_after(lambda key=key: far.load(key)))  # type: ignore[misc]
        proxy.heal()
        recover(far)
        far.close()

        assert max(took) <= 1.1, sorted(took)[-5:]

    @pytest.mark.parametrize("fault", ["black_hole", "drop"])
    def test_a_network_that_swallows_everything_is_the_same(
        self, proxy: FaultProxy, far: SQLAlchemyStore, fault: str
    ) -> None:
        """Whether it accepts connections or not."""
        created(far, key := a_key())
        getattr(proxy, fault)()
        took = []
        for _ in range(2):
            forget_failures(far)
            took.append(refused_after(lambda: far.load(key)))
        proxy.heal()
        recover(far)

        assert max(took) <= 1.1 * BUDGET + LATE
        assert far.load(key)

    def test_a_list_that_is_late_keeps_nobody_from_asking(
        self, proxy: FaultProxy, store: SQLAlchemyStore, far: SQLAlchemyStore
    ) -> None:
        """Promise 7: there is more to answer than for a session, and so it is no sign of the server being away."""
        filled(store, 1200, user_id="alice")
        for listing in (far.keys_of("alice"), far.keys()):
            next(listing)
            proxy.latency(2 * BUDGET)
            took = refused_after(lambda: list(listing))  # noqa: B023 - called at once
            assert took <= 1.1 * BUDGET + LATE
            assert not far._database._breaker.is_open
            proxy.heal()
            recover(far)

    def test_one_byte_at_a_time_is_not_an_answer(self, proxy: FaultProxy, far: SQLAlchemyStore) -> None:
        """The budget is for the whole verb, not for each piece of what comes."""
        created(far, key := a_key(), a_record(b"x" * 200))
        proxy.trickle(BUDGET / 8, towards="client")
        took = []
        for _ in range(2):
            forget_failures(far)
            took.append(refused_after(lambda: far.load(key)))
        proxy.heal()
        recover(far)

        assert max(took) <= 1.1 * BUDGET + LATE

    def test_many_threads_do_not_wait_for_each_other(self, proxy: FaultProxy, far: SQLAlchemyStore) -> None:
        """All of a site's threads are refused within the budget of one."""
        created(far, key := a_key())
        proxy.black_hole()

        took = race(*[lambda: refused_after(lambda: far.load(key))] * 16)
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
                took.append(refused_after(lambda: store.load(key)))
            proxy.heal()
            recover(store)
            store.close()
            # What the server says before the handshake has less than 150 bytes; what it says in it has more.
            proxy.trickle(0.5 / 150, towards="client")
            took.append(refused_after(lambda: store.load(key)))
            proxy.heal()
            recover(store)
            assert store.load(key)
            store.close()

        assert max(took) <= 0.55 + LATE, took


class TestBrokenConnections:
    def test_nobody_listening_is_refused_at_once(self, table: str) -> None:
        """F-N2: the budget is not waited for."""
        for scheme in ("postgresql", "mariadb"):
            store = SQLAlchemyStore(f"{scheme}://tests@127.0.0.1:{free_port()}/tests", table=table, timeout=PATIENCE)

            assert refused_after(lambda store=store: store.load(a_key())) < PATIENCE / 5  # type: ignore[misc]

    def test_connections_that_were_ended_meanwhile_are_replaced(self, database: Database, store: SQLAlchemyStore) -> None:
        """F-N9: no verb fails because a connection did not survive its rest."""
        race(*[lambda: created(store, a_key())] * 4)
        for name in verbs(store, "", None):
            version = created(store, key := a_key()).version
            database.end_connections()

            assert verbs(store, key, version)[name]() not in (None, False) or name == "sweep", name

    def test_connections_of_an_application_are_replaced_too(self, database: Database, table: str) -> None:
        """F-N9: as many as were idle in its pool."""
        engine = create_engine(database.url(), pool_size=8)
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        store.create_schema()
        race(*[lambda: created(store, a_key())] * 4)
        key = a_key()
        created(store, key)
        database.end_connections()

        assert store.load(key)
        engine.dispose()

    @pytest.mark.parametrize("every", [7, pytest.param(1, marks=pytest.mark.soak)])
    def test_a_reset_at_any_byte_of_the_answer_mixes_nothing_up(
        self, every: int, proxy: FaultProxy, patient: SQLAlchemyStore
    ) -> None:
        """F-N4: a verb tells what is true, or that it does not know; and the next reads no answer but its own."""
        sizes = {}
        for name in ("load", "update"):
            version = created(patient, key := a_key()).version
            before = proxy.bytes_to_client
            verbs(patient, key, version)[name]()
            sizes[name] = proxy.bytes_to_client - before
        other = a_key()
        created(patient, other, a_record(b"other"))
        for name, size in sizes.items():
            for byte in range(0, size + 1, every):
                stored = created(patient, key := a_key(), a_record(b"old"))
                proxy.reset(byte, towards="client", connections=1)
                answer = verbs(patient, key, stored.version)[name]()
                proxy.heal()

                assert answer == (stored if name == "load" else True), (name, byte)
                assert loaded(patient, other).value == b"other"
                assert loaded(patient, key).value == (b"old" if name == "load" else b"new")

    def test_a_server_that_resets_every_connection_is_given_up(self, proxy: FaultProxy, patient: SQLAlchemyStore) -> None:
        """F-N1: a verb is tried again, but not for ever."""
        version = created(patient, key := a_key()).version
        for name, call in verbs(patient, key, version).items():
            forget_failures(patient)
            proxy.reset(0, towards="client")
            before = proxy.connections

            assert refused_after(call) < PATIENCE / 2, name
            assert proxy.connections - before <= 3, name
        proxy.heal()
        recover(patient)


class TestLostAnswers:
    """What was applied, and not acknowledged, is not applied again, and not denied."""

    @pytest.fixture
    def lose(self, proxy: FaultProxy) -> Callable[[], None]:
        """Lose the next answer, and with it the connection."""
        return partial(proxy.reset, 0, towards="client", connections=1)

    def test_a_create_that_was_applied_is_true(self, patient: SQLAlchemyStore, lose: Callable[[], None]) -> None:
        """The second try finds the key taken, by the first."""
        created(patient, a_key())
        key = a_key()
        lose()

        assert patient.create(key, a_record(b"mine"))
        assert loaded(patient, key).value == b"mine"

    def test_an_update_that_was_applied_is_true(self, patient: SQLAlchemyStore, lose: Callable[[], None]) -> None:
        """Promise 4: the second try finds another version, which is its own."""
        version = created(patient, key := a_key()).version
        lose()

        assert patient.update(key, a_record(b"mine"), version=version)
        assert loaded(patient, key).value == b"mine"

    def test_a_compare_and_delete_that_was_applied_is_true(self, patient: SQLAlchemyStore, lose: Callable[[], None]) -> None:
        """Promise 5: the second try finds nothing, as it should be."""
        version = created(patient, key := a_key()).version
        lose()

        assert patient.update(key, Record(b"", 0, None), version=version)
        assert patient.load(key) is None

    def test_a_delete_that_was_applied_is_true(self, patient: SQLAlchemyStore, lose: Callable[[], None]) -> None:
        """Promise 5: a logout is done."""
        created(patient, key := a_key())
        lose()

        assert patient.delete(key)

    def test_an_update_at_an_old_version_is_unknown(self, patient: SQLAlchemyStore, lose: Callable[[], None]) -> None:
        """Nobody can tell whether it was applied before the other: not refused, or it might be done twice."""
        old = created(patient, key := a_key()).version
        assert patient.update(key, a_record(b"theirs"), version=old)
        for record in (a_record(b"mine"), Record(b"", 0, None)):
            lose()
            with pytest.raises(StoreUnavailable, match="not known whether the write was done"):
                patient.update(key, record, version=old)

        assert loaded(patient, key).value == b"theirs"

    def test_a_create_over_another_is_unknown(self, patient: SQLAlchemyStore, lose: Callable[[], None]) -> None:
        """The same, for a key that was taken all the time."""
        created(patient, key := a_key(), a_record(b"theirs"))
        lose()
        with pytest.raises(StoreUnavailable, match="not known whether the write was done"):
            patient.create(key, a_record(b"mine"))

        assert loaded(patient, key).value == b"theirs"


class TestRestarts:
    @contextmanager
    def load(self, store: SQLAlchemyStore, threads: int = 4) -> Iterator[dict[str, bytes]]:
        """Keep threads at work; yield what was acknowledged: the last value of each key, or nothing for a deleted one."""
        acknowledged: dict[str, bytes] = {}
        wrong: list[object] = []
        stop = Event()

        def work() -> None:
            number = 0
            while not stop.is_set():
                key, doubt = a_key(), False
                try:
                    doubt = True
                    assert store.create(key, a_record(b"0"))
                    acknowledged[key] = b"0"
                    for number in range(1, 6):
                        stored = loaded(store, key)
                        assert stored.value == acknowledged[key]
                        doubt = True
                        assert store.update(key, a_record(b"%d" % number), version=stored.version)
                        acknowledged[key] = b"%d" % number
                        doubt = False
                except StoreUnavailable:
                    # The write at which it happened may have been done, or not.
                    if doubt:
                        acknowledged.pop(key, None)
                    time.sleep(0.005)
                except BaseException as error:
                    wrong.append(error)
                    return

        workers = [Thread(target=work, daemon=True) for _ in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield acknowledged
        finally:
            stop.set()
            for worker in workers:
                worker.join(20)
        assert wrong == []

    def work(self, acknowledged: dict[str, bytes]) -> None:
        """Wait until more has been acknowledged."""
        before, deadline = len(acknowledged), time.monotonic() + PATIENCE
        while len(acknowledged) < before + 20:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    @pytest.mark.parametrize("how", ["restart", "crash"])
    def test_a_restart_under_load_loses_nothing(self, database: Database, store: SQLAlchemyStore, how: str) -> None:
        """F-N1, F-N9: nothing that was acknowledged is lost, nothing wrong is answered, and work goes on by itself."""
        with self.load(store) as acknowledged:
            self.work(acknowledged)
            if how == "restart":
                database.restart()
            else:
                database.kill()
                database.start()
            self.work(acknowledged)

        assert {key: loaded(store, key).value for key in acknowledged} == acknowledged


class TestOtherTransactions:
    def test_a_row_that_is_locked_costs_the_budget_and_harms_no_other(
        self, database: Database, store: SQLAlchemyStore, table: str
    ) -> None:
        """A foreign transaction may hold one session: the others do not notice, and its own is as it was."""
        version = created(store, key := a_key(), a_record(b"old")).version
        short = SQLAlchemyStore(database.url(), table=table, timeout=0.5)
        with database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"SELECT * FROM {table} WHERE {column(database)} = %s FOR UPDATE", (key,))

            assert refused_after(lambda: short.update(key, a_record(b"new"), version=version)) <= 0.55 + LATE
            assert not short._database._breaker.is_open
            cursor.execute("ROLLBACK")
        short.close()
        assert loaded(store, key).value == b"old"
        assert store.update(key, a_record(b"new"), version=version)

    def test_a_deadlock_is_tried_again(self, database: Database, store: SQLAlchemyStore, table: str) -> None:
        """F-N9: the store's statement meets another's lock crosswise, loses, and is done all the same."""
        version = created(store, key := a_key(), a_record(b"old")).version
        if isinstance(database, PostgresServer):
            database.run(f"""
                CREATE TABLE {table}_log (n INT);
                INSERT INTO {table}_log VALUES (0);
                CREATE FUNCTION {table}_note() RETURNS TRIGGER LANGUAGE plpgsql AS $$
                    BEGIN PERFORM pg_sleep(0.2); UPDATE {table}_log SET n = n + 1; RETURN NULL; END $$;
                CREATE TRIGGER note AFTER UPDATE OF value ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_note()""")
            waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        else:
            database.run(f"CREATE TABLE {table}_log (n INT) ENGINE=InnoDB")
            database.run(f"INSERT INTO {table}_log VALUES (0)")
            database.run(f"""CREATE TRIGGER {table}_note AFTER UPDATE ON {table} FOR EACH ROW
                BEGIN IF NEW.version <> OLD.version THEN DO SLEEP(0.2); UPDATE {table}_log SET n = n + 1; END IF; END""")
            waiting = "SELECT count(*) FROM information_schema.processlist WHERE state = 'User sleep'"
        done: list[bool] = []
        with database.connect() as other, other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute(f"UPDATE {table}_log SET n = n + 10")
            cursor.execute(f"UPDATE {table}_log SET n = n + 10")
            ours = Thread(target=lambda: done.append(store.update(key, a_record(b"new"), version=version)))
            ours.start()
            deadline = time.monotonic() + 5
            while database.run(waiting) != [(1,)]:
                assert time.monotonic() < deadline
            cursor.execute(f"UPDATE {table} SET sweep_at = sweep_at + 1")
            cursor.execute("COMMIT")
            ours.join(10)

        assert done == [True]
        assert loaded(store, key).value == b"new"
        assert database.run(f"SELECT n FROM {table}_log") == [(21,)]

    def test_a_serialization_failure_is_tried_again(self, postgresql: PostgresServer, table: str) -> None:
        """F-N9: where the database is set to strict isolation, another's commit undoes the store's statement."""
        store = SQLAlchemyStore(
            f"{postgresql.url()}?options=-c%20default_transaction_isolation=serializable", table=table, timeout=PATIENCE
        )
        version = created(store, key := a_key(), a_record(b"old")).version
        done: list[bool] = []
        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        failed = "SELECT xact_rollback FROM pg_stat_database WHERE datname = 'tests'"
        with postgresql.connect() as other:
            other.execute("BEGIN")
            other.execute(f"UPDATE {table} SET sweep_at = sweep_at + 1")
            ours = Thread(target=lambda: done.append(store.update(key, a_record(b"new"), version=version)))
            ours.start()
            deadline = time.monotonic() + 5
            while postgresql.run(waiting) != [(1,)]:
                assert time.monotonic() < deadline
            other.execute("COMMIT")
            ours.join(10)

        assert done == [True]
        assert loaded(store, key).value == b"new"
        assert postgresql.run(failed)
        store.close()


class TestByPgBouncer:
    """F-N9: PgBouncer does not pass on what the store says when it connects: its ``statement_timeout``, for one."""

    @contextmanager
    def locked(self, postgresql: PostgresServer, table: str, key: str) -> Iterator[None]:
        """Hold one session in a foreign transaction."""
        with postgresql.connect() as other:
            other.execute("BEGIN")
            other.execute(f'SELECT * FROM {table} WHERE "key" = %s FOR UPDATE', (key,))
            yield
            other.execute("ROLLBACK")

    def test_a_row_that_is_locked_costs_the_budget(self, postgresql: PostgresServer, table: str) -> None:
        """Nobody but the store ends the wait; other sessions are served, this one when it is free again."""
        with PgBouncer(postgresql) as pgbouncer:
            patient = SQLAlchemyStore(pgbouncer.url(), table=table, timeout=PATIENCE)
            version = created(patient, key := a_key(), a_record(b"old")).version
            store = SQLAlchemyStore(pgbouncer.url(), table=table, timeout=0.5)
            recover(store)
            took = []
            with self.locked(postgresql, table, key):
                for name in ("update", "remove", "delete"):
                    forget_failures(store)
                    took.append(refused_after(verbs(store, key, version)[name]))
                recover(store)
            patient.delete(key)
            assert patient.load(key) is None
            store.close()
            patient.close()

        assert max(took) <= 0.55 + LATE, took

    def test_a_statement_timeout_of_the_user_spares_the_others(self, postgresql: PostgresServer, table: str) -> None:
        """As the README tells: the server says no, nobody else notices, and nothing is left behind that waits."""
        user = f"user_{table}"
        postgresql.run(f"CREATE ROLE {user} LOGIN PASSWORD 'pass-word'")
        postgresql.run(f"ALTER ROLE {user} SET statement_timeout = '400ms'")
        postgresql.run(f"GRANT CREATE ON SCHEMA public TO {user}")
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND wait_event_type = 'Lock'"
        with PgBouncer(postgresql, users={user: "pass-word"}) as pgbouncer:
            store = SQLAlchemyStore(pgbouncer.url(user=user), table=table, timeout=PATIENCE)
            version = created(store, key := a_key(), a_record(b"old")).version
            created(store, other_key := a_key())
            with self.locked(postgresql, table, key):
                for _ in range(5):
                    with pytest.raises(StoreUnavailable, match="statement timeout"):
                        store.update(key, a_record(b"new"), version=version)
                    assert store.load(other_key)
                assert postgresql.run(waiting) == [(0,)]
            assert loaded(store, key).value == b"old"
            assert store.update(key, a_record(b"new"), version=version)
            store.close()
        postgresql.run(f"DROP OWNED BY {user}")
        postgresql.run(f"DROP ROLE {user}")


class TestRefusals:
    """F-N7: the server answers, and says no."""

    @pytest.fixture
    def limited(self, database: Database, table: str) -> Iterator[str]:
        """A database user with a password who may do nothing."""
        name = f"secret_{table}"
        if isinstance(database, PostgresServer):
            database.run(f"CREATE ROLE {name} LOGIN PASSWORD 'pass-word'")
            database.run("REVOKE CREATE ON SCHEMA public FROM public")
        else:
            database.run(f"CREATE USER {name} IDENTIFIED BY 'pass-word'")
        yield name
        if isinstance(database, PostgresServer):
            database.run(f"DROP OWNED BY {name}")
            database.run(f"DROP ROLE {name}")
        else:
            database.run(f"DROP USER {name}")

    def test_a_wrong_password_is_named_and_not_shown(self, database: Database, limited: str, table: str) -> None:
        """Promise 11: not in the message, not in its cause."""
        store = SQLAlchemyStore(database.url(user=limited, password="wr0ng-secret"), table=table, timeout=PATIENCE)
        for _ in range(2):
            with pytest.raises(
                StoreUnavailable, match=r"127\.0\.0\.1:\d+/tests: .*(password authentication failed|Access denied for user)"
            ) as caught:
                store.load(a_key())
            assert "wr0ng" not in f"{caught.value} {caught.value.__cause__!r} {store!r}"
        store.close()

    def test_who_may_not_create_tables_is_told_what_to_do(self, database: Database, limited: str, table: str) -> None:
        """Promise 15: the statements are printed for somebody who may."""
        if isinstance(database, MariaDBServer):
            database.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON tests.* TO {limited}")
        store = SQLAlchemyStore(database.url(user=limited, password="pass-word"), table=table, timeout=PATIENCE)
        with pytest.raises(StoreUnavailable, match=r"SQLAlchemyStore\.ddl\(\)"):
            store.load(a_key())
        database.run(store.ddl())
        database.run(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {limited}")

        assert created(store, a_key())
        store.create_schema()
        store.close()

    def test_too_many_connections_do_not_stop_those_there_are(self, database: Database, limited: str, table: str) -> None:
        """F-N9: who gets no connection is refused; who has one goes on."""
        if isinstance(database, PostgresServer):
            database.run(f"ALTER ROLE {limited} CONNECTION LIMIT 1")
            database.run(f"GRANT CREATE ON SCHEMA public TO {limited}")
        else:
            database.run(f"GRANT ALL ON tests.* TO {limited} WITH MAX_USER_CONNECTIONS 1")
        url = database.url(user=limited, password="pass-word")
        store, crowd = (
            SQLAlchemyStore(url, table=table, timeout=PATIENCE),
            SQLAlchemyStore(url, table=table, timeout=PATIENCE),
        )
        recover(store)  # a connection that found no table is gone, and the server may not have noticed yet
        created(store, key := a_key())
        with pytest.raises(StoreUnavailable, match=r"too many connections|max_user_connections"):
            crowd.load(key)

        assert not crowd._database._breaker.is_open
        assert store.load(key)
        store.close()
        recover(crowd)
        assert crowd.load(key)
        crowd.close()

    def test_a_refusal_is_one_in_any_language(self, table: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 7: a server that speaks Korean has no word for FATAL, and is not away for all that."""
        monkeypatch.setenv("LANGUAGE", "ko")
        with KoreanPostgresServer() as server:
            server.run("CREATE ROLE few LOGIN PASSWORD 'pass-word' CONNECTION LIMIT 1")
            server.run("GRANT CREATE ON SCHEMA public TO few")
            url = server.url(user="few", password="pass-word")
            store, crowd = (SQLAlchemyStore(url, table=table, timeout=PATIENCE) for _ in range(2))
            recover(store)
            created(store, key := a_key())
            with pytest.raises(StoreUnavailable, match=r'"few"'):
                crowd.load(key)
            assert not crowd._database._breaker.is_open
            assert store.load(key)
            store.close()
            crowd.close()

    def test_a_server_that_takes_no_writes_still_reads(self, database: Database, limited: str, table: str) -> None:
        """After a failover to a standby, say; and it works again by itself."""
        SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE).create_schema()
        database.run(f"GRANT ALL ON {table} TO {limited}")
        store = SQLAlchemyStore(database.url(user=limited, password="pass-word"), table=table, timeout=PATIENCE)
        version = created(store, key := a_key()).version
        if isinstance(database, PostgresServer):
            closed = f"ALTER ROLE {limited} SET default_transaction_read_only = on"
            opened = f"ALTER ROLE {limited} RESET default_transaction_read_only"
        else:
            closed, opened = "SET GLOBAL read_only = 1", "SET GLOBAL read_only = 0"
        database.run(closed)
        store.close()
        try:
            with pytest.raises(StoreUnavailable, match="read-only"):
                store.update(key, a_record(), version=version)
            assert store.load(key)
        finally:
            database.run(opened)
        if isinstance(database, PostgresServer):
            database.end_connections()

        assert store.update(key, a_record(), version=version)
        store.close()

    def test_a_record_that_is_too_large_is_refused_without_its_value(self, mariadb: MariaDBServer, table: str) -> None:
        """MariaDB takes what max_allowed_packet allows; a refusal does not quote what it refuses."""
        store = SQLAlchemyStore(mariadb.url(), table=table, timeout=PATIENCE)
        store.create_schema()
        with pytest.raises(StoreUnavailable) as caught:
            store.create(a_key(), a_record(b"secret" * 3_000_000))
        assert "secret" not in f"{caught.value} {caught.value.__cause__}"

        recover(store)
        store.close()


class TestForks:
    def test_a_fork_uses_no_connection_of_its_parent(self, database: Database, store: SQLAlchemyStore) -> None:
        """F-P3: neither uses the other's, and neither ends it."""
        created(store, key := a_key())
        connections = database.connections()

        def work() -> None:
            for _ in range(5):
                assert store.load(key)
                created(store, a_key())
            assert database.connections() >= connections + 1

        for _ in range(3):
            assert in_child(work) == 0
            assert loaded(store, key)
        assert database.connections() <= connections + 3

    def test_a_fork_that_no_hook_tells_of_is_noticed(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-P3: uWSGI forks its workers in C; two that read from one connection would get each other's sessions."""
        monkeypatch.delattr(os, "register_at_fork")
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        created(store, key := a_key())
        connections = database.connections()

        def work() -> None:
            assert store.load(key)
            assert database.connections() == connections + 1

        assert in_child(work) == 0
        assert loaded(store, key)
        store.close()

    def test_a_child_that_only_closes_the_store_ends_nothing(
        self, database: Database, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """F-P3: of a fork that no hook tells of, either; at its exit, for one."""
        monkeypatch.delattr(os, "register_at_fork")
        store = SQLAlchemyStore(database.url(), table=table, timeout=PATIENCE)
        created(store, a_key())
        connections = database.connections()

        assert in_child(store.close) == 0
        assert database.connections() == connections
        store.close()

    @while_others_work
    def test_a_fork_in_the_middle_of_a_verb_harms_nobody(self, database: Database, store: SQLAlchemyStore) -> None:
        """F-P4: other threads are at work in the parent while it forks."""
        stop, errors = Event(), list[BaseException]()
        store.create_schema()

        def work() -> None:
            try:
                while not stop.is_set():
                    value = a_key().encode()
                    assert created(store, a_key(), a_record(value)).value == value
            except BaseException as error:
                errors.append(error)

        threads = [Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()

        def child() -> None:
            value = a_key().encode()
            assert created(store, a_key(), a_record(value)).value == value
            store.close()

        results = [in_child(child) for _ in range(10)]
        stop.set()
        for thread in threads:
            thread.join(20)

        assert results == [0] * 10
        assert errors == []


class TestExceptionsFromOutside:
    def test_a_verb_that_is_broken_off_leaves_no_answer_for_the_next(
        self, database: Database, store: SQLAlchemyStore, table: str
    ) -> None:
        """F-P7: gunicorn's timeout, Ctrl-C, a killed greenlet: the connection is not used again."""

        class Outside(BaseException):
            pass

        def strike(number: int, frame: object) -> None:
            raise Outside

        version = created(store, key := a_key(), a_record(b"locked")).version
        created(store, other_key := a_key(), a_record(b"other"))
        before = signal.signal(signal.SIGALRM, strike)
        try:
            with database.connect() as other, other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(f"SELECT * FROM {table} WHERE {column(database)} = %s FOR UPDATE", (key,))
                for name in ("delete", "update"):
                    signal.setitimer(signal.ITIMER_REAL, 0.1)
                    with pytest.raises(Outside):
                        verbs(store, key, version)[name]()
                    assert loaded(store, other_key).value == b"other"
                cursor.execute("ROLLBACK")
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

        assert loaded(store, other_key).value == b"other"


class TestSeveralHosts:
    """``postgresql://one,two/database``, as libpq has it."""

    def test_the_next_one_is_asked_where_one_does_not_answer(self, postgresql: PostgresServer, table: str) -> None:
        """F-N1, F-N3: be it that nobody is there, or that somebody says nothing; within the time of a verb."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            for other in (free_port(), silent.getsockname()[1]):
                url = postgresql.url(port=other).replace(f":{other}/", f":{other},127.0.0.1:{postgresql.port}/")
                store = SQLAlchemyStore.from_url(f"{url}?table={table}&timeout=3")
                assert created(store, a_key()).value == b"value"
                store.close()

    def test_one_that_takes_writes_can_be_asked_for(self, postgresql: PostgresServer, table: str) -> None:
        """What libpq knows may stand in the query."""
        place = f"127.0.0.1:{postgresql.port}"
        store = SQLAlchemyStore.from_url(
            f"postgresql://tests@{place},{place}/tests?table={table}&timeout=10&target_session_attrs=read-write"
        )
        assert created(store, a_key()).value == b"value"
        store.close()
