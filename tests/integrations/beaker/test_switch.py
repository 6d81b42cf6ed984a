"""An application written for Beaker runs unchanged, and its sessions come along."""

import logging
from pathlib import Path
from typing import Any

import pytest
import redis
from beaker.middleware import SessionMiddleware as Beaker

from session_middleware import MemoryStore
from session_middleware.integrations.beaker import BeakerMiddleware
from tests.integrations.beaker.application import application, browser

PATHS = [
    "/",
    "/count",
    "/count",
    "/login",
    "/nested",
    "/undo",
    "/new",
    "/",
    "/logout",
    "/",
    "/count",
    "/forget",
    "/count",
    "/",
]


class TestSwitch:
    """The same application, the same settings: first Beaker, then ours."""

    @pytest.fixture(autouse=True)
    def _quiet(self, quiet: None) -> None:
        pass

    def test_every_page_answers_as_before(self, settings: dict[str, Any]) -> None:
        """What the application does with its session has the same outcome."""
        old, new = browser(Beaker(application, settings)), browser(BeakerMiddleware.from_config(application, settings))
        for path in PATHS:
            assert new.get(path).json == old.get(path).json, path

    def test_a_session_alive_on_disk_or_in_redis_goes_on(self, settings: dict[str, Any], tmp_path: Path) -> None:
        """Still signed in, the data the same, the old record gone, the old cookie replaced."""
        before = browser(Beaker(application, settings))
        before.get("/count")
        expected = before.get("/login").json
        assert self.is_there(settings, tmp_path, before.cookies["sid"])

        site = BeakerMiddleware.from_config(application, settings, store=MemoryStore(), user_key="user_id")
        after = browser(site, before.cookies)
        assert after.get("/").json == expected
        assert not self.is_there(settings, tmp_path, before.cookies["sid"])
        assert after.cookies.keys() == {"sid"}
        assert after.cookies["sid"] != before.cookies["sid"]
        assert after.get("/count").json["value"] == 2
        assert len(site.manager.sessions_of("anna")) == 1

        # The old cookie goes on for who has not heard of the new one yet, and opens the same session.
        late = browser(site, before.cookies)
        assert late.get("/").json["value"] == 2
        assert len(site.manager.sessions_of("anna")) == 1
        assert browser(Beaker(application, settings), before.cookies).get("/").json["user"] is None

    def is_there(self, settings: dict[str, Any], directory: Path, cookie: str) -> bool:
        """Tell whether Beaker has a record under its cookie, which is a signature and the id."""
        if settings["session.type"] == "file":
            return any(directory.rglob(f"{cookie[40:]}.cache"))
        with redis.Redis.from_url(settings["session.url"]) as client:
            return bool(client.exists(f"beaker_cache:{cookie[40:]}:session"))

    def test_a_session_that_beaker_has_pickled_is_skipped_with_one_line(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: the visitor signs in again."""
        settings = {"session.type": "file", "session.data_dir": str(tmp_path)}
        before = browser(Beaker(application, settings))
        before.get("/login")
        after = browser(BeakerMiddleware.from_config(application, settings), before.cookies)
        caplog.set_level(logging.WARNING)
        assert after.get("/").json["user"] is None
        assert len([record for record in caplog.records if "pickled" in record.getMessage()]) == 1
        again = BeakerMiddleware.from_config(application, settings, store="memory:", plain_pickles=True)
        assert browser(again, before.cookies).get("/").json["user"] == "anna"
