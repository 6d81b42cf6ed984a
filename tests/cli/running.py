"""Runs the command in a process of its own, and makes sessions for it to find."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import pexpect
from click.testing import CliRunner, Result

from session_middleware import Lifetime, Send, SessionManager, open_store
from session_middleware.cli.group import sessions

ROOT: Final = Path(__file__).parents[2]
LONG: Final = 600
"""What a process may take on a machine that is busy (seconds)."""

OF_OTHERS: Final = (
    "SESSION_STORE",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
)
"""What whoever runs the tests may have set for commands of their own."""

HOUR: Final = 3600.0
DAY_LONG: Final = Lifetime(idle=24 * HOUR, absolute=30 * 24 * HOUR)


def environ(**more: str) -> dict[str, str]:
    """Return the environment of a process that finds the package, and no settings of whoever runs the tests."""
    kept = {name: value for name, value in os.environ.items() if name not in OF_OTHERS}
    return kept | {"PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120", "PYTHONWARNINGS": "ignore"} | more


def run(*arguments: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Run ``python -m session_middleware`` with *arguments*, without a terminal; *more* goes into its environment."""
    command = [sys.executable, "-m", "session_middleware", *arguments]
    return subprocess.run(
        command,
        cwd=cwd,
        env=environ(**more),
        capture_output=True,
        text=True,
        timeout=LONG,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def result(done: subprocess.CompletedProcess[str]) -> Any:
    """Return what stands in the envelope that was printed."""
    assert done.returncode == 0, done.stderr
    envelope = json.loads(done.stdout)
    assert envelope["version"] == 1
    return envelope["result"]


def here(*arguments: str, obj: Any = None, **options: Any) -> Result:
    """Run the command in this process."""
    options["env"] = dict.fromkeys(OF_OTHERS) | options.get("env", {})
    return CliRunner().invoke(sessions, arguments, obj=obj, prog_name="session-middleware", **options)


def in_terminal(*arguments: str, **more: str) -> "pexpect.spawn[str]":
    """Run the command in a terminal."""
    return spawned("-m", "session_middleware", *arguments, env=environ(**more))


def spawned(*arguments: str, env: dict[str, str]) -> "pexpect.spawn[str]":
    """Run Python in a terminal, where Ctrl-C interrupts it also if these tests run in the background of a shell."""
    return pexpect.spawn(
        sys.executable,
        [*arguments],
        env=env,
        cwd=str(ROOT),
        timeout=LONG,
        encoding="utf-8",
        dimensions=(50, 120),
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


@dataclass
class Site:
    """Sessions in the store at a URL: those that were made here, and the tokens that their browsers have."""

    url: str
    tokens: list[str] = field(default_factory=list)
    lifetime: Lifetime = DAY_LONG
    namespace: str = "session"

    def __post_init__(self) -> None:
        self.store: Any = open_store(self.url)
        self.manager = SessionManager(self.store, lifetime=self.lifetime, namespace=self.namespace)

    def begin(self, user: str | None = None, *, ago: float = 0.0, data: Mapping[str, Any] | None = None) -> str:
        """Make a session as of so many seconds *ago*; return its id."""
        then = time.time() - ago
        manager = SessionManager(self.store, lifetime=self.lifetime, namespace=self.namespace, clock=lambda: then)
        session = manager.open()
        session.update({"cart": ["book"], "n": 1} if data is None else data)
        if user is not None:
            session.login(user)
        verdict = manager.commit(session)
        assert isinstance(verdict, Send)
        self.tokens.append(verdict.token.reveal())
        return session.id

    def lives(self, *ids: str) -> list[bool]:
        return [self.manager.find(key) is not None for key in ids]

    def secrets(self) -> Iterator[str]:
        """Yield what no command may print: the second part of each token."""
        return (token[12:] for token in self.tokens)
