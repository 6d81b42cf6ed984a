"""The SQLAlchemy store under settings of servers and clients that others chose: charsets, modes, limits, drivers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pymysql
import pytest
from sqlalchemy import Engine, create_engine

from session_middleware.exceptions import ConfigurationError, StoreUnavailable, StoreUnusable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded
from tests.backends.mariadb import MariaDBServer
from tests.backends.postgresql import PostgresServer
from tests.backends.running import PATIENCE
from tests.stores.conftest import Script

# In some of them the second byte of a letter may be a backslash or a quote. That of the server's own text is the first.
CHARSETS: Final = ["utf8mb4", "latin1", "gbk", "big5", "sjis", "cp932", "euckr", "gb2312"]

# The first is older than those that this package asks for: with an engine comes whatever driver the site has.
DRIVERS: Final = ["1.1.0", "1.2.1", pymysql.__version__]


@pytest.fixture(scope="session", params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with PyMySQL in that version."""
    if request.param == pymysql.__version__:
        return Path(pymysql.__file__).parents[1]
    place = tmp_path_factory.mktemp("pymysql")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    done = subprocess.run(
        [*install, "--target", os.fspath(place), f"PyMySQL=={request.param}"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"PyMySQL {request.param} cannot be installed here: {done.stderr.strip()[-200:]}")
    return place


@pytest.fixture(params=["postgresql", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    server: PostgresServer | MariaDBServer = request.getfixturevalue(request.param)
    engine = create_engine(server.url())
    yield engine
    engine.dispose()


FORGERY = """
import sys
sys.path.insert(0, sys.argv[1])
import time, warnings
warnings.simplefilter("ignore")
import pymysql
from sqlalchemy import create_engine
from session_middleware.stores.base import Record
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, listed

assert pymysql.__file__.startswith(sys.argv[1])
url, table = sys.argv[2:4]
lead = [bytes((byte,)) for byte in range(256)]
row = b"', 1, 9999999999, 9999999999, 0x61646d696e) -- "
change = b"', user_id = 0x61646d696e, expires_at = 9999999999 -- "
ends = (row, change, b"'", b"\\\\")
values = [b"name=" + byte + end for byte in lead[1::31] + [b"\\xbf", b"\\x81", b"\\\\"] for end in ends]
users = ["\\u7e17" + end.decode() for end in (row, change)] + ["\\u8a31\\u529f' OR 1 = 1 -- ", "\\\\", "'", "alice"]
for charset in sys.argv[4:]:
    engine = create_engine(f"{url}?charset={charset}", connect_args={"init_command": "SET SESSION sql_mode = ''"})
    modes = create_engine(f"{url}?charset={charset}", connect_args={"sql_mode": "ANSI,NO_BACKSLASH_ESCAPES"})
    own = f"{url}?charset={charset}"
    for number, place in enumerate((own, engine, modes)):
        store = SQLAlchemyStore(place, table=f"{table}_{charset}_{number}", timeout=60)
        held = {}
        for value in values:
            assert store.create(key := a_key(), Record(value, int(time.time()) + 3600, None)), value
            held[key] = value
        for key, value in list(held.items())[::5]:
            stored = store.load(key)
            assert stored.value == value, (charset, value, stored)
            held[key] = value[::-1] + value
            assert store.update(key, Record(held[key], int(time.time()) + 3600, None), version=stored.version)
        assert {key: store.load(key).value for key in held} == held
        for user in users:
            assert store.create(key := a_key(), Record(b"x", int(time.time()) + 3600, user))
            held[key] = b"x"
            assert listed(store, user) == [key], (charset, user)
        assert listed(store, "admin") == []
        assert sorted(store.keys()) == sorted(held)
        assert all(store.delete(key) for key in held)
        store.close()
    engine.dispose()
    modes.dispose()
print("passed")
"""


def test_data_never_become_part_of_a_statement(driver: Path, mariadb: MariaDBServer, table: str, script: Script) -> None:
    """In no charset of the connection and no mode of the server, whatever the driver takes for safe."""
    url = mariadb.url()

    assert script(FORGERY, driver, url, table, *CHARSETS) == "passed"


class TestSettingsOfMariaDB:
    """That the server, or the application's engine, has chosen for other statements than ours."""

    SETTINGS: Final = {
        "sql_safe_updates": "1",
        "sql_select_limit": "1",
        "sql_mode": "'ANSI,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH,EMPTY_STRING_IS_NULL,NO_UNSIGNED_SUBTRACTION'",
    }

    @pytest.fixture(params=SETTINGS)
    def setting(self, request: pytest.FixtureRequest) -> tuple[str, str]:
        return request.param, self.SETTINGS[request.param]

    @pytest.fixture(params=["own", "lent"])
    def store(
        self, request: pytest.FixtureRequest, setting: tuple[str, str], mariadb: MariaDBServer, table: str
    ) -> Iterator[SQLAlchemyStore]:
        name, value = setting
        if request.param == "own":
            ((before,),) = mariadb.run(f"SELECT @@global.{name}")
            mariadb.run(f"SET GLOBAL {name} = {value}")
            store = SQLAlchemyStore(mariadb.url(), table=table, timeout=PATIENCE)
            store.load(a_key())
            mariadb.run(f"SET GLOBAL {name} = %s", before)
            yield store
            store.close()
            return
        arguments = {"init_command": f"SET SESSION {name} = {value}"}
        engine = create_engine(mariadb.url(), connect_args=arguments, pool_size=1)
        yield SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        engine.dispose()

    def test_no_setting_changes_what_a_verb_does(self, store: SQLAlchemyStore) -> None:
        """Promise 13, too: a sweep that the server refuses would be refused for ever."""
        stored = created(store, key := a_key(), a_record(b"\\'", user_id="alice"))
        assert store.update(key, a_record(b"'\\", user_id="alice"), version=stored.version)
        keys = [key, *filled(store, 4, user_id="alice")]
        assert loaded(store, key).value == b"'\\"
        assert listed(store, "alice") == sorted(store.keys()) == sorted(keys)
        for _ in range(3):
            store.create(a_key(), a_record(expires_in=-1000))
        assert len(store.sweep(2)) == 2
        assert len(store.sweep(2)) == 1
        assert store.delete(key)
        version = loaded(store, keys[1]).version
        assert store.update(keys[1], a_record(expires_in=-1), version=version)
        assert listed(store, "alice") == sorted(keys[2:])


class TestText:
    """What a connection takes text for matters to nobody: there is none but the keys."""

    @pytest.fixture
    def ascii_url(self, postgresql: PostgresServer) -> str:
        """A database without a charset, where psycopg gives bytes for text."""
        if not postgresql.run("SELECT 1 FROM pg_database WHERE datname = 'plain'"):
            postgresql.run("CREATE DATABASE plain ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        return f"{postgresql.url().rpartition('/')[0]}/plain"

    def test_a_database_without_a_charset_is_used(self, ascii_url: str, table: str) -> None:
        """SQL_ASCII is what a server has that was set up without a locale."""
        store = SQLAlchemyStore(ascii_url, table=table, timeout=PATIENCE)
        created(store, key := a_key(), a_record(user_id="\u00e9"))

        assert listed(store, "\u00e9") == list(store.keys()) == [key]
        store.close()

    def test_an_engine_that_cannot_connect_is_refused_by_name(self, ascii_url: str, mariadb: MariaDBServer) -> None:
        """Promise 15: the mistakes of a driver, or of SQLAlchemy, are told as those of the store."""
        for url, message in (
            (ascii_url, "/plain: TypeError while connecting; look at the options"),
            (f"{mariadb.url()}?charset=binary", "/tests: LookupError while connecting; look at the options"),
        ):
            engine = create_engine(url)
            with pytest.raises(StoreUnusable, match=message):
                SQLAlchemyStore(engine).load(a_key())
            engine.dispose()

    @pytest.mark.parametrize("charset", ["binary", "utf16", "nonsense"])
    def test_a_charset_without_text_is_refused(self, charset: str) -> None:
        """Promise 15: at construction, and the error says what to write."""
        with pytest.raises(ConfigurationError, match=f"charset='{charset}': leave it out"):
            SQLAlchemyStore(f"mariadb://h/x?charset={charset}")

    @pytest.mark.parametrize("lent", [False, True])
    def test_keys_are_text_where_all_text_is_bytes(self, lent: bool, mariadb: MariaDBServer, table: str) -> None:
        """``use_unicode=0`` of PyMySQL."""
        engine = create_engine(f"{mariadb.url()}?use_unicode=0")
        store = SQLAlchemyStore(engine if lent else engine.url, table=table, timeout=PATIENCE)
        created(store, key := a_key(), a_record(user_id="alice"))

        assert listed(store, "alice") == list(store.keys()) == [key]
        store.close()
        engine.dispose()


class TestDrivers:
    def test_psycopg2_fits(self, postgresql: PostgresServer, table: str) -> None:
        """Which writes parameters into the text of a statement, as PyMySQL does."""
        engine = create_engine(postgresql.url().replace("+psycopg:", "+psycopg2:"))
        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        version = created(store, key := a_key(), a_record(b"\\'%s\0\xff", user_id="al'ice\\\0")).version
        assert store.update(key, a_record(b"'\\\0", user_id="al'ice\\\0"), version=version)
        assert not store.create(key, a_record())
        store.create(a_key(), a_record(expires_in=-1000))

        assert loaded(store, key).value == b"'\\\0"
        assert listed(store, "al'ice\\\0") == list(store.keys()) == [key]
        assert len(store.sweep(10)) == 1
        assert store.delete(key)
        engine.dispose()

    def test_one_that_does_not_fit_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 15: pg8000 would be accepted, and then fail at every verb."""
        engine = create_engine("postgresql+psycopg://localhost/x")
        monkeypatch.setattr(engine.dialect, "driver", "pg8000")
        with pytest.raises(ConfigurationError, match="driver pg8000 does not fit; use psycopg, or PyMySQL"):
            SQLAlchemyStore(engine)

    @pytest.mark.parametrize("at", ["connecting", "asking"])
    def test_whatever_a_driver_raises_is_a_failed_store(
        self, at: str, engine: Engine, table: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Promise 7: an exception that nobody has heard of, too; and what it says is not told, for it may quote values."""

        class OfItsOwn(Exception):
            pass

        store = SQLAlchemyStore(engine, table=table, timeout=PATIENCE)
        created(store, key := a_key())
        engine.dispose()

        def fail(*_: object, **options: object) -> None:
            raise OfItsOwn("a secret")

        driver: Any = engine.dialect.dbapi
        with monkeypatch.context() as patch:
            if at == "connecting":
                patch.setattr(engine.dialect, "connect", fail)
            else:
                patch.setattr(getattr(driver, "cursors", driver).Cursor, "execute", fail)
            with pytest.raises(StoreUnavailable, match="tests: OfItsOwn") as caught:
                store.load(key)
        assert isinstance(caught.value.__cause__, OfItsOwn)
        assert "secret" not in str(caught.value)
        assert store.load(key)
