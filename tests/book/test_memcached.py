"""The page about sessions in memcached: its site, its server and its proxy, for real."""

import inspect
import os
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from webtest import TestApp

from session_middleware import ConfigurationError, SessionMiddleware, StoreUnavailable, get_session, open_store
from session_middleware.stores.memcached import _LONGEST_TIME, _OVERHEAD, _SLACK, MemcachedStore
from session_middleware.testing import a_key, a_record, created
from tests.backends.memcached import Memcached
from tests.backends.process import Server, executable, free_port
from tests.backends.running import PATIENCE
from tests.book.pages import Block, Page

PAGE = Page("how-to/memcached")

VISITS = ["visit number 1\n", "visit number 2\n"]


@pytest.fixture(scope="module")
def server() -> Iterator[Memcached]:
    with Memcached() as server:
        yield server


def visits(application: Any) -> list[str]:
    browser = TestApp(application)
    return [browser.get("/").text for _ in range(2)]


def site(environ: Any, start_response: Any) -> list[bytes]:
    session = get_session(environ)
    session["visits"] = session.get("visits", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"visit number {session['visits']}\n".encode()]


def test_the_site_of_the_page_counts_visits_in_memcached(claimed: list[Block], server: Memcached) -> None:
    """With the address of a server that is there; it cannot find the sessions of a user."""
    (block,) = claimed
    names: dict[str, Any] = {}
    exec(block.text.replace("localhost:11211", server.address), names)
    assert visits(names["application"]) == VISITS

    manager = names["application"].manager
    for ask in (
        lambda: list(manager.sessions_of("alice")),
        lambda: manager.revoke_all("alice"),
        lambda: manager.revoke_everybody(),
    ):
        with pytest.raises(ConfigurationError):
            ask()


def test_every_option_is_in_the_table_with_its_default() -> None:
    """No option is missing, and none is made up."""
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", PAGE.text, re.MULTILINE)
    parameters = inspect.signature(MemcachedStore).parameters.values()
    options = {option.name: option.default for option in parameters if option.kind is option.KEYWORD_ONLY}

    written = {1.0: "1 s", 2**20: "1 MiB"}
    assert {name: default.strip('`"') for name, default in rows} == {
        name: written.get(default, str(default)) for name, default in options.items()
    }


@pytest.mark.parametrize("url", re.findall(r"`(memcached://\S+)`", PAGE.text))
def test_every_url_of_the_page_is_understood(url: str) -> None:
    """It connects when it is used."""
    assert isinstance(open_store(url), MemcachedStore)


class _AsOnThePage(Memcached):
    """Started by the line of the page, on a port of ours; as root it must be told that this is meant."""

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = shlex.split(line)

    def command(self) -> Sequence[str]:
        program, *options = self._line
        options[options.index("-p") + 1] = str(self.port)
        return [executable(program, program), *options, *(("-u", "root") if os.getuid() == 0 else ())]


def test_the_memcached_of_the_page_serves_the_site(claimed: list[Block]) -> None:
    """With the limits that the store takes for granted; one that was started with -C is refused."""
    (block,) = claimed
    with _AsOnThePage(block.text) as server:
        store = MemcachedStore(server.address, timeout=PATIENCE)
        assert visits(SessionMiddleware(site, store)) == VISITS
        assert created(store, a_key(), a_record(bytes(store.max_value)))
        with pytest.raises(StoreUnavailable, match="does not fit"):
            store.create(a_key(), a_record(bytes(store.max_value + 1)))
        store.close()
    with _AsOnThePage(f"{block.text.strip()} -C") as server, pytest.raises(ConfigurationError, match="runs with -C"):
        SessionMiddleware(site, MemcachedStore(server.address, timeout=PATIENCE))


def test_the_statistics_of_the_page_are_shown(claimed: list[Block], server: Memcached) -> None:
    """Nothing was dropped."""
    (block,) = claimed
    text = block.text.replace("127.0.0.1:11211", server.address)

    assert Block(block.page, block.line, "sh", text).shell() == "0\n"


class _Proxy(Server):
    """``nutcracker`` with the configuration of the page, and the addresses of servers that are there."""

    name = "twemproxy"

    def __init__(self, text: str, *behind: Memcached) -> None:
        super().__init__()
        settings = yaml.safe_load(text)
        settings["sessions"] |= {
            "listen": f"127.0.0.1:{self.port}",
            "servers": [f"{server.address}:1" for server in behind],
        }
        self._settings = settings

    def prepare(self) -> None:
        Path(self.directory, "nutcracker.yml").write_text(yaml.safe_dump(self._settings))

    def command(self) -> Sequence[str]:
        program = executable("nutcracker", "nutcracker")
        return [program, "-c", "nutcracker.yml", "-a", "127.0.0.1", "-s", str(free_port()), "-m", "16384"]


def test_through_twemproxy_the_site_is_the_same(claimed: list[Block], server: Memcached) -> None:
    """In front of two servers, of which the store knows nothing."""
    (block,) = claimed
    assert len(yaml.safe_load(block.text)["sessions"]["servers"]) == 2
    with Memcached() as other, _Proxy(block.text, server, other) as proxy:
        store = MemcachedStore(f"127.0.0.1:{proxy.port}", timeout=PATIENCE)
        assert visits(SessionMiddleware(site, store)) == VISITS
        keys = [a_key() for _ in range(20)]
        for key in keys:
            created(store, key)
        assert [store.delete(key) for key in keys] == [True] * 20
        store.close()


def test_the_numbers_are_those_of_the_code() -> None:
    """What an item takes, and what memcached's clock matters to."""
    assert _LONGEST_TIME == 30 * 86400
    assert _SLACK == 60
    assert 100 < _OVERHEAD + len("session:") + 12 + 16 < 150
