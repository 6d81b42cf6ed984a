"""What every test module shares."""

import os

import pytest

pytest.register_assert_rewrite("session_middleware.testing")


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing may be missing, a skipped test is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("SESSION_MIDDLEWARE_NO_SKIPS") and reporter and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
