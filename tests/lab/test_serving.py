"""Starting the lab: as ``make demo`` does, and with less than the experiments would like."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from tests.backends.process import Server
from tests.browser import Browser, in_process, over_http
from tests.lab.conftest import APPLICATION
from tests.servers.gunicorn import ROOT, Gunicorn

LAB = (sys.executable, "-W", "ignore", "-m", "examples.lab")


class Lab(Server):
    """``python -m examples.lab``, in a directory of its own."""

    name = "lab"

    def command(self) -> Sequence[str]:
        code = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from examples.lab.__main__ import main; main()"
        return (sys.executable, "-c", code, "--store", "memory:", "--bind", f"127.0.0.1:{self.port}")


def test_another_store_is_a_url_away() -> None:
    """``--store memory:`` keeps sessions in one process, so there is one; the page names the store."""
    with Lab() as server:
        browser = Browser(over_http(f"http://127.0.0.1:{server.port}"))
        browser.get("/")
        answer = browser.submit("/", "/try/parallel")

        assert answer.status == 303
        assert "<code>MemoryStore</code>" in browser.get("/").text
        assert "This layer kept 20 of 20." in browser.get("/").text
        assert f"Starting the session lab on http://127.0.0.1:{server.port}" in server.log()
        assert "Traceback" not in server.log()
        assert not Path(server.directory, "demo", "sessions.sqlite3").exists()


def test_the_lab_is_there_when_gunicorn_says_so() -> None:
    """What takes a while is done by then, once for all workers; the first line says where the lab will be, and to wait."""

    class Listening(Lab):
        def answers(self) -> bool:
            return "Listening at" in self.log()

    with Listening() as server:
        with closing(sqlite3.connect(server.directory / "demo" / "users.sqlite3")) as connection:
            assert connection.execute("SELECT count(*) FROM users").fetchone() == (3,)
        assert server.log().startswith("Starting the session lab on ")


@pytest.mark.soak
def test_eight_workers_start_at_once_on_one_busy_core(tmp_path: Path) -> None:
    """Each makes what is missing in ``./demo``, without the others, and nobody waits in vain for a lock."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = (sys.executable, "-W", "ignore", "-c", "import examples.lab.app")
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        workers = [subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE) for _ in range(8)]
    finally:
        os.sched_setaffinity(0, cores)
    try:
        errors = [worker.communicate(timeout=300)[1].decode() for worker in workers]
    finally:
        for process in (busy, *workers):
            process.kill()
            process.wait()

    assert [error for error in errors if "Traceback" in error] == []
    assert [worker.returncode for worker in workers] == [0] * 8
    with closing(sqlite3.connect(tmp_path / "demo" / "users.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (3,)


def test_a_store_that_cannot_be_is_an_error_at_the_start() -> None:
    """In one line that says what to write instead, and no server."""
    result = subprocess.run([*LAB, "--store", "sqlite:x"], capture_output=True, text=True, cwd=ROOT, timeout=600)

    assert result.returncode == 2
    assert "--store: sqlite:x: a path stands after three slashes" in result.stderr.splitlines()[-1]


def test_few_threads_are_enough(tmp_path: Path) -> None:
    """With the two workers of four threads of the example configuration every request still arrives."""
    with Gunicorn(APPLICATION, "--config", str(ROOT / "examples" / "gunicorn.conf.py"), cwd=tmp_path) as server:
        browser = Browser(over_http(server.url))
        browser.get("/")
        assert browser.submit("/", "/try/parallel").status == 303

        assert "This layer kept 20 of 20." in browser.get("/").text


def test_without_a_server_to_ask_an_experiment_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """503: the requests of an experiment are real ones."""
    monkeypatch.chdir(tmp_path)
    from examples.lab.app import make

    browser = Browser(in_process(make()))
    browser.get("/")
    answer = browser.submit("/", "/try/parallel")

    assert answer.status == 503
    assert "The experiments need gunicorn" in answer.text
