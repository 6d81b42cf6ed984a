"""Serve with a server that is a library: ``python libraries.py NAME PORT CERTIFICATE KEY``; https is one port higher."""

import sys
from pathlib import Path
from threading import Thread

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.servers.everywhere import application


def cheroot(port: int, certificate: tuple[str, str] | None) -> None:
    from cheroot.ssl.builtin import BuiltinSSLAdapter
    from cheroot.wsgi import Server

    server = Server(("127.0.0.1", port), application)
    if certificate:
        server.ssl_adapter = BuiltinSSLAdapter(*certificate)
    server.start()


def werkzeug(port: int, certificate: tuple[str, str] | None) -> None:
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, application, threaded=True, ssl_context=certificate)


def main(name: str, port: str, certificate: str, key: str) -> None:
    serve = {"cheroot": cheroot, "werkzeug": werkzeug}[name]
    Thread(target=serve, args=(int(port) + 1, (certificate, key)), daemon=True).start()
    serve(int(port), None)


if __name__ == "__main__":
    main(*sys.argv[1:])
