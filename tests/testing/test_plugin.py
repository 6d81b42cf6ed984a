"""The plugin of pytest, in runs of its own."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import pytest
import webtest
from tests.testing import sites

@pytest.fixture
def client():
    return webtest.TestApp(sites.wsgi())

def test_a_user_is_signed_in(client, sign_in, expire_session):
    sign_in(client, "alice", {"cart": ["tea"]})
    assert client.get("/").text == "alice ['tea']"
    assert expire_session(client)
    assert client.get("/").text == "None []"

def test_time_passes(client, sign_in, session_clock):
    sign_in(client, "alice")
    session_clock.advance(3601)
    assert client.get("/").text == "None []"

site = webtest.TestApp(sites.wsgi())

def test_the_store_fails(sign_in, faulty_store):
    sign_in(site, "alice")
    faulty_store(site).fail(times=None)
    assert faulty_store(site).calls == []
    site.get("/", status=503)
    assert len(faulty_store(site.app).calls) == 1

def test_the_store_is_healed_afterwards():
    assert site.get("/").text == "alice []"

def test_calls_are_counted(client, sign_in, store_calls):
    session_id = sign_in(client, "alice")
    with store_calls(client) as calls:
        client.get("/")
    assert calls == [("load", session_id)]
"""

PLUGIN = "session_middleware.testing.plugin"


@pytest.fixture(autouse=True)
def _this_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))


def test_the_fixtures_do_what_they_say(pytester: pytest.Pytester) -> None:
    """Asked for in conftest.py."""
    pytester.makeconftest(f"pytest_plugins = [{PLUGIN!r}]")
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=5)


def test_the_fixtures_can_be_asked_for_on_the_command_line(pytester: pytest.Pytester) -> None:
    """Without a file of the project's."""
    pytester.makepyfile(TESTS)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", PLUGIN).assert_outcomes(passed=5)


def test_they_are_off_unless_asked_for(pytester: pytest.Pytester) -> None:
    """A project that has the package installed has no fixture, and nothing imported, that it did not ask for."""
    pytester.makepyfile(
        """
        import sys

        def test_nothing_is_there():
            assert not [name for name in sys.modules if name.startswith("session_middleware.testing")]

        def test_no_fixture(sign_in):
            pass
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'sign_in' not found"])
