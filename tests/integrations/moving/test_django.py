"""Sessions that Django itself has stored, by each of its engines, are carried over."""

import json
import pickle
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core.signing import TimestampSigner

from session_middleware import ConfigurationError, PayloadError
from session_middleware.carry_over import Carried
from session_middleware.integrations.moving import FromDjango, RedisPlace
from session_middleware.integrations.moving.django import _CacheFiles, _place
from session_middleware.lifetime import LONGEST
from tests.backends.running import Backends
from tests.integrations.moving.sites import NOW, MemoryPlace
from tests.servers.gunicorn import ROOT

MOVED = [
    ["db"],
    ["db", "naive", "rotated"],
    ["cached_db"],
    ["file"],
    ["cache", "json"],
    ["cache", "json", "database"],
    ["cache", "plain"],
    ["cache", "files", "plain"],
]
PICKLED = [["cache"], ["cache", "files"]]
IN_TIME = [["db", "later=1209590"], ["file", "expiry=3600", "later=3590"]]
TIMED_OUT = [["db", "later=1209601"], ["file", "later=1209600"], ["file", "expiry=60", "later=61"]]
TO_THE_END = [["db", "expiry=0"]]
REFUSED = {
    "its sessions end with the process": ["cache", "memory"],
    "a copy of the cookie would open them again": ["signed_cookies"],
}

