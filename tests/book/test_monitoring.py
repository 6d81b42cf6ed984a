"""What the page about monitoring says is served, scraped and shown."""

import json
import logging
import os
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_middleware.observers.counted import COUNTS
from tests.apps import visit
from tests.backends.prometheus import Prometheus
from tests.book.pages import DOCS, Block, Page
from tests.browser import Browser, over_http
from tests.observers.test_prometheus import read
from tests.servers.gunicorn import Gunicorn

REQUESTS = 40
CREATED = "session_middleware_sessions_created_total", ""
DASHBOARD = json.loads((DOCS.parent / "examples" / "grafana-dashboard.json").read_text())


@pytest.fixture
def audit() -> Iterator[logging.Logger]:
    """The logger, as it was before a page has set it up."""
    logger = logging.getLogger("session_middleware.audit")
    yield logger
    for handler in logger.handlers[:]:
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    logger.setLevel(logging.NOTSET)


def test_the_audit_log_has_lines_as_on_the_page(audit: logging.Logger) -> None:
    """The page runs to its end; each line in the file has the keys of one that it shows."""
    page = Page("how-to/monitoring")
    names = page.run()
    names["Audit"]().on(names["Ended"](at=0.0, session_id="a", user_id="5", reason="signed_out"))
    shown = [json.loads(line) for block in page.in_language("text") for line in block.text.splitlines()]
    (line,) = Path("audit.log").read_text().splitlines()

    assert json.loads(line).keys() == shown[1].keys()
    assert [one["event"] for one in shown] == ["SignedIn", "Ended"]
    assert visit(names["application"]).status == "204 No Content"
    assert names["queued"].close()


def test_every_metric_is_on_the_page() -> None:
    """By its name."""
    text = Page("how-to/monitoring").text

    assert [count.name for count in COUNTS.values() if f"session_middleware_{count.name}_total" not in text] == []


def test_prometheus_scrapes_a_site_of_several_processes(claimed: list[Block], tmp_path: Path) -> None:
    """Whichever worker answers, it tells of all of them; what the dashboard asks, Prometheus can answer."""
    files = {block.caption: block for block in claimed}
    for block in claimed:
        if block.caption:
            block.write()
    *_, setting, command = files[None].text.splitlines()
    directory = setting.partition("PROMETHEUS_MULTIPROC_DIR=")[2]
    arguments = shlex.split(command)
    assert arguments[:4] == ["exec", "python", "-m", "gunicorn"]
    assert "mkdir " + directory in files[None].text
    (tmp_path / directory).mkdir()
    # The test has the server listen elsewhere.
    with Gunicorn(arguments[-1], *arguments[4:6], cwd=tmp_path, env={"PROMETHEUS_MULTIPROC_DIR": directory}) as server:
        for _ in range(REQUESTS):
            assert Browser(over_http(server.url)).get("/").status == 200
        scrapes = [read(Browser(over_http(server.url)).get("/metrics").text) for _ in range(10)]
        assert {scrape[CREATED] for scrape in scrapes} == {REQUESTS}
        ended, _ = server.all_workers(2)
        before = sorted(path.name for path in (tmp_path / directory).iterdir())
        assert {name.partition("_")[0] for name in before} == {"counter", "histogram"}
        os.kill(ended, signal.SIGTERM)
        server.all_workers(2, without=[ended])
        # What it has counted still counts, and its files stay.
        assert read(Browser(over_http(server.url)).get("/metrics").text)[CREATED] == REQUESTS
        assert set(before) <= {path.name for path in (tmp_path / directory).iterdir()}
        assert all((tmp_path / directory / name).stat().st_size >= 64 * 1024 for name in before)

        configuration = files["prometheus.yml"].text
        assert arguments[7] in configuration
        configuration = configuration.replace(arguments[7], f"127.0.0.1:{server.port}").replace("15s", "1s")
        with Prometheus(configuration) as prometheus:
            deadline = time.monotonic() + 120
            while not (found := prometheus.query("session_middleware_sessions_created_total")):
                assert time.monotonic() < deadline, prometheus.log()
                time.sleep(0.1)
            assert [value for _, value in found] == [REQUESTS]
            for panel in DASHBOARD["panels"]:
                for target in panel["targets"]:
                    prometheus.query(target["expr"].replace("$__rate_interval", "1m"))
            verbs = {labels["verb"] for labels, _ in prometheus.query("session_middleware_store_call_seconds_count")}
            assert verbs >= {"create"}
