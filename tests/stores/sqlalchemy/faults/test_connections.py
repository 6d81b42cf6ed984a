"""Connections of the SQLAlchemy store that break, at a restart, too, lose nothing and mix nothing up."""

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Thread

import pytest
from sqlalchemy import create_engine

from session_middleware import Record, StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, loaded, race
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer
from tests.backends.process import free_port
from tests.backends.proxy import FaultProxy
from tests.backends.running import PATIENCE, PATIENT
from tests.stores.sqlalchemy.databases import Database
from tests.stores.sqlalchemy.faults.recovery import LATE, column, forget_failures, recover, refused_after, verbs

pytestmark = [pytest.mark.timed, pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")]


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
                worker.join(120)
        assert wrong == []

    def work(self, acknowledged: dict[str, bytes]) -> None:
        """Wait until more has been acknowledged."""
        before, deadline = len(acknowledged), time.monotonic() + 120
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
                    took.append(refused_after(verbs(store, key, version)[name], 0.5))
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
        postgresql.run(f"ALTER ROLE {user} SET statement_timeout = '1s'")
        postgresql.run(f"GRANT CREATE ON SCHEMA public TO {user}")
        waiting = f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{user}' AND wait_event_type = 'Lock'"
        with PgBouncer(postgresql, users={user: "pass-word"}) as pgbouncer:
            store = SQLAlchemyStore(pgbouncer.url(user=user), table=table, timeout=PATIENCE)
            version = created(store, key := a_key(), a_record(b"old")).version
            created(store, other_key := a_key())
            with self.locked(postgresql, table, key):
                for _ in range(2):
                    with pytest.raises(StoreUnavailable, match="statement timeout"):
                        store.update(key, a_record(b"new"), version=version)
                    assert store.load(other_key)
                assert postgresql.run(waiting) == [(0,)]
            assert loaded(store, key).value == b"old"
            assert store.update(key, a_record(b"new"), version=version)
            store.close()
        postgresql.run(f"DROP OWNED BY {user}")
        postgresql.run(f"DROP ROLE {user}")


class TestExceptionsFromOutside:
    def test_a_verb_that_is_broken_off_leaves_no_answer_for_the_next(
        self, database: Database, store: SQLAlchemyStore, table: str
    ) -> None:
        """F-P7: gunicorn's timeout, Ctrl-C, a killed greenlet: the connection is not used again."""

        class Outside(BaseException):
            pass

        def strike(number: int, frame: object) -> None:
            raise Outside

        def struck(verb: Callable[[], object]) -> None:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            verb()

        version = created(store, key := a_key(), a_record(b"locked")).version
        created(store, other_key := a_key(), a_record(b"other"))
        before = signal.signal(signal.SIGALRM, strike)
        try:
            with database.connect() as other, other.cursor() as cursor:
                cursor.execute("BEGIN")
                cursor.execute(f"SELECT * FROM {table} WHERE {column(database)} = %s FOR UPDATE", (key,))
                for name in ("delete", "update"):
                    with pytest.raises(Outside):
                        struck(verbs(store, key, version)[name])
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
                store = SQLAlchemyStore.from_url(f"{url}?table={table}&{PATIENT}")
                assert created(store, a_key()).value == b"value"
                store.close()

    def test_one_that_takes_writes_can_be_asked_for(self, postgresql: PostgresServer, table: str) -> None:
        """What libpq knows may stand in the query."""
        place = f"127.0.0.1:{postgresql.port}"
        store = SQLAlchemyStore.from_url(
            f"postgresql://tests@{place},{place}/tests?table={table}&{PATIENT}&target_session_attrs=read-write"
        )
        assert created(store, a_key()).value == b"value"
        store.close()