Results = Callable[[list[str]], tuple[dict[str, Any], str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, backends: Backends) -> Results:
    """Run the sites of ``old_django.py``, all at once; return the result of one, and what it logged."""
    directory = tmp_path_factory.mktemp("django")
    url = f"redis://127.0.0.1:{urlsplit(backends.url('redis')).port}/0"
    sites = [*MOVED, *PICKLED, *IN_TIME, *TIMED_OUT, *TO_THE_END, *REFUSED.values()]
    command = [sys.executable, "-m", "tests.integrations.old_django", str(directory), url, json.dumps(sites)]
    subprocess.run(command, check=True, timeout=120, cwd=ROOT)

    def result_of(site: list[str]) -> tuple[dict[str, Any], str]:
        place = directory / " ".join(site)
        log = (place / "log").read_text()
        assert (place / "result").exists(), log
        return json.loads((place / "result").read_text()), log

    return result_of


class TestDjango:
    """Django with its own sessions, in the processes of ``old_django.py``."""

    @pytest.mark.parametrize("site", MOVED, ids=" ".join)
    def test_who_is_signed_in_stays_signed_in(self, results: Results, site: list[str]) -> None:
        """The data are the same, the user is known, the old record is gone and the old cookie removed."""
        result, _ = results(site)
        first, second = result["seen"]
        assert first == second
        assert first["cart"] == {"items": ["tea", 1, None, "ü" * 400]}
        assert first["_auth_user_id"] == first["user_id"] == "1"
        assert first["_auth_user_hash"]
        assert first["persistent"] is True
        assert result["cookies"] == ["session", "sessionid"]
        assert not result["is there"]
        assert result["old"] == {}

    @pytest.mark.parametrize("site", PICKLED, ids=" ".join)
    def test_what_a_cache_has_pickled_is_skipped_with_one_line(self, results: Results, site: list[str]) -> None:
        """Promise 10, without *plain_pickles*. The second request comes without a cookie, for none was set."""
        result, log = results(site)
        assert result["seen"] == [{"user_id": None, "persistent": False}] * 2
        assert result["cookies"] == []
        assert result["is there"]
        (line,) = [line for line in log.splitlines() if "not carried over" in line]
        assert "plain_pickles=True" in line

    @pytest.mark.parametrize("site", IN_TIME + TIMED_OUT, ids=" ".join)
    def test_their_timeouts_hold(self, results: Results, site: list[str]) -> None:
        """What has timed out there is not carried over."""
        assert ("cart" in results(site)[0]["seen"][0]) == (site in IN_TIME)

    @pytest.mark.parametrize("site", TO_THE_END, ids=" ".join)
    def test_a_cookie_that_ends_with_the_browser_stays_one(self, results: Results, site: list[str]) -> None:
        assert results(site)[0]["seen"][0]["persistent"] is False

    @pytest.mark.parametrize("reason", REFUSED)
    def test_what_cannot_be_carried_over_does_not_start(self, results: Results, reason: str) -> None:
        """Promise 15."""
        assert reason in results(REFUSED[reason])[0]["refused"]

    @pytest.mark.parametrize("data", [{"_auth_user_id": "7"}, {"_auth_user_id": "7", "text": "a" * 999}])
    def test_what_django_signs_is_read_without_it(self, data: dict[str, Any]) -> None:
        """Packed or not, with the present key or an earlier one; what another key has signed is skipped."""
        salt = "django.contrib.sessions.SessionStore"
        signed = TimestampSigner(key="old", salt=salt, fallback_keys=[]).sign_object(data, compress=True).encode()
        rings: list[list[str | bytes]] = [["old"], ["new", b"old"]]
        for keys in rings:
            reader = FromDjango(MemoryPlace(), secret_key=keys[0], fallback_keys=keys[1:])
            assert reader.carried(signed, time.time() + 1209000) == Carried(data, "7", True)
            assert reader.carried(signed, time.time() + 1209601) is None
        for damaged in (signed[:-1], b"x" + signed, signed.replace(b":", b""), b"", b"\xff"):
            with pytest.raises(PayloadError, match="not signed"):
                FromDjango(MemoryPlace(), secret_key="old").carried(damaged, NOW)
        with pytest.raises(PayloadError, match="not signed"):
            FromDjango(MemoryPlace(), secret_key="another").carried(signed, NOW)

    def test_a_cache_in_files(self, tmp_path: Path) -> None:
        """``pickle(expires) zlib(pickle(data))``: the first is a number or None, or it is skipped."""
        place = _CacheFiles(tmp_path, lambda key: key)
        for expires, alive in ((None, True), (NOW, True), (NOW - 1, False)):
            (tmp_path / "k").write_bytes(pickle.dumps(expires) + zlib.compress(b"data"))
            assert place.get("k", NOW) == (b"data" if alive else None)
        assert place.get("missing", NOW) is None
        (tmp_path / "k").write_bytes(pickle.dumps(Path("/")))
        with pytest.raises(PayloadError, match="not as Django stores it"):
            place.get("k", NOW)

    def test_an_engine_of_the_users_own_needs_a_place(self) -> None:
        """Promise 15."""
        for engine in ("my.engine", "django.contrib.sessions.backends.signed_cookies"):
            with pytest.raises(ConfigurationError):
                _place(engine, None)

    def test_an_expiry_that_is_a_date_holds(self) -> None:
        reader = FromDjango(RedisPlace(object()), secret_key="s")
        for moment, alive in ((NOW + 1, True), (NOW, False)):
            text = datetime.fromtimestamp(moment, UTC).isoformat()
            assert bool(reader.carried(json.dumps({"_session_expiry": text}).encode(), NOW)) == alive
        long = reader.carried(b'{"_session_expiry": "9999-12-31T00:00:00+00:00"}', NOW)
        assert long is not None
        assert long.absolute == LONGEST
        naive = datetime.fromtimestamp(NOW + 1, UTC).replace(tzinfo=None).isoformat()
        assert reader.carried(json.dumps({"_session_expiry": naive}).encode(), NOW)
        with pytest.raises(PayloadError, match="no time"):
            reader.carried(b'{"_session_expiry": "soon"}', NOW)

    @pytest.mark.parametrize(
        ("expiry", "idle"), [("300", 300.0), ("0", None), ("null", None), ("1e999", LONGEST), ("1" + "0" * 400, LONGEST)]
    )
    def test_timeouts_of_its_own_go_with_a_session(self, expiry: str, idle: float | None) -> None:
        """``set_expiry(300)`` still means five minutes."""
        carried = FromDjango(RedisPlace(object()), secret_key="s").carried(b'{"_session_expiry": %b}' % expiry.encode(), NOW)
        assert carried is not None
        assert (carried.idle, carried.absolute) == (idle, None)

    @pytest.mark.parametrize("expiry", [b"-1", b"NaN"])
    def test_a_session_that_was_to_end_at_once_has_ended(self, expiry: bytes) -> None:
        reader = FromDjango(RedisPlace(object()), secret_key="s")
        assert reader.carried(b'{"_session_expiry": %b}' % expiry, NOW) is None
