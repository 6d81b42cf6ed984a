"""A real gunicorn on a free loopback port, for as long as a ``with`` block runs."""

import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]

# Bounds for what never comes: on a busy machine a start takes long.
_START_WITHIN = 120.0
_STOP_WITHIN = 60.0
_PAUSE = 0.02

# What whoever runs the tests may have set for servers of their own.
_OF_OTHERS = {"FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS", "PORT", "WEB_CONCURRENCY"}

# Not HTTP, so that a worker answers it and no application sees it.
_PROBE = b"ready?\r\n\r\n"


class Gunicorn:
    """Serve *app* (``module:name``), found on *pythonpath*, with *cwd* as the working directory.

    Further *arguments* go to gunicorn as they are, *env* on top of the environment. Entering the block returns when a
    worker answers; leaving it stops the server. *port*: one that the test has kept free; any other if it is left out.
    """

    def __init__(
        self,
        app: str,
        *arguments: str,
        cwd: Path,
        pythonpath: Path = ROOT,
        env: Mapping[str, str] | None = None,
        port: int = 0,
    ) -> None:
        self._command = (sys.executable, "-m", "gunicorn", app, "--pythonpath", str(pythonpath), *arguments)
        self._cwd = cwd
        self._env = {name: value for name, value in os.environ.items() if name not in _OF_OTHERS} | {**(env or {})}
        self.port = port

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="gunicorn-")
        self._log = Path(self._directory.name, "log")
        # gunicorn puts a socket of its own there; two servers must not share it.
        self._env["XDG_RUNTIME_DIR"] = self._directory.name
        # The port is bound here and inherited, so nobody else can take it in between.
        with socket.socket() as listener, self._log.open("wb") as log:
            # What was served there before may have left connections behind that are not forgotten yet.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, bool(self.port))
            listener.bind(("127.0.0.1", self.port))
            self.port = listener.getsockname()[1]
            self._process = subprocess.Popen(
                (*self._command, "--bind", f"fd://{listener.fileno()}"),
                cwd=self._cwd,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=(listener.fileno(),),
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._directory.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process id of the master."""
        return self._process.pid

    def worker_pids(self) -> list[int]:
        """Return the process ids of the workers that live now; a restarted worker has another one."""
        return sorted(int(stat.parent.name) for stat in Path("/proc").glob("[0-9]*/stat") if _parent(stat) == self.pid)

    def all_workers(self, count: int, *, without: Collection[int] = ()) -> list[int]:
        """Return the process ids of the workers, as soon as there are *count*, and none of those *without*.

        The server answers when the first of its workers does.
        """
        deadline = time.monotonic() + _START_WITHIN
        while len(pids := self.worker_pids()) != count or not set(without).isdisjoint(pids):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(pids)} workers of {count} live:\n{self.log()}")
            time.sleep(_PAUSE)
        return pids

    def log(self) -> str:
        """Return what the server has written to stdout and stderr so far; readable until the block is left."""
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End the server in an orderly way, by force if that takes too long; nothing if it has ended already."""
        workers = self.worker_pids()
        self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            for pid in workers:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"gunicorn does not answer:\n{self.log()}")
            time.sleep(_PAUSE)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
                connection.sendall(_PROBE)
                return connection.recv(1) != b""
        except OSError:
            return False


class SecureGunicorn(Gunicorn):
    """One that serves https; its *arguments* name the certificate and the key."""

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def _answers(self) -> bool:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
                context.wrap_socket(connection).close()
                return True
        except OSError:
            return False


def _parent(stat: Path) -> int | None:
    """Return the parent of the process that ``/proc/.../stat`` tells of; ``None`` if that has ended."""
    try:
        state, parent, *_ = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else int(parent)
