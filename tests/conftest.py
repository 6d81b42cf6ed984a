"""What every test module shares."""

import asyncio
import gc
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from tests.backends.running import EMBEDDED, PATIENT, SERVED, SHARED, Backends, a_store
from tests.chromium import launched

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytest.register_assert_rewrite("session_middleware.testing", "tests.model.machine")


@pytest.fixture(autouse=True)
def _unmeasured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Keep coverage, if it is at work, out of the tests that say so; those also in threads that they start."""
    if request.node.get_closest_marker("unmeasured") is None:
        yield
        return
    here, in_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    yield
    sys.settrace(here)
    threading.settrace(in_threads)


@pytest.fixture(scope="session")
def backends() -> Iterator[Backends]:
    """The servers that keep sessions."""
    with ExitStack() as stack:
        yield Backends(stack)


@pytest.fixture(scope="session")
def chromium() -> "Iterator[Browser]":
    """A real browser; there can be one in a process."""
    with launched() as browser:
        loop = asyncio._get_running_loop()
        yield browser
        asyncio._set_running_loop(loop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Put away the event loop of the browser, which runs as long as that is there, while a test runs that has no browser.

    Django refuses to work where an event loop runs.
    """
    loop = asyncio._get_running_loop()
    if loop is None or "chromium" in getattr(item, "fixturenames", ()):
        return (yield)
    asyncio._set_running_loop(None)
    try:
        return (yield)
    finally:
        asyncio._set_running_loop(loop)


@pytest.fixture
def quick_directory(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory where there is such a thing, for tests that flush the disk often."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


@pytest.fixture(params=[*EMBEDDED, *(pytest.param(kind, marks=pytest.mark.unmeasured) for kind in SERVED)])
def store(request: pytest.FixtureRequest, backends: Backends) -> Iterator[Any]:
    """A store of each kind, in which nothing has been stored yet.

    What a test covers of the rest does not depend on the kind, and to measure it takes as long as the test itself.
    """
    directory = request.getfixturevalue("quick_directory") if request.param == "sqlite" else Path()
    with a_store(request.param, directory, backends) as store:
        yield store


@pytest.fixture(params=SHARED)
def url(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> str:
    """The URL of an empty store that processes share, of each kind; most of them in the soak."""
    return f"sqlite:///{tmp_path}/sessions.sqlite3?{PATIENT}" if request.param == "sqlite" else backends.url(request.param)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes for each processor, for half of the time they wait for a server; but each starts servers of its own.

    Only one more than there are processors where times are measured.
    """
    count = os.cpu_count() or 1
    return min(8, count + 1 if config.option.markexpr.endswith("and timed") else 2 * count)


def pytest_collection_finish() -> None:
    """The tests themselves, fifteen thousand, are not to be gone through by each collection of garbage."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing may be missing, a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("SESSION_MIDDLEWARE_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sealed", action="store_true", help="seal the sessions of each manager that is made in this process")
    parser.addoption("--bound", action="store_true", help="offer bindings to devices from each middleware that is made")


def _otherwise(config: pytest.Config) -> Iterator[tuple[Callable[[], None], dict[str, tuple[str, ...]]]]:
    """Yield for each option with which the tests run otherwise: what makes it so, and the tests that are left out."""
    if config.getoption("--sealed"):
        from tests import sealing

        yield sealing.seal_all, sealing.DIFFERENT
    if config.getoption("--bound"):
        from tests import offering

        yield offering.offer_all, offering.DIFFERENT


def pytest_configure(config: pytest.Config) -> None:
    # How long an example takes is the machine's affair. Where nothing may be missing, the examples are the same ones each
    # time: what is red there is so by the last change. Elsewhere they are new ones.
    again = bool(os.environ.get("SESSION_MIDDLEWARE_NO_SKIPS"))
    settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=again)
    settings.load_profile("tests")
    for begin, _ in _otherwise(config):
        begin()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    different = {name for _, left_out in _otherwise(config) for names in left_out.values() for name in names}
    items[:] = [item for item in items if getattr(item, "originalname", item.name) not in different]
