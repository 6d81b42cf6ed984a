"""The WSGI servers that the tests know, each on a free loopback port for as long as a ``with`` block runs."""

import socket
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.backends.certificates import certify
from tests.backends.process import Server, free_port
from tests.servers.gunicorn import ROOT

APPLICATION: Final = "tests.servers.everywhere:application"
PROXY: Final = {"X-Forwarded-Proto": "https"}


class Encrypted(NamedTuple):
    """How to ask a server for something over https: at which port, with TLS or as a proxy that has ended it."""

    port: int
    tls: bool
    headers: dict[str, str]


class WSGIServer(Server):
    """Four requests at least run at once; it believes a proxy on this machine."""

    needs: tuple[str, ...]
    """The distributions that it comes in, with the names that they are imported by."""

    def __init__(self) -> None:
        for name in self.needs:
            distribution, _, module = name.partition(":")
            if find_spec(module or distribution) is None:
                pytest.skip(f"{distribution} is not installed: pip install {distribution}")
        self.port = free_port(beside=1)
        self._process = None

    def prepare(self) -> None:
        self._certificate, self._key = certify(self.directory)

    @property
    def encrypted(self) -> Encrypted:
        return Encrypted(self.port, tls=False, headers=PROXY)

    def command(self) -> Sequence[str]:
        # What a server keeps beside its port is in its own directory.
        return ("env", f"PYTHONPATH={ROOT}", f"XDG_RUNTIME_DIR={self.directory}", *self.program())

    def program(self) -> Sequence[str]:
        """Return the command that serves the application on ``port``."""
        raise NotImplementedError

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def _address(self) -> str:
        return f"127.0.0.1:{self.port}"


class GunicornSync(WSGIServer):
    name = "gunicorn-sync"
    needs: tuple[str, ...] = ("gunicorn",)
    options: tuple[str, ...] = ("--worker-class", "sync", "--workers", "4")

    def program(self) -> Sequence[str]:
        return (sys.executable, "-m", "gunicorn", *self.options, "--timeout", "120", "--bind", self._address, APPLICATION)


class GunicornThreads(GunicornSync):
    name = "gunicorn-gthread"
    options = ("--worker-class", "gthread", "--workers", "2", "--threads", "4")


class GunicornGevent(GunicornSync):
    name = "gunicorn-gevent"
    needs = ("gunicorn", "gevent")
    options = ("--worker-class", "gevent", "--workers", "2")


class Waitress(WSGIServer):
    name = "waitress"
    needs = ("waitress",)

    def program(self) -> Sequence[str]:
        proxy = ("--trusted-proxy", "127.0.0.1", "--trusted-proxy-headers", "x-forwarded-proto")
        return (sys.executable, "-m", "waitress", "--listen", self._address, "--threads", "8", *proxy, APPLICATION)


class Library(WSGIServer):
    """A server that is a library, with a certificate one port higher."""

    def program(self) -> Sequence[str]:
        script = str(Path(__file__).with_name("libraries.py"))
        return (sys.executable, script, self.name, str(self.port), str(self._certificate), str(self._key))

    def answers(self) -> bool:
        with socket.create_connection(("127.0.0.1", self.port + 1), timeout=1):
            return super().answers()

    @property
    def encrypted(self) -> Encrypted:
        return Encrypted(self.port + 1, tls=True, headers={})


class Cheroot(Library):
    name = "cheroot"
    needs = ("cheroot",)


class Werkzeug(Library):
    name = "werkzeug"
    needs = ("Werkzeug:werkzeug",)


class UWSGI(WSGIServer):
    name = "uwsgi"
    needs = ("pyuwsgi",)

    def program(self) -> Sequence[str]:
        options = ("--master", "--need-app", "--die-on-term", "--processes", "2", "--threads", "4", "--enable-threads")
        code = "import pyuwsgi; pyuwsgi.run()"
        return (sys.executable, "-c", code, *options, "--http-socket", self._address, "--module", APPLICATION)


class Granian(WSGIServer):
    name = "granian"
    needs = ("granian",)

    def program(self) -> Sequence[str]:
        options = ("--interface", "wsgi", "--workers", "1", "--blocking-threads", "8", "--no-ws", "--http", "1")
        place = ("--host", "127.0.0.1", "--port", str(self.port))
        return (sys.executable, "-m", "granian", *options, *place, "tests.servers.everywhere:behind_a_proxy")


SERVERS: Final[list[type[WSGIServer]]] = [
    *(GunicornSync, GunicornThreads, GunicornGevent),
    *(Waitress, Cheroot, UWSGI, Granian, Werkzeug),
]
