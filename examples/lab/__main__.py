"""Serve the lab with gunicorn: ``python -m examples.lab --store URL``; ``--help`` tells what else there is."""

import argparse
import os
import sys
from pathlib import Path

from session_middleware import ConfigurationError, open_store

CONFIG = Path(__file__).parents[1] / "gunicorn.conf.py"
ROOT = Path(__file__).parents[2]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.lab", description="Serve the session lab.")
    parser.add_argument(
        "--store", metavar="URL", default="", help="where the sessions are kept; a SQLite file in ./demo by default"
    )
    parser.add_argument(
        "--bind", metavar="ADDRESS", default="127.0.0.1:8000", help="host and port; 127.0.0.1:8000 by default"
    )
    parser.add_argument("--certfile", help="serve https with this certificate")
    parser.add_argument("--keyfile", help="and this key")
    options = parser.parse_args(arguments)
    try:
        open_store(options.store or "memory:")
    except ConfigurationError as error:
        parser.error(f"--store: {error}")
    scheme = "https" if options.certfile else "http"
    command = [sys.executable, "-m", "gunicorn", "--config", str(CONFIG), "--pythonpath", str(ROOT), "--bind", options.bind]
    # What takes a while at the start is done once: importing, and hashing the passwords of the users.
    command += ["--preload"]
    # Twenty parallel requests are to run at once; and the store "memory:" lives in one process.
    command += ["--threads", "32" if options.store.startswith("memory") else "16"]
    command += ["--workers", "1"] if options.store.startswith("memory") else []
    for name in ("certfile", "keyfile"):
        command += [f"--{name}", getattr(options, name)] if getattr(options, name) else []
    print(f"Starting the session lab on {scheme}://{options.bind} (end it with Ctrl-C); it keeps its data in demo/.")
    print('It is there when gunicorn says "Listening": a few seconds, on a busy machine more.', flush=True)
    os.execve(sys.executable, [*command, "examples.lab.app:application"], {**os.environ, "LAB_STORE": options.store})  # noqa: S606


if __name__ == "__main__":
    main()
