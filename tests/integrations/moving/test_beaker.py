"""Sessions that Beaker itself has stored are carried over."""

import base64
import json
import pickle
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from beaker.middleware import SessionMiddleware as Beaker

from session_middleware.carry_over import Carried
from session_middleware.integrations.moving import FromBeaker
from session_middleware.testing import FakeClock
from tests.apps import Gateway, visit
from tests.integrations.moving.sites import NOW, Bomb, MemoryPlace, Site, the_line


def cookies(response: Gateway) -> dict[str, str]:
    """Return what the response sets, by name; empty for a cookie that it removes."""
    return dict(cookie.partition(";")[0].split("=", 1) for cookie in response.set_cookies)


def for_beaker(use: Callable[[Any], object]) -> WSGIApplication:
    """Return an application that uses its session before it starts its response, as Beaker needs it."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        use(environ["beaker.session"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    return app


class TestBeaker:
    """Beaker 1.14 with JSON; the application's part is in ``tests/integrations/beaker``."""

    DATA: ClassVar[dict[str, Any]] = {"user": "anna", "cart": {"items": ["tea", 1, None, 2.5, True, "ü" * 300]}}

    @pytest.fixture(params=["file", "ext:redis", "ext:database"])
    def settings(self, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
        settings = {"session.type": request.param, "session.data_serializer": "json", "session.data_dir": str(tmp_path)}
        if request.param == "ext:redis":
            settings["session.url"] = request.getfixturevalue("redis_url")
        elif request.param == "ext:database":
            settings["session.url"] = f"sqlite:///{tmp_path}/beaker.sqlite3"
        return settings

    def begin(self, settings: dict[str, Any], data: dict[str, Any] | None = None) -> str:
        """Store a session with Beaker itself; return the Cookie header."""

        def use(session: Any) -> None:
            session.update(self.DATA if data is None else data)
            session.save()

        return visit(Beaker(for_beaker(use), settings)).cookie

    def still_there(self, settings: dict[str, Any], cookie: str) -> dict[str, Any]:
        """Return what Beaker itself has under the cookie now."""
        seen: dict[str, Any] = {}
        visit(Beaker(for_beaker(seen.update), settings), cookie=cookie)
        return {key: value for key, value in seen.items() if not key.startswith("_")}

    @pytest.fixture
    def place(self, settings: dict[str, Any]) -> str:
        return str(settings.get("session.url", settings["session.data_dir"]))

    @pytest.mark.parametrize("secret", [None, "shh"])
    def test_a_session_is_carried_over_once(self, settings: dict[str, Any], place: str, secret: str | None) -> None:
        """The data are the same, the old record is gone, the old cookie is removed, and we see no bookkeeping."""
        settings |= {"session.secret": secret} if secret else {}
        cookie = self.begin(settings)
        site = Site(FromBeaker(place, secret=secret, user_key="user"))
        response = site.visit(cookie)
        assert site.seen == self.DATA
        assert [info.data for info in site.middleware.manager.sessions_of("anna")] == [self.DATA]
        assert cookies(response)["beaker.session.id"] == ""
        assert self.still_there(settings, cookie) == {}
        site.visit(f"session={cookies(response)['session']}")
        assert site.seen == self.DATA

    def test_a_session_that_has_timed_out_there_is_not_carried_over(self, settings: dict[str, Any], place: str) -> None:
        cookie = self.begin(settings)
        site = Site(FromBeaker(place, timeout=600), FakeClock(time.time() + 602))
        assert (site.visit(cookie).set_cookies, site.seen) == ([], {})
        site = Site(FromBeaker(place, timeout=600), FakeClock(time.time() + 300))
        site.visit(cookie)
        assert site.seen == self.DATA

    def test_a_session_that_was_deleted_there_is_not_carried_over(self, settings: dict[str, Any], place: str) -> None:
        """Beaker's delete() leaves a record without data."""
        cookie = self.begin(settings)
        visit(Beaker(for_beaker(lambda session: session.delete()), settings), cookie=cookie)
        site = Site(FromBeaker(place))
        assert (site.visit(cookie).set_cookies, site.seen) == ([], {})

    def test_a_cookie_that_is_not_signed_is_none(self, tmp_path: Path) -> None:
        settings = {"session.type": "file", "session.data_serializer": "json", "session.data_dir": str(tmp_path)}
        name, _, signed = self.begin({**settings, "session.secret": "shh"}).partition("=")
        reader = FromBeaker(tmp_path, secret="shh")
        assert reader.find(f"{name}={signed}") is not None
        for forged in (signed[40:], "0" * 40 + signed[40:], signed[:40] + "0" * 32, signed[:-1], "", f"{signed}0"):
            assert reader.find(f"{name}={forged}") is None

    @pytest.mark.parametrize("plain", [False, True])
    def test_what_is_pickled_is_never_run(
        self, settings: dict[str, Any], place: str, tmp_path: Path, plain: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: it is skipped with one line that says how to convert it, and stays where it is."""
        settings["session.data_serializer"] = "pickle"
        cookie = self.begin(settings, {"bomb": Bomb(tmp_path / "exploded")})
        site = Site(FromBeaker(place, plain_pickles=plain))
        assert (site.visit(cookie).set_cookies, site.seen) == ([], {})
        assert "data_serializer" in the_line(caplog)
        assert cookie.partition("=")[2] not in caplog.text
        assert not (tmp_path / "exploded").exists()
        self.still_there(settings, cookie)
        assert (tmp_path / "exploded").exists()

    def test_pickled_sessions_of_plain_values_are_carried_over_if_wanted(
        self, settings: dict[str, Any], place: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without *plain_pickles* they are skipped, with one line that names it."""
        settings["session.data_serializer"] = "pickle"
        cookie = self.begin(settings)
        site = Site(FromBeaker(place))
        assert (site.visit(cookie).set_cookies, site.seen) == ([], {})
        assert "plain_pickles=True" in the_line(caplog)
        site = Site(FromBeaker(place, plain_pickles=True))
        site.visit(cookie)
        assert site.seen == self.DATA

    def test_the_way_of_conversion_that_the_line_names_works(self, tmp_path: Path) -> None:
        """A data_serializer object that reads both and writes JSON, at each use of a session."""

        class Both:
            def loads(self, data: bytes) -> Any:
                return json.loads(zlib.decompress(data)) if data[:1] == b"x" else pickle.loads(data)

            def dumps(self, data: Any) -> bytes:
                return zlib.compress(json.dumps(data).encode())

        settings = {"session.type": "file", "session.data_dir": str(tmp_path)}
        cookie = self.begin(settings)
        both = Beaker(for_beaker(lambda session: session["user"]), settings)
        both.options["data_serializer"] = Both()
        visit(both, cookie=cookie)
        site = Site(FromBeaker(tmp_path))
        site.visit(cookie)
        assert site.seen == self.DATA

    def test_a_path_in_the_cookie_leads_nowhere(self, tmp_path: Path) -> None:
        """Only what has the form of Beaker's ids reaches a file name."""
        (tmp_path / "container_file").mkdir()
        reader = FromBeaker(f"file://{tmp_path}")
        for value in ("../" * 10 + "a" * 32, "a" * 31, "A" * 32, "a" * 41, "a" * 16 + "/" + "a" * 15, "a" * 32 + "%00"):
            assert reader.find(f"beaker.session.id={value}") is None

    @pytest.mark.parametrize(
        "stored",
        [
            *(b"", b"!", b"\x80", b"\x80\x04N.", b"\x80\x04}.", b"\x80\x04c", b"\x80\x03cos\nsystem\n(S'x'\ntR."),
            *map(pickle.dumps, [{"session": b"x"}, "eHg=", "e", {"session": Path("/")}]),
        ],
    )
    def test_damaged_records_are_skipped_with_one_line(
        self, stored: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10."""
        path = tmp_path / "container_file" / "a" / "aa"
        path.mkdir(parents=True)
        (path / f"{'a' * 32}.cache").write_bytes(stored)
        site = Site(FromBeaker(tmp_path))
        assert (site.visit(f"beaker.session.id={'a' * 32}").set_cookies, site.seen) == ([], {})
        assert "is not carried over" in the_line(caplog)


def test_a_time_that_no_float_can_be_is_no_danger() -> None:
    """Promise 10: an exception would be a 500."""
    text = base64.b64encode(zlib.compress(b'{"_accessed_time": 1%b, "a": 1}' % (b"0" * 400)))
    assert FromBeaker(MemoryPlace(), timeout=60).carried(text, NOW) == Carried({"a": 1})
