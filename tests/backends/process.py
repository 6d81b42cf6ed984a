"""One server process, for as long as a ``with`` block runs: started, stopped, killed, paused. It knows no protocol."""

import atexit
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

# Bounds for what never comes: on a busy machine a start takes long; a Redis sentinel that was held up itself does nothing
# for half a minute.
_START_WITHIN = 120.0
_DONE_WITHIN = 120.0
_STOP_WITHIN = 60.0
_PAUSE = 0.02

ANSWERS_WITHIN = 30
"""How long what the tests themselves ask a server may take (seconds)."""

# Below those that systems give to clients: a server that is started again finds its port as it left it.
_PORTS = range(16_000, 32_000)
_CLAIMS = ExitStack()
atexit.register(_CLAIMS.close)


def executable(name: str, package: str, *, beside: str = "") -> str:
    """Return the path of a server's program; skip the test, saying how to install it, if there is none.

    *beside*: a glob of directories outside of PATH where Debian puts it.
    """
    path = os.pathsep.join(
        [os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", *map(str, sorted(Path("/").glob(beside or "usr/sbin")))]
    )
    found = shutil.which(name, path=path)
    if found is None:
        pytest.skip(f"{name} is not installed: apt-get install {package}")
    return found


def free_port(*, beside: int = 0) -> int:
    """Return a loopback port that nobody listens on, and that no client is given by the system; nobody else gets it here.

    Nor does anybody get the one that is *beside* higher. Tests run in several processes: a socket for datagrams on the same
    port, of which no server has any, says it is taken.
    """
    while True:
        port = random.SystemRandom().choice(_PORTS[: len(_PORTS) - beside])
        with ExitStack() as stack, suppress(OSError):
            for number in {port, port + beside}:
                claim = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
                claim.bind(("127.0.0.1", number))
                with socket.socket() as listener:
                    listener.bind(("127.0.0.1", number))
            _CLAIMS.push(stack.pop_all())
            return port


def until(done: Callable[[], object], otherwise: str, *, despite: tuple[type[Exception], ...] = (OSError,)) -> None:
    """Ask until it is done; *despite* such errors: a server that cannot be asked just now is no reason to stop."""
    deadline = time.monotonic() + _DONE_WITHIN
    while True:
        with suppress(*despite):
            if done():
                return
        assert time.monotonic() < deadline, otherwise
        time.sleep(_PAUSE)


class Server:
    """A server that a subclass says how to start. Entering the block returns when it answers; leaving it stops it.

    ``directory`` and ``port`` stay the same over a restart, so that clients find it again.
    """

    name = "server"

    def __init__(self) -> None:
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    # For the subclass

    def command(self) -> Sequence[str]:
        """Return the command line that serves ``port`` from ``directory``, in the foreground."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Make what the server needs in ``directory``, once."""

    def answers(self) -> bool:
        """Tell whether the server takes commands now; an ``OSError`` says no."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=ANSWERS_WITHIN):
            return True

    @property
    def user(self) -> str | None:
        """The system user that the server runs as, when the tests run as root; ``None`` for root itself."""
        return None

    # For the tests

    def __enter__(self) -> Self:
        self._temporary = tempfile.TemporaryDirectory(prefix=f"{self.name}-", ignore_cleanup_errors=True)
        self.directory = Path(self._temporary.name)
        if self.user is not None:
            shutil.chown(self.directory, self.user)
        try:
            self.prepare()
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        self._temporary.cleanup()

    @property
    def pid(self) -> int:
        """The process id; raise if it is not running."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the server, on the same port as before, and wait until it answers."""
        with Path(self.directory, "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self.user,
            )
        deadline = time.monotonic() + _START_WITHIN
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} does not answer:\n{self.log()}")
            time.sleep(_PAUSE)

    def stop(self) -> None:
        """End the server in an orderly way, by force if that takes too long; nothing if it has ended already."""
        self._end(self.orderly)

    orderly = signal.SIGTERM
    """The signal that ends it in an orderly way."""

    def kill(self) -> None:
        """End the server at once, as a crash would."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Let the server fall silent (SIGSTOP): the system still accepts connections for it."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def log(self) -> str:
        """Return what the server has written to stdout and stderr so far."""
        return Path(self.directory, "log").read_text(errors="replace")

    def _ready(self) -> bool:
        try:
            return self.answers()
        except OSError:
            return False

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.send_signal(number)
        try:
            process.wait(_STOP_WITHIN)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
