"""The page about sessions in PostgreSQL or MariaDB: its statements, its engine and its backups, on real servers."""

import inspect
import re
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from typing import Any

import pytest
from sqlalchemy.pool import QueuePool
from webtest import TestApp

from session_middleware import SessionManager, SessionMiddleware, get_session, open_store
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.stores.sqlalchemy.connections import _OLDEST
from session_middleware.stores.sqlalchemy.drivers import _SHARE
from session_middleware.testing import a_key, a_record, created
from tests.backends.mariadb import MariaDBServer, SecretMariaDBServer
from tests.backends.pgbouncer import PgBouncer
from tests.backends.postgresql import PostgresServer, SecretPostgresServer
from tests.backends.running import PATIENCE, PATIENT
from tests.book.pages import Block, Page

PAGE = Page("how-to/postgresql-mariadb")

VISITS = ["visit number 1\n", "visit number 2\n"]


@pytest.fixture(scope="module")
def postgresql() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDBServer]:
    with MariaDBServer() as server:
        yield server


@pytest.fixture
def shop_on_postgresql(postgresql: PostgresServer) -> Iterator[PostgresServer]:
    """With a user ``shop`` and a database of that name, which belongs to whoever."""
    postgresql.run("CREATE ROLE shop LOGIN PASSWORD 'a-long-password'")
    postgresql.run("CREATE DATABASE shop")
    yield postgresql
    postgresql.run("DROP DATABASE shop WITH (FORCE)")
    postgresql.run("DROP ROLE shop")


def visits(application: Any) -> list[str]:
    browser = TestApp(application)
    return [browser.get("/").text for _ in range(2)]


def executed(block: Block, replace: Callable[[str], str], **names: Any) -> dict[str, Any]:
    """Run a block with another address in place of the one that stands there."""
    exec(replace(block.text), names)
    return names


def statements(block: Block) -> list[str]:
    return [statement for statement in block.text.split(";\n") if statement.strip()]


def site(environ: Any, start_response: Any) -> list[bytes]:
    session = get_session(environ)
    session["visits"] = session.get("visits", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"visit number {session['visits']}\n".encode()]


@pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
def test_the_site_of_the_page_counts_visits_in_a_database(
    kind: str, claimed: list[Block], request: pytest.FixtureRequest
) -> None:
    """With the address of a server that is there, of either kind."""
    (block,) = claimed
    url = request.getfixturevalue(kind).url()
    names = executed(
        block, lambda text: text.replace("postgresql://shop:a-long-password@localhost/shop", f"{url}?{PATIENT}")
    )

    assert visits(names["application"]) == VISITS


def test_every_option_is_in_the_table_with_its_default() -> None:
    """No option is missing, and none is made up."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE.text, re.MULTILINE)
    parameters = inspect.signature(SQLAlchemyStore).parameters.values()
    options = [option for option in parameters if option.kind is option.KEYWORD_ONLY]

    assert {name: default.strip('`"').removesuffix(" s") for name, default in rows} == {
        option.name: str(option.default).removesuffix(".0") for option in options
    }


@pytest.mark.parametrize("url", re.findall(r"^\| `(\w+://\S+)` \|", PAGE.text, re.MULTILINE))
def test_every_url_of_the_page_is_understood(url: str) -> None:
    """With options of the store, too; it connects when it is used."""
    assert isinstance(open_store(url), SQLAlchemyStore)
    assert repr(open_store(f"{url}{'&' if '?' in url else '?'}schema=web&timeout=0.5")).endswith("table web.sessions)")


def test_the_database_of_the_page_is_enough_on_postgresql(claimed: list[Block], postgresql: PostgresServer) -> None:
    """Its user makes the table, and everything is there that a session needs."""
    (block,) = claimed
    for statement in statements(block):
        postgresql.run(statement)
    url = postgresql.url(user="shop", password="a-long-password").removesuffix("tests") + "shop"
    assert visits(SessionMiddleware(site, f"{url}?{PATIENT}")) == VISITS
    assert SessionManager(f"{url}?{PATIENT}").revoke_everybody() == 1

    postgresql.run("DROP DATABASE shop WITH (FORCE)")
    postgresql.run("DROP ROLE shop")


def test_the_database_of_the_page_is_enough_on_mariadb(claimed: list[Block], mariadb: MariaDBServer) -> None:
    """Its user makes the table, and everything is there that a session needs."""
    (block,) = claimed
    for statement in statements(block):
        mariadb.run(statement)
    url = mariadb.url(user="shop", password="a-long-password").removesuffix("tests") + "shop"
    assert visits(SessionMiddleware(site, f"{url}?{PATIENT}")) == VISITS
    assert SessionManager(f"{url}?{PATIENT}").revoke_everybody() == 1

    mariadb.run("DROP DATABASE shop")
    mariadb.run("DROP USER shop@'%'")


def test_the_statements_of_the_page_make_the_table(
    claimed: list[Block], shop_on_postgresql: PostgresServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are printed without a server; with the four rights a user who may make no table has all that is needed."""
    printing, granting = claimed
    printing.execute({})
    with shop_on_postgresql.connect("shop") as connection:
        connection.execute(capsys.readouterr().out.encode())
        connection.execute(granting.text.encode())
    url = shop_on_postgresql.url(user="shop", password="a-long-password").removesuffix("tests") + "shop?create=false"

    assert visits(SessionMiddleware(site, f"{url}&{PATIENT}")) == VISITS


