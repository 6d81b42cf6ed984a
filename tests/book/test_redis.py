"""The page about sessions in Redis: its site, its configuration, its rights and its backup, on a real server."""

import inspect
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
from webtest import TestApp

from session_middleware import SessionManager, SessionMiddleware, get_session, open_store
from session_middleware.stores.redis import _GRACE, RedisStore
from session_middleware.testing import a_key, a_record, created, listed
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENCE, PATIENT
from tests.book.pages import Block, Page

PAGE = Page("how-to/redis")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer() as server:
        yield server


def visits(application: Any) -> list[str]:
    browser = TestApp(application)
    return [browser.get("/").text for _ in range(2)]


def test_the_site_of_the_page_counts_visits_on_redis(claimed: list[Block], server: RedisServer) -> None:
    """With the address of a server that is there."""
    (block,) = claimed
    names: dict[str, Any] = {}
    exec(block.text.replace("localhost:6379", f"127.0.0.1:{server.port}"), names)

    assert visits(names["application"]) == ["visit number 1\n", "visit number 2\n"]
    with server.client() as client:
        assert [key.startswith(b"shop:") for key in client.scan_iter()] == [True]


def test_every_option_is_in_the_table_with_its_default() -> None:
    """No option is missing, and none is made up."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE.text, re.MULTILINE)
    options = [option for option in inspect.signature(RedisStore).parameters.values() if option.kind is option.KEYWORD_ONLY]

    assert {name: default.strip('`"').removesuffix(" s") for name, default in rows} == {
        option.name: str(option.default).removesuffix(".0") for option in options
    }


@pytest.mark.parametrize("url", re.findall(r"^\| `(\S+)` \|", PAGE.text, re.MULTILINE))
def test_every_url_of_the_page_is_understood(url: str) -> None:
    """And with another scheme for Valkey; a store connects when it is used."""
    if "://" in url:
        with closing(open_store(url)):  # type: ignore[type-var]  # a store that can be closed
            pass
        open_store(url.replace("redis", "valkey", 1) if not url.startswith("unix") else url)


class _AsOnThePage(RedisServer):
    """A server with the configuration of the page; who is not the site's user may not even ask whether it is there."""

    def __init__(self, files: list[Block]) -> None:
        super().__init__()
        self._files = files
        self.password = re.findall(r">(\S+)", files[1].text)[0]

    def prepare(self) -> None:
        super().prepare()
        configuration, users = [block.write(self.directory) for block in self._files]
        place = f"port {self.port}\nbind 127.0.0.1\nunixsocket {self.socket}\n"
        configuration.write_text(configuration.read_text() + place)
        assert users.name == "users.acl"

    def client(self, **options: Any) -> redis.Redis:
        return super().client(username="shop", **options)

    def answers(self) -> bool:
        with self.client() as client:
            try:
                client.get("shop:nothing")
            except redis.RedisError:
                return False
        return True


def test_the_server_of_the_page_serves_the_site(claimed: list[Block]) -> None:
    """With the rights of the site's user alone; nothing of it is warned of."""
    with _AsOnThePage(claimed) as server:
        url = f"redis://shop:{server.password}@127.0.0.1:{server.port}/0?prefix=shop:&{PATIENT}"
        application = SessionMiddleware(_sign_in, url)
        browser = TestApp(application)
        assert browser.get("/").text == "alice\n"
        manager = application.manager

        health = manager.check()
        assert None not in (health.version, health.role, health.eviction, health.clock_difference, health.records)
        assert len(manager.sessions_of("alice")) == 1
        assert manager.revoke_all("alice") == 1
        browser.get("/")
        assert manager.revoke_everybody() >= 1
        assert manager.sessions_of("alice") == []
        with server.client() as client, pytest.raises(redis.exceptions.NoPermissionError):
            client.get("other:key")


def _sign_in(environ: Any, start_response: Any) -> list[bytes]:
    get_session(environ).login("alice")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"alice\n"]


def test_the_rights_of_the_page_are_enough(server: RedisServer) -> None:
    """F-N7: for every verb, with replicas to wait for too."""
    (line,) = re.findall(r"^user shop .*", PAGE.text, re.MULTILINE)
    with server.client() as client, RedisServer() as replica:
        client.execute_command("ACL", "SETUSER", "site", "reset", *line.split()[2:])
        replica.follow(server)
        for replicas in (0, 1):
            url = f"redis://site:a-long-password@127.0.0.1:{server.port}/1"
            store = RedisStore(url, prefix=f"shop:{a_key()}:", wait_replicas=replicas, timeout=PATIENCE)
            store.open()
            keys = [a_key() for _ in range(3)]
            versions = [created(store, key, a_record(user_id="alice")).version for key in keys]
            assert store.update(keys[0], a_record(b"new", user_id="alice"), version=versions[0])
            assert store.update(keys[1], a_record(expires_in=-10), version=versions[1])
            assert store.delete(keys[2])
            assert listed(store, "alice") == list(store.keys()) == keys[:1]
            assert store.load_many(keys).keys() == {keys[0]}
            assert store.delete_many(keys) == keys[:1]
            store.close()


def test_a_session_takes_no_more_than_the_page_says(server: RedisServer) -> None:
    """By the count of the server, its own notes included; and what is in the index for it."""
    store, prefix = RedisStore(server.url, prefix="size:", timeout=PATIENCE), "size:"
    for size in (100, 500, 1000, 10_000):
        created(store, key := a_key(), a_record(bytes(size), user_id=f"user{size}"))
        with server.client() as client:
            assert client.memory_usage(f"{prefix}{key}") - size <= 200 + size // 4
            assert client.memory_usage(f"{prefix}user:user{size}") <= 300
    store.close()


class _Restored(RedisServer):
    def __init__(self, backup: Path) -> None:
        super().__init__(appendonly="no")
        self._backup = backup

    def prepare(self) -> None:
        super().prepare()
        shutil.copy(self._backup, self.directory / "dump.rdb")


def test_a_backup_of_redis_is_restored(claimed: list[Block]) -> None:
    """By the lines of the page, with the server's own port; what ended since is back until everybody is signed out."""
    *files, block = claimed
    with _AsOnThePage(files) as server:
        store = RedisStore(f"redis://shop:{server.password}@127.0.0.1:{server.port}/0", prefix="shop:", timeout=PATIENCE)
        before = created(store, key := a_key(), a_record(user_id="alice"))
        assert "-p 6379" in block.text
        Block(block.page, block.line, "sh", block.text.replace("6379", str(server.port))).shell()
        store.delete(key)
        store.close()
    with _Restored(Path("backup.rdb")) as restored:
        again = RedisStore.from_url(f"{restored.url}?prefix=shop:&{PATIENT}")
        assert again.load(key) == before
        with restored.client() as client:
            client.config_set("appendonly", "yes")
        assert SessionManager(again).revoke_everybody() == 1
        again.close()


def test_the_numbers_are_those_of_the_code() -> None:
    """How long Redis keeps what has ended."""
    assert _GRACE == 300
    assert "for five minutes more" in PAGE.text.replace("\n", " ")
