"""Work done in a fork of the test's process."""

import os
import signal
import time
from collections.abc import Callable

import pytest

while_others_work = pytest.mark.unmeasured
"""For tests that fork while other threads are at work: coverage has a lock that may then be held in the child for ever."""


def in_child(work: Callable[[], object], *, timeout: float = 120) -> int:
    """Run *work* in a fork of this process; return its exit status, -1 if it hangs (its stack is then on stderr)."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.0005)
    os.kill(pid, signal.SIGABRT)
    os.waitpid(pid, 0)
    return -1
