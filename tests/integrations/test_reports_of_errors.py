"""What Sentry, Django's reports and tracebacks with locals show of a token, on sites of each framework whose store fails."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from tests.integrations.reporting import SITES, Report
from tests.secrecy import Secrets

ROOT = Path(__file__).parents[2]
FAILURES = ["Redis refusing", "Redis stopped", "SQLite read-only"]

# How frames of WSGI, of whatever library, call the environ that the server made.
THE_REQUEST = {"environ", "attrs"}

Reports = dict[str, Report]
Reported = Callable[[str, str], Reports]


@pytest.fixture(scope="module")
def reported() -> Reported:
    """Run all sites under all reporters, once for each scheme and set-up."""

    @cache
    def run(scheme: str, setup: str) -> Reports:
        with tempfile.TemporaryDirectory() as directory:  # one that the sites may enter when they run as nobody
            command = [sys.executable, "-m", "tests.integrations.reporting", directory, scheme, setup]
            environ = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(command, cwd=directory, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        reports: Reports = json.loads(done.stdout)
        return reports

    return run


def secrets_of(report: Report) -> Secrets:
    secrets = Secrets()
    for token in {*report["tokens"]}:
        secrets.add(token)
    return secrets


SCHEMES = ["http", pytest.param("https", marks=pytest.mark.soak)]


def test_every_site_has_failed_in_every_way(reported: Reported) -> None:
    """Without errors that were reported, the tests below would show nothing."""
    reports = reported("http", "default")

    assert sorted(reports) == sorted(f"{site}, {failure}" for site in SITES for failure in FAILURES)
    assert all(report["statuses"].count(503) >= 4 for report in reports.values())
    for site in SITES:
        assert sum(len(reports[f"{site}, {failure}"]["events"]) for failure in FAILURES) > 1
    assert len(reports["django, SQLite read-only"]["mails"]) > 20
    assert any("RuntimeError" in page and "COOKIES" in page for page in reports["django, Redis refusing"]["pages"])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_traceback_with_locals_shows_it_in_the_request_alone(reported: Reported, scheme: str) -> None:
    """Promise 11: of every error, its causes and contexts, in no frame but by the environ."""
    for report in reported(scheme, "default").values():
        secrets = secrets_of(report)
        text = "\n".join(value for _, name, value in report["locals"] if name not in THE_REQUEST)

        assert secrets.found_in(text) == []


@pytest.mark.parametrize("scheme", SCHEMES)
def test_sentry_as_it_comes_shows_it_in_the_request_alone(reported: Reported, scheme: str) -> None:
    """Promise 11: the locals of the environ are all there is; Sentry hides the header by itself."""
    for name, report in reported(scheme, "default").items():
        secrets = secrets_of(report)
        for text in report["events"]:
            event = json.loads(text)
            for exception in event.get("exception", {}).get("values", []):
                for frame in exception.get("stacktrace", {}).get("frames", []):
                    for variable in THE_REQUEST:
                        frame.get("vars", {}).pop(variable, None)

            assert secrets.found_in(json.dumps(event)) == [], name


def test_djangos_page_and_mail_show_none_of_the_cookie_that_is_named(reported: Reported) -> None:
    """Promise 11: on plain HTTP the name is the one that is set."""
    for failure in FAILURES:
        report = reported("http", "default")[f"django, {failure}"]

        assert secrets_of(report).found_in("\n".join([*report["pages"], *report["mails"]])) == []


@pytest.mark.soak
def test_djangos_page_and_mail_show_a_cookie_under_a_name_that_is_not_set(reported: Reported) -> None:
    """Why the page of error reports says what to set."""
    report = reported("https", "default")["django, Redis refusing"]
    for shown in (report["pages"], report["mails"]):
        assert secrets_of(report).found_in("\n".join(shown))


def test_no_report_has_a_token(reported: Reported) -> None:
    """Promise 11: as the page of error reports sets them up, with all that Sentry leaves out unless it is asked for."""
    for name, report in reported("https", "advised").items():
        secrets = secrets_of(report)

        assert secrets.all, name
        assert secrets.found_in("\n".join([*report["events"], *report["pages"], *report["mails"]])) == [], name
