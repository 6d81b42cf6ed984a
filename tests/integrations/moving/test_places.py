"""Where the sessions of other libraries are kept: what cannot work does not start, and a failure is one."""

import socket
import struct
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from traceback import format_exception

import pytest
import redis
import sqlalchemy

from session_middleware import ConfigurationError, StoreUnavailable
from session_middleware.integrations.moving import (
    CachelibPlace,
    FilePlace,
    FromBeaker,
    FromFlaskSession,
    RedisPlace,
    TablePlace,
    formats,
)
from tests.backends.proxy import FaultProxy
from tests.backends.running import Backends
from tests.integrations.moving.sites import NOW, MemoryPlace, Site, the_line
from tests.stopwatch import Stopwatch


class TestPlaces:
    def test_a_directory_that_is_not_there_does_not_start(self, tmp_path: Path) -> None:
        """Promise 15: every session would read as absent."""
        with pytest.raises(ConfigurationError, match="no such directory"):
            FromFlaskSession(tmp_path / "missing")

    def test_a_directory_that_goes_away_is_a_failure(self, tmp_path: Path) -> None:
        """Promise 7: no disk says nothing about the sessions on it."""
        (tmp_path / "files").mkdir()
        place = FilePlace(tmp_path / "files", lambda key: key)
        place.remove("a")
        (tmp_path / "files").rmdir()
        for call in (partial(place.get, "a", NOW), partial(place.remove, "a")):
            with pytest.raises(StoreUnavailable, match="files"):
                call()

    def test_a_file_that_cannot_be_read_is_a_failure(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(StoreUnavailable):
            FilePlace(tmp_path, lambda key: key).get("a", NOW)

    def test_a_failure_does_not_tell_the_name_of_the_session(self, tmp_path: Path) -> None:
        """Promise 11: a framework logs the error with its causes, and the name opens the session there."""
        (tmp_path / "container_file/a/aa" / f"{'a' * 32}.cache").mkdir(parents=True)
        (tmp_path / "empty").touch()
        for reader in (FromBeaker(tmp_path), FromFlaskSession(f"sqlite:///{tmp_path / 'empty'}")):
            old = reader.find(f"{reader.name}={'a' * 32}")
            assert old is not None
            for verb in (partial(old.read, 0.0), old.remove):
                with pytest.raises(StoreUnavailable) as raised:
                    verb()
                assert "a" * 32 not in "".join(format_exception(raised.value))

    def test_a_table_that_is_not_there_is_a_failure(self, tmp_path: Path) -> None:
        (tmp_path / "a.sqlite3").touch()
        place = TablePlace(f"sqlite:///{tmp_path}/a.sqlite3", "missing", key_column="k", value_column="v")
        for call in (partial(place.get, "a", NOW), partial(place.remove, "a")):
            with pytest.raises(StoreUnavailable, match="database") as caught:
                call()
            assert "sqlite" not in str(caught.value)

    @pytest.mark.timed
    @pytest.mark.parametrize(
        ("driver", "longer"), [("postgresql+psycopg", "connect_timeout=4"), ("mysql+pymysql", "read_timeout=4")]
    )
    def test_a_database_that_says_nothing_is_not_waited_for(self, driver: str, longer: str) -> None:
        """F-N2: it is listened to, and nobody answers; libpq waits for two seconds at least, and the URL may say longer."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"{driver}://user@127.0.0.1:{silent.getsockname()[1]}/d"
            with Stopwatch() as watch, pytest.raises(StoreUnavailable):
                TablePlace(url, "t", key_column="k", value_column="v").get("a", NOW)
            assert watch.own < 4
            with Stopwatch() as watch, pytest.raises(StoreUnavailable):
                TablePlace(f"{url}?{longer}", "t", key_column="k", value_column="v").get("a", NOW)
            assert watch.took > 3.5
            assert watch.own < 8

    @pytest.mark.timed
    @pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
    def test_a_database_that_falls_silent_is_not_waited_for(self, kind: str, backends: Backends) -> None:
        """F-N2: between two sessions that are carried over, and it is used again when it is back."""
        url = sqlalchemy.make_url(backends.url(kind)).set(query={})
        with FaultProxy(url.port or 0) as proxy:
            place = TablePlace(
                url.set(port=proxy.port).render_as_string(hide_password=False), "t", key_column="k", value_column="v"
            )
            engine = sqlalchemy.create_engine(url)
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("CREATE TABLE t (k VARCHAR(9), v VARCHAR(9))"))
            try:
                assert place.get("a", NOW) is None
                proxy.black_hole()
                with Stopwatch() as watch, pytest.raises(StoreUnavailable):
                    place.get("a", NOW)
                assert watch.own < 4
                proxy.heal()
                assert place.get("a", NOW) is None
            finally:
                with engine.begin() as connection:
                    connection.execute(sqlalchemy.text("DROP TABLE t"))
                engine.dispose()

    @pytest.mark.parametrize("kind", ["VARCHAR(9) COLLATE utf8mb4_general_ci", "VARBINARY(9)"])
    def test_a_table_opens_by_the_very_key_alone(self, kind: str, backends: Backends) -> None:
        """By default MariaDB does not tell case apart: one record under several cookies would make several sessions."""
        url = sqlalchemy.make_url(backends.url("mariadb")).set(query={})
        place = TablePlace(url.render_as_string(hide_password=False), "c", key_column="k", value_column="v")
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"CREATE TABLE c (k {kind}, v TEXT)"))
            connection.execute(sqlalchemy.text("INSERT INTO c VALUES ('aBc', 'found')"))
        try:
            assert [place.get(key, NOW) for key in ("abc", "ABC", "aBc")] == [None, None, b"found"]
        finally:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("DROP TABLE c"))
            engine.dispose()

    @pytest.mark.parametrize(("value", "found"), [("x'6262'", b"bb"), ("'bb'", b"bb"), ("NULL", None)])
    def test_however_a_table_keeps_them(self, value: str, found: bytes | None, tmp_path: Path) -> None:
        """As bytes, as text, or nothing; the key with blanks at the end, as some pad it."""
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.sqlite3")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (k TEXT COLLATE RTRIM, v)"))
            connection.execute(sqlalchemy.text(f"INSERT INTO t VALUES ('abc  ', {value})"))
        assert TablePlace(engine, "t", key_column="k", value_column="v").get("abc", NOW) == found
        engine.dispose()

    def test_cachelib_files(self, tmp_path: Path) -> None:
        """Times that have passed, files that never expire, files cut off."""
        place = CachelibPlace(tmp_path, hash_name="md5")
        path = tmp_path / "0cc175b9c0f1b6a831c399e269772661"
        for expires, found in ((0, b"x"), (int(NOW), b"x"), (int(NOW) - 1, None)):
            path.write_bytes(struct.pack("I", expires) + b"x")
            assert place.get("a", NOW) == found
        path.write_bytes(b"\0")
        assert place.get("a", NOW) is None

    def test_a_client_that_decodes_does_not_start(self, redis_url: str) -> None:
        """Promise 15."""
        with redis.Redis.from_url(redis_url, decode_responses=True) as client, pytest.raises(ConfigurationError):
            RedisPlace(client)

    @pytest.mark.parametrize(
        ("library", "url"), [("redis", "redis://localhost"), ("sqlalchemy", "postgresql://localhost/d")]
    )
    def test_a_driver_that_is_not_installed_is_named(self, library: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 15, and which extra to install."""
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ConfigurationError, match=rf"pip install 'session-middleware\[{library}\]'"):
            FromFlaskSession(url)

    def test_an_engine_of_the_users_own(self, tmp_path: Path) -> None:
        """With a table of another name, without a time at which records expire."""
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.sqlite3")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (k TEXT, v BLOB)"))
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES ('a', x'6262')"))
        place = TablePlace(engine, "t", key_column="k", value_column="v")
        assert place.get("a", NOW) == b"bb"
        place.remove("a")
        assert place.get("a", NOW) is None
        engine.dispose()

    @pytest.mark.parametrize("make", [FromBeaker, FromFlaskSession])
    def test_urls_that_cannot_be_read_do_not_start(self, make: Callable[[str], object]) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError):
            make("redis://localhost:port/0")
        with pytest.raises(ConfigurationError):
            make("nosuch://localhost")

    def test_a_record_over_the_limit_is_skipped(self, caplog: pytest.LogCaptureFixture) -> None:
        site = Site(FromFlaskSession(MemoryPlace(**{f"session:{'a' * 43}": b"{" + b" " * formats.MOST + b"}"})))
        site.visit(f"session={'a' * 43}")
        assert "over the limit" in the_line(caplog)