def test_the_engine_of_the_page_lends_its_connections(claimed: list[Block], shop_on_postgresql: PostgresServer) -> None:
    """One at a time here, and each goes back."""
    (block,) = claimed
    shop_on_postgresql.run("GRANT pg_write_all_data, pg_read_all_data TO shop")
    shop_on_postgresql.run("ALTER DATABASE shop OWNER TO shop")
    names = executed(
        block,
        lambda text: text.replace("localhost", f"127.0.0.1:{shop_on_postgresql.port}"),
        app=site,
        SessionMiddleware=SessionMiddleware,
    )
    engine = names["engine"]
    try:
        assert visits(names["application"]) == VISITS
        assert isinstance(engine.pool, QueuePool)
        assert (engine.pool.size(), engine.pool.checkedin(), engine.pool.checkedout()) == (8, 1, 0)
        with engine.connect() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar() == "800ms"
    finally:
        engine.dispose()


def test_through_pgbouncer_the_site_is_the_same(claimed: list[Block], shop_on_postgresql: PostgresServer) -> None:
    """With the settings of the page, and the timeout that belongs to the user."""
    settings, alter = claimed
    shop_on_postgresql.run(alter.text)
    parser = ConfigParser()
    parser.read_string(settings.text)
    pooler = PgBouncer(shop_on_postgresql, users={"shop": "a-long-password"})
    before = {name: pooler._settings.pop(name) for name in parser["pgbouncer"]}
    pooler._settings |= parser["pgbouncer"]
    with pooler, shop_on_postgresql.connect() as connection:
        connection.execute("GRANT CREATE ON SCHEMA public TO shop")
        url = pooler.url(user="shop")
        assert url.endswith("?prepare_threshold=none")
        store = SQLAlchemyStore.from_url(f"{url}&{PATIENT}&table=through_pgbouncer")
        assert visits(SessionMiddleware(site, store)) == VISITS
        store.close()
        connection.execute("REVOKE CREATE ON SCHEMA public FROM shop; DROP TABLE through_pgbouncer")
    assert before == dict(parser["pgbouncer"])


def test_a_backup_of_postgresql_is_restored(
    claimed: list[Block], shop_on_postgresql: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the lines of the page, where the environment says which server; what has come since is gone."""
    backup, restore = claimed
    for name, value in (("PGHOST", "127.0.0.1"), ("PGPORT", str(shop_on_postgresql.port)), ("PGUSER", "tests")):
        monkeypatch.setenv(name, value)
    check_backup(f"{shop_on_postgresql.url().removesuffix('tests')}shop", backup.shell, restore.shell)


def test_a_backup_of_mariadb_is_restored(claimed: list[Block], mariadb: MariaDBServer) -> None:
    """By the lines of the page, and where the server is."""
    place = f"--no-defaults --host=127.0.0.1 --port={mariadb.port} --user=tests"
    backup, restore = (
        Block(block.page, block.line, "sh", re.sub(r"^(mariadb(?:-dump)?) ", rf"\1 {place} ", block.text))
        for block in claimed
    )
    mariadb.run("CREATE DATABASE shop")
    check_backup(f"{mariadb.url().removesuffix('tests')}shop", backup.shell, restore.shell)
    mariadb.run("DROP DATABASE shop")


def check_backup(url: str, backup: Callable[[], str], restore: Callable[[], str]) -> None:
    store = SQLAlchemyStore(url, timeout=PATIENCE)
    before = created(store, key := a_key(), a_record(bytes(range(256)), user_id="alice"))
    backup()
    created(store, later := a_key())
    store.delete(key)
    store.close()
    restore()

    assert store.load(key) == before
    assert store.load(later) is None
    assert SessionManager(store).revoke_everybody() == 1
    store.close()


@pytest.mark.parametrize("make", [SecretPostgresServer, SecretMariaDBServer])
def test_tls_is_used_if_the_server_offers_it(make: type[SecretPostgresServer | SecretMariaDBServer]) -> None:
    """Without options: these servers take nothing else."""
    with make() as server:
        plain = server.url().partition("?")[0]
        assert visits(SessionMiddleware(site, f"{plain}?{PATIENT}")) == VISITS


def test_the_numbers_are_those_of_the_code() -> None:
    """How old a connection gets, and when the server gives up."""
    assert (_OLDEST, _SHARE) == (600, 0.8)
    text = PAGE.text.replace("\n", " ")
    assert "none older than ten minutes" in text
    assert "give up after eight tenths of it" in text
