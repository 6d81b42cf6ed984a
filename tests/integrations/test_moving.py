"""Sessions that the other libraries themselves have stored, on disk, in Redis and in a database, are carried over."""

import base64
import hmac
import io
import json
import logging
import os
import pickle
import socket
import struct
import subprocess
import sys
import time
import tracemalloc
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from traceback import format_exception
from typing import Any, ClassVar
from urllib.parse import urlsplit
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import flask
import flask_login
import flask_session
import freezegun
import msgspec
import pytest
import redis
import sqlalchemy
from beaker.middleware import SessionMiddleware as Beaker
from cachelib.file import FileSystemCache
from cachelib.serializers import JSONSerializer
from django.core.signing import TimestampSigner
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import Signer

from session_middleware import (
    ConfigurationError,
    Lifetime,
    MemoryStore,
    MsgpackCodec,
    PayloadError,
    Session,
    SessionMiddleware,
    StoreUnavailable,
    get_session,
)
from session_middleware.carry_over import Carried
from session_middleware.integrations.flask import Sessions
from session_middleware.integrations.moving import (
    CachelibPlace,
    FilePlace,
    FromBeaker,
    FromDjango,
    FromFlaskSession,
    RedisPlace,
    TablePlace,
    formats,
    plain_pickle,
)
from session_middleware.integrations.moving.django import _CacheFiles, _place
from session_middleware.lifetime import LONGEST
from session_middleware.testing import FakeClock, race
from session_middleware.tokens import Token
from tests.apps import Gateway, list_app, visit
from tests.backends.process import free_port
from tests.backends.proxy import FaultProxy
from tests.backends.running import Backends

ROOT = Path(__file__).parents[2]
NOW = 1_800_000_000.0


@pytest.fixture
def redis_url(backends: Backends) -> str:
    return f"redis://127.0.0.1:{urlsplit(backends.url('redis')).port}/0"


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


@dataclass
class Bomb:
    """What runs a command where it is unpickled."""

    path: Path

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.path}",)


@dataclass
class Site:
    """A site that has moved to our middleware; ``seen`` is what the last request that used the session saw in it."""

    carry_over: Any
    clock: FakeClock = field(default_factory=FakeClock)
    seen: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        app = list_app(lambda environ: self._use(get_session(environ)))
        self.middleware = SessionMiddleware(app, MemoryStore(), carry_over=self.carry_over, clock=self.clock)

    def _use(self, session: Session) -> None:
        self.seen = dict(session)

    def visit(self, cookie: str) -> Gateway:
        return visit(self.middleware, cookie=cookie)


def cookies(response: Gateway) -> dict[str, str]:
    """Return what the response sets, by name; empty for a cookie that it removes."""
    return dict(cookie.partition(";")[0].split("=", 1) for cookie in response.set_cookies)


def the_line(caplog: pytest.LogCaptureFixture) -> str:
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    return record.getMessage()


def for_beaker(use: Callable[[Any], object]) -> WSGIApplication:
    """Return an application that uses its session before it starts its response, as Beaker needs it."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
        use(environ["beaker.session"])
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b""]

    return app


class TestBeaker:
    """Beaker 1.14 with JSON; the application's part is in ``test_beaker.py``."""

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
        site = Site(FromBeaker(place, timeout=600), FakeClock(time.time() + 590))
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


class User:
    is_authenticated = is_active = True
    is_anonymous = False

    def get_id(self) -> str:
        return "anna"


def flask_app() -> flask.Flask:
    """An application as people write it; which sessions it has, the caller says."""
    app = flask.Flask(__name__)
    app.secret_key = "flask's own"
    flask_login.LoginManager(app).user_loader(lambda user_id: User() if user_id == "anna" else None)

    @app.post("/login")
    def login() -> dict[str, Any]:
        flask_login.login_user(User())
        flask.session["cart"] = {"items": ["tea", 1, None]}
        flask.flash("welcome")
        return {}

    @app.get("/")
    def show() -> dict[str, Any]:
        user = flask_login.current_user
        return {"user": user.get_id(), "cart": flask.session.get("cart"), "data": dict(flask.session)}

    @app.get("/set/<key>")
    def put(key: str) -> dict[str, Any]:
        flask.session[key] = 1
        return {"user": flask_login.current_user.get_id()}

    return app


