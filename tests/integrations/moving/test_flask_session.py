"""Sessions that Flask-Session itself has stored, in Redis, in files and in a table, are carried over."""

import pickle
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import flask
import flask_login
import flask_session
import msgspec
import pytest
import redis
import sqlalchemy
from cachelib.file import FileSystemCache
from cachelib.serializers import JSONSerializer
from itsdangerous import Signer

from session_middleware import MemoryStore
from session_middleware.integrations.flask import Sessions
from session_middleware.integrations.moving import CachelibPlace, FromFlaskSession, RedisPlace
from session_middleware.testing import FakeClock, race
from tests.backends.process import free_port
from tests.integrations.moving.sites import Bomb, MemoryPlace, the_line


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


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
