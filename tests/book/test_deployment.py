"""The unit and the manifests of the page about deployment start what they describe."""

import shlex
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from session_middleware.tokens import Token
from tests.backends.process import free_port
from tests.backends.running import Backends
from tests.book.pages import Block
from tests.browser import Browser, over_http
from tests.servers.gunicorn import Gunicorn

MIB = 2**20


def served(command: Sequence[str], store: str) -> Gunicorn:
    """Run a command that begins with gunicorn, on a port of ours."""
    program, *arguments = command
    assert Path(program).name == "gunicorn"
    if "--bind" in arguments:
        at = arguments.index("--bind")
        assert arguments[at + 1].endswith(":8000")
        del arguments[at : at + 2]
    *options, application = arguments
    return Gunicorn(application, *options, cwd=Path.cwd(), env={"SESSION_STORE": store, "PYTHONDONTWRITEBYTECODE": "1"})


def counts_visits(server: Gunicorn) -> bool:
    browser = Browser(over_http(server.url))
    return [browser.get("/").text for _ in range(3)] == [f"visit number {number}\n" for number in (1, 2, 3)]


def files_of(claimed: list[Block]) -> dict[str, Path]:
    return {path.name: path for path in [block.write() for block in claimed]}


def container_of(path: Path) -> dict[str, Any]:
    container: dict[str, Any] = yaml.safe_load(path.read_text())["spec"]["template"]["spec"]["containers"][0]
    return container


def test_the_unit_serves_the_site(claimed: list[Block], tmp_path: Path) -> None:
    """Its command does, with its store; the file is closed to others."""
    parser = ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(files_of(claimed)["shop.service"])
    service = parser["Service"]
    name, _, store = service["Environment"].partition("=")
    directory = f"/var/lib/{service['StateDirectory']}/"
    assert (name, store) == ("SESSION_STORE", f"sqlite:///{directory}sessions.sqlite3")

    with served(shlex.split(service["ExecStart"]), store.replace(directory, f"{tmp_path}/")) as server:
        server.all_workers(2)
        assert counts_visits(server)
    assert (tmp_path / "sessions.sqlite3").stat().st_mode & 0o777 == 0o600


def test_the_file_pod_serves_the_site(claimed: list[Block], tmp_path: Path) -> None:
    """In one pod, with the volume that it mounts."""
    files = files_of(claimed)
    pod = container_of(files["shop-file.yaml"])
    (variable,) = pod["env"]
    (mount,) = pod["volumeMounts"]
    store = variable["value"]
    assert store == f"sqlite:///{mount['mountPath']}/sessions.sqlite3"
    assert yaml.safe_load(files["shop-file.yaml"].read_text())["spec"]["replicas"] == 1

    with served(pod["command"], store.replace(mount["mountPath"], str(tmp_path))) as server:
        assert counts_visits(server)


def test_the_pods_serve_the_site(claimed: list[Block], tmp_path: Path, backends: Backends) -> None:
    """Two of them with one Redis, within their memory, and without a file."""
    files = files_of(claimed)
    pod = container_of(files["shop.yaml"])
    store = backends.url("redis")
    with served(pod["command"], store) as one, served(pod["command"], store) as two:
        browser = Browser(over_http(one.url))
        assert browser.get("/").text == "visit number 1\n"
        browser.transport = over_http(two.url)
        assert browser.get("/").text == "visit number 2\n"
        for _ in range(50):
            browser.get("/")
        assert sum(memory_of(pid) for pid in (two.pid, *two.all_workers(2))) < memory(pod["resources"]["limits"]["memory"])
    assert set(files.values()) == {path.relative_to(tmp_path) for path in tmp_path.iterdir()}


@pytest.mark.parametrize("probe", ["livenessProbe", "readinessProbe"])
def test_a_probe_does_not_ask_the_store(probe: str, claimed: list[Block]) -> None:
    """So a store that is away takes no pod away; what needs a session is a 503."""
    pod = container_of(files_of(claimed)["shop.yaml"])
    path = pod[probe]["httpGet"]["path"]
    with served(pod["command"], f"redis://127.0.0.1:{free_port()}/0") as server:
        browser = Browser(over_http(server.url))
        assert browser.get(path).status == 204
        browser.token = Token.new().reveal()
        assert browser.get(path).status == 204
        assert browser.get("/").status == 503


def memory(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi")) * MIB


def memory_of(pid: int) -> int:
    """What a process takes (bytes), with its part of what it shares."""
    (line,) = [line for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines() if line.startswith("Pss:")]
    return int(line.split()[1]) * 1024