class TestFlaskSession:
    """Flask-Session 0.8 with Flask-Login, switched over to our extension for Flask."""

    CART: ClassVar[dict[str, Any]] = {"items": ["tea", 1, None]}

    def old(self, **settings: Any) -> flask.Flask:
        app = flask_app()
        app.config.from_mapping(settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            flask_session.Session(app)
        return app

    def sign_in(self, app: flask.Flask) -> str:
        """Sign in with Flask-Session itself; return the value of its cookie."""
        client = app.test_client()
        client.post("/login")
        cookie = client.get_cookie("session")
        assert cookie is not None
        return cookie.value

    def moved(self, carry_over: Any, cookie: str | None) -> Any:
        """Return a browser with that old cookie, on the same application with our sessions."""
        app = flask_app()
        Sessions(app, MemoryStore(), carry_over=carry_over, clock=FakeClock())
        client = app.test_client()
        if cookie is not None:
            client.set_cookie("session", cookie)
        return client

    def check(self, browser: Any, cookie: str) -> None:
        for _ in range(2):
            assert browser.get("/").json["user"] == "anna"
            assert browser.get("/").json["cart"] == self.CART
        assert browser.get_cookie("session").value != cookie
        manager = browser.application.extensions["session_middleware"].manager
        (info,) = manager.sessions_of("anna")
        assert info.persistent
        assert info.expires_at - info.last_seen_at == pytest.approx(31 * 86400)
        browser.set_cookie("session", cookie)
        assert browser.get("/").json["user"] == "anna"
        manager.now.advance(30)
        assert browser.get("/").json == {"user": None, "cart": None, "data": {}}
        assert manager.revoke_all("anna") == 1

    @pytest.mark.parametrize("form", ["msgpack", "json"])
    @pytest.mark.parametrize("signed", [False, True])
    def test_redis(self, client: "redis.Redis", redis_url: str, form: str, signed: bool) -> None:
        """Still signed in, the data the same, the old record gone, the old cookie replaced by ours of the same name."""
        settings = {"SESSION_TYPE": "redis", "SESSION_REDIS": client, "SESSION_SERIALIZATION_FORMAT": form}
        cookie = self.sign_in(self.old(**settings, SESSION_USE_SIGNER=signed))
        key = f"session:{cookie.partition('.')[0]}"
        assert client.exists(key)
        reader = FromFlaskSession(redis_url, secret_key="flask's own" if signed else None)
        self.check(self.moved(reader, cookie), cookie)
        assert not client.exists(key)

    def test_files_of_json(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """cachelib as it writes JSON."""
        monkeypatch.setattr(FileSystemCache, "serializer", JSONSerializer())
        cookie = self.sign_in(self.old(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(tmp_path))))
        before = len(list(tmp_path.iterdir()))
        self.check(self.moved(FromFlaskSession(tmp_path), cookie), cookie)
        assert len(list(tmp_path.iterdir())) == before - 1

    def test_files_as_they_are_by_default(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        """cachelib pickles: skipped with one line that says what to do, and carried over if that is done."""
        cookie = self.sign_in(self.old(SESSION_TYPE="cachelib", SESSION_CACHELIB=FileSystemCache(str(tmp_path))))
        browser = self.moved(FromFlaskSession(f"file://{tmp_path}"), cookie)
        assert browser.get("/").json["user"] is None
        assert "plain_pickles=True" in the_line(caplog)
        assert "FileSystemCache.serializer" in the_line(caplog)
        self.check(self.moved(FromFlaskSession(tmp_path, plain_pickles=True), cookie), cookie)

    def test_a_bomb_in_a_file_or_in_redis_is_never_run(
        self, tmp_path: Path, client: "redis.Redis", caplog: pytest.LogCaptureFixture
    ) -> None:
        """Promise 10: *plain_pickles* or not; Flask-Session itself would run both."""
        bomb = pickle.dumps({"_user_id": Bomb(tmp_path / "exploded")})
        sid = "a" * 43
        client.set(f"session:{sid}", bomb)
        files = FileSystemCache(str(tmp_path / "files"))
        files.set(f"session:{sid}", {"_user_id": Bomb(tmp_path / "exploded")})
        for place in (RedisPlace(client), CachelibPlace(tmp_path / "files")):
            for plain in (False, True):
                caplog.clear()
                assert self.moved(FromFlaskSession(place, plain_pickles=plain), sid).get("/").json["user"] is None
                assert "pickled" in the_line(caplog)
        assert not (tmp_path / "exploded").exists()
        assert client.exists(f"session:{sid}")
        client.delete(f"session:{sid}")

    @pytest.mark.parametrize("form", [msgspec.msgpack.encode, msgspec.json.encode])
    def test_a_table(self, tmp_path: Path, form: Callable[[Any], bytes]) -> None:
        """As Flask-Session's model describes it; it reads and writes that through Flask-SQLAlchemy."""
        url = f"sqlite:///{tmp_path}/flask.sqlite3"
        engine = sqlalchemy.create_engine(url)
        table = sqlalchemy.Table(
            "sessions",
            sqlalchemy.MetaData(),
            sqlalchemy.Column("id", sqlalchemy.Integer, primary_key=True),
            sqlalchemy.Column("session_id", sqlalchemy.String(255), unique=True),
            sqlalchemy.Column("data", sqlalchemy.LargeBinary),
            sqlalchemy.Column("expiry", sqlalchemy.DateTime),
        )
        table.create(engine)
        data = form({"_permanent": True, "_user_id": "anna", "cart": self.CART})
        now = datetime.now(UTC).replace(tzinfo=None)
        rows = {"a" * 43: now + timedelta(hours=1), "b" * 43: now - timedelta(seconds=1), "c" * 43: None}
        with engine.begin() as connection:
            for sid, expiry in rows.items():
                connection.execute(table.insert(), {"session_id": f"session:{sid}", "data": data, "expiry": expiry})
        self.check(self.moved(FromFlaskSession(url), "a" * 43), "a" * 43)
        for sid in ("b" * 43, "c" * 43):
            assert self.moved(FromFlaskSession(url), sid).get("/").json["user"] is None
        with engine.connect() as connection:
            left = connection.execute(sqlalchemy.select(table.c.session_id)).scalars().all()
        assert left == [f"session:{'b' * 43}", f"session:{'c' * 43}"]
        engine.dispose()

    def test_parallel_first_requests_stay_signed_in_and_keep_each_others_changes(self, client: "redis.Redis") -> None:
        """Promise 3: one session comes of it, all see it, one is told the new cookie, and the old one goes on."""
        for _ in range(10):
            cookie = self.sign_in(self.old(SESSION_TYPE="redis", SESSION_REDIS=client))
            app = flask_app()
            Sessions(app, MemoryStore(), carry_over=FromFlaskSession(RedisPlace(client)))

            def request(key: str, app: flask.Flask = app, cookie: str = cookie) -> tuple[str | None, str]:
                browser = app.test_client()
                browser.set_cookie("session", cookie)
                answer = browser.get(f"/set/{key}")
                new = browser.get_cookie("session")
                assert new is not None
                return answer.json and answer.json["user"], new.value

            answers = race(*[partial(request, key) for key in "abcd"])
            assert [user for user, _ in answers] == ["anna"] * 4
            (token,) = {token for _, token in answers} - {cookie}
            for kept in (cookie, token):
                browser = app.test_client()
                browser.set_cookie("session", kept)
                found = browser.get("/").json
                assert found is not None
                assert found["user"] == "anna"
                assert found["data"].keys() >= set("abcd")

    def test_a_redis_that_is_away_is_a_503(self) -> None:
        """Promise 7: never signed out."""
        reader = FromFlaskSession(f"redis://127.0.0.1:{free_port()}/0")
        answer = self.moved(reader, "a" * 43).get("/")
        assert answer.status_code == 503
        assert "Set-Cookie" not in answer.headers
        assert self.moved(reader, None).get("/").status_code == 200

    def test_a_signed_cookie_is_verified(self) -> None:
        reader = FromFlaskSession(MemoryPlace(), secret_key=b"flask's own")
        signed = Signer("flask's own", salt="flask-session", key_derivation="hmac").sign("a" * 43).decode()
        assert reader.find(f"session={signed}") is not None
        for forged in ("a" * 43, signed[:-1] + ("A" if signed[-1] != "A" else "B"), "b" + signed[1:], "." + signed):
            assert reader.find(f"session={forged}") is None


class MemoryPlace:
    """A place of the user's own."""

    def __init__(self, **found: bytes) -> None:
        self.found = found

    def get(self, key: str, now: float) -> bytes | None:
        return self.found.get(key)

    def remove(self, key: str) -> None:
        self.found.pop(key, None)


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
            assert reader.carried(signed, time.time() + 1209590) == Carried(data, "7", True)
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


class TestCookie:
    def test_only_one_cookie_is_believed(self) -> None:
        """Several of one name: which is meant cannot be told, and someone else may have set one."""
        reader = FromFlaskSession(MemoryPlace())
        one, other = "a" * 43, "b" * 43
        assert reader.find(f"session={one}; session={one}") is not None
        assert reader.find(f"session={one}; session={other}") is None

    @pytest.mark.parametrize("space", ["\xa0", "\x0b", "\x1f", "\u2000"])
    def test_odd_white_space_makes_no_cookie(self, space: str) -> None:
        """K-22."""
        assert FromFlaskSession(MemoryPlace()).find(f"{space}session={'a' * 43}") is None

    @pytest.mark.parametrize("header", [None, 7, "", "session", "session=", "x" * 70_000, "sessionx=" + "a" * 43])
    def test_anything_else_names_none(self, header: object) -> None:
        assert FromFlaskSession(MemoryPlace()).find(header) is None

    def test_a_quoted_value_and_junk_beside_it(self) -> None:
        """K-21: Beaker's cookies may be quoted."""
        found = FromBeaker(MemoryPlace()).find(f'a[]=1; beaker.session.id="{"a" * 32}" ; x={{"y":1}}')
        assert found is not None
        assert "a" * 32 not in repr(found)

    def test_what_opens_a_session_is_the_cookie_and_not_the_id(self) -> None:
        """Promise 11: the other store is full of ids, which open nothing there where cookies are signed, nor here."""
        one, other = "a" * 32, "b" * 32
        signed = Signer("flask's own", salt="flask-session", key_derivation="hmac").sign(one).decode()
        beaker = hmac.new(b"shh", one.encode(), "sha1").hexdigest() + one
        for reader, value in (
            (FromBeaker(MemoryPlace(), secret="shh"), beaker),
            (FromFlaskSession(MemoryPlace(), secret_key="flask's own"), signed),
        ):
            old, again = reader.find(f"{reader.name}={value}"), reader.find(f'x=1; {reader.name}="{value}"')
            assert old is not None
            assert again is not None
            assert old.secret == again.secret
            assert value in old.secret
            assert one not in repr(old)
        unsigned = [FromBeaker(MemoryPlace()), FromFlaskSession(MemoryPlace()), FromDjango(MemoryPlace(), secret_key="s")]
        found = [reader.find(f"{reader.name}={value}") for reader in unsigned for value in (one, other)]
        assert len({old.secret for old in found if old is not None}) == 6

    def test_the_deletion_has_the_attributes_of_the_old_cookie(self) -> None:
        reader = FromFlaskSession(MemoryPlace(), cookie_name="__Secure-s", cookie_path="/app", cookie_domain="a.example")
        assert reader.deletion_header().startswith("__Secure-s=; Path=/app; Domain=a.example; Secure; Max-Age=0; Expires=")

    @pytest.mark.parametrize(
        "wrong",
        [
            {"cookie_name": "a b"},
            {"cookie_name": None},
            {"cookie_path": "/;x"},
            {"cookie_path": "/\r\nX: 1"},
            {"cookie_path": "app"},
            {"cookie_domain": "a;b"},
            {"cookie_domain": "a\r\n"},
            {"cookie_domain": ""},
        ],
    )
    def test_what_cannot_be_a_cookie_does_not_start(self, wrong: dict[str, str]) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match="of the old cookie"):
            FromBeaker(MemoryPlace(), **wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: FromBeaker(MemoryPlace(), secret=""), "secret is empty"),
            (lambda: FromFlaskSession(MemoryPlace(), secret_key=b""), "secret_key is empty"),
            (lambda: FromFlaskSession(MemoryPlace(), secret_key=7), "secret_key is empty, or no text"),  # type: ignore[arg-type]
            (lambda: FromDjango(MemoryPlace(), secret_key=""), "secret_key is empty"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", fallback_keys=["t", ""]), "one of fallback_keys is empty"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", fallback_keys="abc"), "write a list"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", salt=""), "salt='': write a text"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", max_age=0), "max_age=0: write a time span"),
            (lambda: FromDjango(MemoryPlace(), secret_key="s", persistent="no"), "persistent='no'"),  # type: ignore[arg-type]
            (lambda: FromBeaker(MemoryPlace(), timeout=-1), "timeout=-1: write a time span"),
            (lambda: FromBeaker(MemoryPlace(), user_key=""), "user_key=''"),
            (lambda: FromBeaker(MemoryPlace(), plain_pickles="yes"), "plain_pickles='yes'"),  # type: ignore[arg-type]
            (lambda: FromFlaskSession(MemoryPlace(), key_prefix=None), "key_prefix=None"),  # type: ignore[arg-type]
            (lambda: FromFlaskSession(MemoryPlace), "place="),  # type: ignore[arg-type]
            (lambda: FromFlaskSession(7), "place=7"),  # type: ignore[arg-type]
            (lambda: FromFlaskSession("redis://localhost/0?prefix=s:"), "'prefix'.* key_prefix="),
            (lambda: FromFlaskSession("rediss://localhost/0?ssl_cert=x"), "redis-py does not know"),
            (lambda: FromBeaker(MemoryPlace(), carry_over_until="soon"), "write a date"),  # type: ignore[arg-type]
            (lambda: FromBeaker(MemoryPlace(), carry_over_until=datetime(2030, 1, 1)), "a datetime with a time zone"),
        ],
    )
    def test_options_that_cannot_work_do_not_start(self, make: Callable[[], object], message: str) -> None:
        """Promise 15: an empty key would let everybody sign cookies; what is misread would sign everybody out."""
        with pytest.raises(ConfigurationError, match=message):
            make()

    @pytest.mark.parametrize(
        ("reader", "value"),
        [
            (FromBeaker, lambda number: f"{'0' * 40}{number:032x}"),
            (FromFlaskSession, lambda number: f"{number:043}.{'x' * 27}"),
            (FromFlaskSession, lambda number: f"{number:043}"),
        ],
    )
    def test_old_cookies_that_all_open_nothing_are_told_of_once(
        self, reader: Callable[[Any], Any], value: Callable[[int], str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """The key is missing, or the prefix is another: everybody is signed out, and the log says where to look."""
        old = reader(MemoryPlace())
        site = Site(old)
        for number in [1] * 30 + list(range(19)):
            site.visit(f"{old.name}={value(number)}")
        assert caplog.messages == []
        for number in range(40):
            site.visit(f"{old.name}={value(number)}")
        assert the_line(caplog).startswith(f"none of the first 20 cookies named {old.name} opens a session of {old.library}")
        assert "secret" in the_line(caplog)
        assert value(1) not in caplog.text

    @pytest.mark.parametrize("secret_key", [None, "flask's own"])
    def test_our_own_cookies_of_the_same_name_are_no_old_ones(
        self, secret_key: str | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        """After a restart, when nobody has an old cookie any more."""
        site = Site(FromFlaskSession(MemoryPlace(), secret_key=secret_key))
        for _ in range(30):
            site.visit(f"session={Token.new().reveal()}")
        assert caplog.messages == []

    def test_once_one_has_opened_a_session_there_is_nothing_to_say(self, caplog: pytest.LogCaptureFixture) -> None:
        """Old cookies whose sessions have timed out are the usual thing."""
        site = Site(FromFlaskSession(MemoryPlace(**{f"session:{0:043}": b'{"_user_id": "1"}'})))
        for number in range(60):
            site.visit(f"session={number:043}")
        assert caplog.messages == []

    @pytest.mark.parametrize("user", ["user", "_user_id"])
    def test_sessions_that_say_of_no_user_are_told_of_once(self, user: str, caplog: pytest.LogCaptureFixture) -> None:
        """Users who stay signed in by a key of the application's own would not be found by ``revoke_all``."""
        told = json.dumps({user: "anna"}).encode()
        found = {f"session:{number:043}": b'{"cart": 1}' if number else told for number in range(45)}
        site = Site(FromFlaskSession(MemoryPlace(**found)))
        for number in range(45):
            site.visit(f"session={number:043}")
        if user == "_user_id":
            assert caplog.messages == []
        else:
            assert "give user_key= (it is '_user_id')" in the_line(caplog)

    def test_its_cookie_lasts_as_those_of_new_sessions_do(self) -> None:
        """Where every cookie outlives the browser, that of a session from before does, too."""
        place = MemoryPlace(**{f"session:{'a' * 43}": b'{"_user_id": "1"}'})
        app = list_app(lambda environ: get_session(environ).get("_user_id"))
        lifetime = Lifetime(persistent=True)
        moved = SessionMiddleware(app, MemoryStore(), carry_over=FromFlaskSession(place), lifetime=lifetime)
        (cookie,) = visit(moved, cookie=f"session={'a' * 43}").set_cookies
        assert "; Max-Age=86400;" in cookie

    @pytest.mark.parametrize("until", [date(2030, 1, 2), datetime(2030, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))])
    def test_nothing_is_carried_over_after_the_date(self, until: date) -> None:
        """Whoever can set a cookie for the host could sign a visitor in as himself, with a cookie that he has kept."""
        reader = FromFlaskSession(MemoryPlace(), carry_over_until=until)
        with freezegun.freeze_time("2030-01-01 23:59:59"):
            assert reader.find(f"session={'a' * 43}") is not None
        with freezegun.freeze_time("2030-01-02"):
            assert reader.find(f"session={'a' * 43}") is None

    @pytest.mark.parametrize(
        ("value", "user"),
        [("anna", "anna"), (7, "7"), ("", None), ("x" * 300, None), (True, None), ([], None), (None, None)],
    )
    def test_a_user_id_that_cannot_be_kept_is_none(self, value: object, user: str | None) -> None:
        assert FromBeaker(MemoryPlace(), user_key="u").user_of({"u": value}) == user


class TestPlaces:
    def test_a_directory_that_is_not_there_does_not_start(self, tmp_path: Path) -> None:
        """Promise 15: every session would read as absent."""
        with pytest.raises(ConfigurationError, match="no such directory"):
            FromFlaskSession(tmp_path / "missing")

    def test_a_directory_that_goes_away_is_a_failure(self, tmp_path: Path) -> None:
        """Promise 7: no disk says nothing about the sessions on it."""
        (tmp_path / "files").mkdir()
        place = FilePlace(tmp_path / "files", lambda key: key)
        place.remove("a")
        (tmp_path / "files").rmdir()
        for call in (partial(place.get, "a", NOW), partial(place.remove, "a")):
            with pytest.raises(StoreUnavailable, match="files"):
                call()

    def test_a_file_that_cannot_be_read_is_a_failure(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        with pytest.raises(StoreUnavailable):
            FilePlace(tmp_path, lambda key: key).get("a", NOW)

    def test_a_failure_does_not_tell_the_name_of_the_session(self, tmp_path: Path) -> None:
        """Promise 11: a framework logs the error with its causes, and the name opens the session there."""
        (tmp_path / "container_file/a/aa" / f"{'a' * 32}.cache").mkdir(parents=True)
        for reader in (FromBeaker(tmp_path), FromFlaskSession(f"sqlite:///{tmp_path / 'empty'}")):
            old = reader.find(f"{reader.name}={'a' * 32}")
            assert old is not None
            for verb in (partial(old.read, 0.0), old.remove):
                with pytest.raises(StoreUnavailable) as raised:
                    verb()
                assert "a" * 32 not in "".join(format_exception(raised.value))

    def test_a_table_that_is_not_there_is_a_failure(self, tmp_path: Path) -> None:
        place = TablePlace(f"sqlite:///{tmp_path}/a.sqlite3", "missing", key_column="k", value_column="v")
        for call in (partial(place.get, "a", NOW), partial(place.remove, "a")):
            with pytest.raises(StoreUnavailable, match="database") as caught:
                call()
            assert "sqlite" not in str(caught.value)

    @pytest.mark.timed
    @pytest.mark.parametrize(
        ("driver", "longer"), [("postgresql+psycopg", "connect_timeout=4"), ("mysql+pymysql", "read_timeout=4")]
    )
    def test_a_database_that_says_nothing_is_not_waited_for(self, driver: str, longer: str) -> None:
        """F-N2: it is listened to, and nobody answers; libpq waits for two seconds at least, and the URL may say longer."""
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"{driver}://user@127.0.0.1:{silent.getsockname()[1]}/d"
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                TablePlace(url, "t", key_column="k", value_column="v").get("a", NOW)
            assert time.monotonic() - started < 4
            started = time.monotonic()
            with pytest.raises(StoreUnavailable):
                TablePlace(f"{url}?{longer}", "t", key_column="k", value_column="v").get("a", NOW)
            assert 3.5 < time.monotonic() - started < 8

    @pytest.mark.timed
    @pytest.mark.parametrize("kind", ["postgresql", "mariadb"])
    def test_a_database_that_falls_silent_is_not_waited_for(self, kind: str, backends: Backends) -> None:
        """F-N2: between two sessions that are carried over, and it is used again when it is back."""
        url = sqlalchemy.make_url(backends.url(kind)).set(query={})
        with FaultProxy(url.port or 0) as proxy:
            place = TablePlace(
                url.set(port=proxy.port).render_as_string(hide_password=False), "t", key_column="k", value_column="v"
            )
            engine = sqlalchemy.create_engine(url)
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("CREATE TABLE t (k VARCHAR(9), v VARCHAR(9))"))
            try:
                assert place.get("a", NOW) is None
                proxy.black_hole()
                started = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    place.get("a", NOW)
                assert time.monotonic() - started < 4
                proxy.heal()
                assert place.get("a", NOW) is None
            finally:
                with engine.begin() as connection:
                    connection.execute(sqlalchemy.text("DROP TABLE t"))
                engine.dispose()

    @pytest.mark.parametrize("kind", ["VARCHAR(9) COLLATE utf8mb4_general_ci", "VARBINARY(9)"])
    def test_a_table_opens_by_the_very_key_alone(self, kind: str, backends: Backends) -> None:
        """By default MariaDB does not tell case apart: one record under several cookies would make several sessions."""
        url = sqlalchemy.make_url(backends.url("mariadb")).set(query={})
        place = TablePlace(url.render_as_string(hide_password=False), "c", key_column="k", value_column="v")
        engine = sqlalchemy.create_engine(url)
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text(f"CREATE TABLE c (k {kind}, v TEXT)"))
            connection.execute(sqlalchemy.text("INSERT INTO c VALUES ('aBc', 'found')"))
        try:
            assert [place.get(key, NOW) for key in ("abc", "ABC", "aBc")] == [None, None, b"found"]
        finally:
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text("DROP TABLE c"))
            engine.dispose()

    @pytest.mark.parametrize(("value", "found"), [("x'6262'", b"bb"), ("'bb'", b"bb"), ("NULL", None)])
    def test_however_a_table_keeps_them(self, value: str, found: bytes | None, tmp_path: Path) -> None:
        """As bytes, as text, or nothing; the key with blanks at the end, as some pad it."""
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.sqlite3")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (k TEXT COLLATE RTRIM, v)"))
            connection.execute(sqlalchemy.text(f"INSERT INTO t VALUES ('abc  ', {value})"))
        assert TablePlace(engine, "t", key_column="k", value_column="v").get("abc", NOW) == found
        engine.dispose()

    def test_cachelib_files(self, tmp_path: Path) -> None:
        """Times that have passed, files that never expire, files cut off."""
        place = CachelibPlace(tmp_path, hash_name="md5")
        path = tmp_path / "0cc175b9c0f1b6a831c399e269772661"
        for expires, found in ((0, b"x"), (int(NOW), b"x"), (int(NOW) - 1, None)):
            path.write_bytes(struct.pack("I", expires) + b"x")
            assert place.get("a", NOW) == found
        path.write_bytes(b"\0")
        assert place.get("a", NOW) is None

    def test_a_client_that_decodes_does_not_start(self, redis_url: str) -> None:
        """Promise 15."""
        with redis.Redis.from_url(redis_url, decode_responses=True) as client, pytest.raises(ConfigurationError):
            RedisPlace(client)

    @pytest.mark.parametrize(
        ("library", "url"), [("redis", "redis://localhost"), ("sqlalchemy", "postgresql://localhost/d")]
    )
    def test_a_driver_that_is_not_installed_is_named(self, library: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Promise 15, and which extra to install."""
        monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(ConfigurationError, match=rf"pip install 'session-middleware\[{library}\]'"):
            FromFlaskSession(url)

    def test_an_engine_of_the_users_own(self, tmp_path: Path) -> None:
        """With a table of another name, without a time at which records expire."""
        engine = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.sqlite3")
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE t (k TEXT, v BLOB)"))
            connection.execute(sqlalchemy.text("INSERT INTO t VALUES ('a', x'6262')"))
        place = TablePlace(engine, "t", key_column="k", value_column="v")
        assert place.get("a", NOW) == b"bb"
        place.remove("a")
        assert place.get("a", NOW) is None
        engine.dispose()

    @pytest.mark.parametrize("make", [FromBeaker, FromFlaskSession])
    def test_urls_that_cannot_be_read_do_not_start(self, make: Callable[[str], object]) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError):
            make("redis://localhost:port/0")
        with pytest.raises(ConfigurationError):
            make("nosuch://localhost")

    def test_a_record_over_the_limit_is_skipped(self, caplog: pytest.LogCaptureFixture) -> None:
        site = Site(FromFlaskSession(MemoryPlace(**{f"session:{'a' * 43}": b"{" + b" " * formats.MOST + b"}"})))
        site.visit(f"session={'a' * 43}")
        assert "over the limit" in the_line(caplog)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.lists(inner).map(tuple)
        | st.dictionaries(st.text(), inner)
        | st.sets(st.integers())
        | st.frozensets(st.text())
    ),
    max_leaves=20,
)


class TestPlainPickle:
    """The reader of pickles that can read nothing but data."""

    @given(PLAIN)
    def test_plain_values_come_out_as_they_went_in(self, value: Any) -> None:
        """Promise 9."""
        found = plain_pickle.read(pickle.dumps(value, 4))
        assert found == value
        assert MsgpackCodec().encode({"": found}) == MsgpackCodec().encode({"": value})

    @given(st.binary())
    def test_other_bytes_are_refused_and_nothing_else_happens(self, data: bytes) -> None:
        """Promise 10."""
        for stream in (data, b"\x80\x04" + data, pickle.dumps({"a": [1, "b", (2.5, None)]})[: len(data)] + data):
            with suppress(plain_pickle.NotPlain):
                plain_pickle.read(stream)

    @pytest.mark.parametrize("protocol", range(6))
    @pytest.mark.parametrize(
        "value", [datetime(2026, 1, 1), Path("/"), print, Bomb, Bomb(Path("/x")), io.StringIO, {"a": [timedelta(1)]}, 1j]
    )
    def test_whatever_names_something_is_refused(self, value: object, protocol: int) -> None:
        """Promise 10: a class, a function, an object, at any depth."""
        with pytest.raises(plain_pickle.NotPlain):
            plain_pickle.read(pickle.dumps(value, protocol))

    def test_what_grows_without_bound_is_refused(self) -> None:
        """A billion laughs: containers that stand at many places, text that stands at very many."""
        value: list[Any] = ["ha"]
        for _ in range(30):
            value = [value] * 10
        with pytest.raises(plain_pickle.NotPlain, match="two places"):
            plain_pickle.read(pickle.dumps(value))
        with pytest.raises(plain_pickle.NotPlain, match="over the limit"):
            plain_pickle.read(pickle.dumps(["x" * 100_000] * 100))
        number = b"\x8b" + (100_000).to_bytes(4, "little") + b"\x01" * 100_000
        with pytest.raises(plain_pickle.NotPlain, match="over the limit"):
            plain_pickle.read(b"\x80\x04](" + number + b"\x94" + b"h\0" * 100 + b"e.")
        loop: list[Any] = []
        loop.append(loop)
        with pytest.raises(plain_pickle.NotPlain):
            plain_pickle.read(pickle.dumps(loop))

    @pytest.mark.unmeasured  # hundreds of thousands of steps each
    @pytest.mark.parametrize("opcode", [b"\x8f", b"}", b"]", b")", b"N\x94"])
    def test_small_things_that_take_much_memory_are_refused(self, opcode: bytes) -> None:
        """Four million empty sets are four megabytes of a pickle, and a gigabyte of memory."""
        tracemalloc.start()
        with pytest.raises(plain_pickle.NotPlain, match="too much memory"):
            plain_pickle.read(b"\x80\x04(" + opcode * 300_000 + b"t.")
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()

        assert most < 100_000_000
        assert plain_pickle.read(b"\x80\x04(" + opcode * 1_000 + b"t.")

    def test_depth_and_size_are_no_danger(self) -> None:
        deep = plain_pickle.read(b"\x80\x04" + b"]" * 50_000 + b"a" * 49_999 + b".")
        assert type(deep) is list
        with pytest.raises(plain_pickle.NotPlain, match="limit"):
            plain_pickle.read(b"\x80\x04" + b"N" * 5_000_000)
        with pytest.raises(plain_pickle.NotPlain, match="too early"):
            plain_pickle.read(b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f")

    @pytest.mark.unmeasured  # a hundred thousand steps each
    @pytest.mark.parametrize("wrap", [b"})%bNs.", b"\x8f()%b\x90.", b"()%b\x91."])
    def test_what_is_hashed_is_not_deep(self, wrap: bytes) -> None:
        """Python hashes a nested tuple by recursion, and a process that runs out of stack there dies."""
        with pytest.raises(plain_pickle.NotPlain, match="too deep"):
            plain_pickle.read(b"\x80\x04" + wrap % (b"\x85" * 100_000))
        assert plain_pickle.read(pickle.dumps({((1, 2), frozenset({3})): 4})) == {((1, 2), frozenset({3})): 4}

    def test_numbers_of_one_hash_do_not_hang(self) -> None:
        """A dict, or a set, of a hundred thousand such keys takes minutes."""
        numbers = [b"\x8a\x0c" + (k * (2**61 - 1)).to_bytes(12, "little") for k in range(100_000)]
        for stream in (b"\x8f(%b\x90.", b"(%b\x91.", b"}(%bu."):
            values = b"".join(numbers) if b"u" not in stream else b"N".join(numbers) + b"N"
            with pytest.raises(plain_pickle.NotPlain, match="too many keys"):
                plain_pickle.read(b"\x80\x04" + stream % values)

    @pytest.mark.parametrize(
        "stream", [b"(.", b"(0.", b"a.", b"]s.", b"NNs.", b"}NNNu.", b"]]a", b"\x94.", b"h\0.", b"(]](u.", b"NN.", b"N.N"]
    )
    def test_opcodes_out_of_place_are_refused(self, stream: bytes) -> None:
        with pytest.raises(plain_pickle.NotPlain):
            plain_pickle.read(b"\x80\x04" + stream)

    def test_one_pickle_after_another(self) -> None:
        value, rest = plain_pickle.read_first(pickle.dumps(1.5) + b"rest")
        assert (value, rest) == (1.5, b"rest")


class TestFormats:
    @given(st.binary())
    def test_any_bytes_are_a_mapping_or_refused(self, data: bytes) -> None:
        """Promise 10."""
        pickles = formats.Pickles(plain=True, conversion="convert it")
        for stream in (data, b"{" + data, b"\x81\xa1a" + data, b"\x80\x04" + data):
            with suppress(PayloadError):
                assert type(formats.mapping(stream, pickles)) is dict

    def test_what_flask_session_writes_comes_out(self) -> None:
        """With the types that MessagePack has."""
        data = {"a": b"\0", "when": datetime(2026, 1, 1, tzinfo=UTC), "n": [2**63, -1.5]}
        pickles = formats.Pickles(plain=False, conversion="")
        assert formats.mapping(msgspec.msgpack.encode(data), pickles) == data

    def test_a_packed_session_cannot_fill_the_memory(self) -> None:
        with pytest.raises(PayloadError, match="too large"):
            formats.inflated(zlib.compress(b"0" * (formats.MOST + 1)))
        with pytest.raises(PayloadError, match="cut off"):
            formats.inflated(zlib.compress(b"0" * 100)[:-5])


def test_none_of_the_libraries_is_needed() -> None:
    """Their sessions are read without them; a driver is imported when a place asks for it."""
    program = """
import sys
import session_middleware.integrations.moving, session_middleware.integrations.beaker
print(sorted(sys.modules.keys() & {"beaker", "flask", "flask_session", "django", "redis", "sqlalchemy", "cachelib"}))
"""
    command = [sys.executable, "-W", "ignore", "-c", program]
    found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert found == "[]\n"
