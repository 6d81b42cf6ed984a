"""The SQLAlchemy store under settings of servers and clients that others chose: charsets, modes, limits, drivers."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pymysql
import pytest
from sqlalchemy import Engine, create_engine

from session_middleware.exceptions import ConfigurationError, StoreUnavailable
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from session_middleware.testing import a_key, a_record, created, filled, listed, loaded
from tests.backends.mariadb import MariaDBServer
from tests.backends.postgresql import PostgresServer
from tests.stores.conftest import Script

# Where time is not what is tested, a busy machine is waited for (seconds).
PATIENCE = 10.0

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
values = [b"name=" + byte + end for byte in lead[1::31] + [b"\\xbf", b"\\x81", b"\\\\"] for end in (row, change, b"'", b"\\\\")]
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
        assert store.sweep(2) == 2
        assert store.sweep(2) == 1
        assert store.delete(key)
        version = loaded(store, keys[1]).version
        assert store.update(keys[1], a_record(expires_in=-1), version=version)
        assert listed(store, "alice") == sorted(keys[2:])
