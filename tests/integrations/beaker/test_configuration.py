"""The settings of Beaker count, and what cannot work does not start."""

import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest

from session_middleware import ConfigurationError, JSONCodec, Lifetime, SessionMiddleware, SQLiteStore
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.beaker.settings import Settings
from session_middleware.integrations.moving import FromBeaker
from session_middleware.testing import FakeClock
from tests.apps import visit
from tests.integrations.beaker.application import application, browser


def configured(**settings: Any) -> BeakerMiddleware:
    return BeakerMiddleware.from_config(application, {f"session.{name}": value for name, value in settings.items()})


class TestConfiguration:
    def test_wrong_uses_do_not_start(self) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match=r"BeakerMiddleware\(SessionMiddleware"):
            BeakerMiddleware(application)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="environ_key"):
            BeakerMiddleware(SessionMiddleware(application, "memory:", environ_key="beaker.session"))

    def test_another_place_in_the_environ(self) -> None:
        seen: list[Any] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> list[bytes]:
            seen.append(environ["my.session"].get("a"))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b""]

        visit(BeakerMiddleware.from_config(app, {}, environ_key="my.session"))
        assert seen == [None]

    def test_options_that_are_no_settings_of_beaker_reach_the_middleware(self) -> None:
        """Promise 15: none is swallowed, and the defaults are those of the middleware."""
        clock, codec = FakeClock(), JSONCodec()
        site = BeakerMiddleware.from_config(
            application, {"session.key": "sid"}, codec=codec, max_bytes=4096, namespace="shop", clock=clock
        )
        assert (site.manager.codec, site.manager.now, site.manager.namespace) == (codec, clock, "shop")
        with pytest.raises(ConfigurationError, match="max_bytes=10"):
            BeakerMiddleware.from_config(application, {}, max_bytes=10)
        theirs = inspect.signature(SessionMiddleware).parameters
        ours = inspect.signature(BeakerMiddleware.from_config).parameters
        for name in ("codec", "max_bytes", "namespace", "clock"):
            assert ours[name].default == theirs[name].default

    def test_attributes_of_the_application_are_reached(self) -> None:
        """bottle's app.route(), through both layers."""
        assert configured().__name__ == "application"
        with pytest.raises(AttributeError):
            BeakerMiddleware.__new__(BeakerMiddleware).middleware  # noqa: B018

    def test_the_settings_of_bottles_tutorial(self, tmp_path: Path) -> None:
        """Four lines that many sites have."""
        settings = {"type": "file", "cookie_expires": 300, "data_dir": str(tmp_path / "data"), "auto": True}
        with pytest.warns(DeprecationWarning, match="session.auto does nothing any more"):
            found = configured(**settings)
        assert isinstance(found.manager.store, SQLiteStore)
        assert found.manager.lifetime == Lifetime(idle=None, absolute=300, persistent=True)

    def test_the_directory_of_the_sessions_is_made(self, tmp_path: Path) -> None:
        """As Beaker does: a fresh checkout has none."""
        directory = tmp_path / "data" / "sessions"
        found = configured(type="file", data_dir=str(directory))
        found.manager.commit(begun := found.manager.open())
        begun["a"] = 1
        found.manager.commit(begun)
        assert [path.name for path in directory.glob("*.sqlite3")] == ["sessions.sqlite3"]
        (tmp_path / "file").touch()
        with pytest.raises(ConfigurationError, match="data_dir="):
            configured(type="file", data_dir=str(tmp_path / "file" / "data"))

    @pytest.mark.usefixtures("quiet")
    @pytest.mark.parametrize("expires", [2592000, "2592000", timedelta(days=30)])
    def test_cookies_that_expire_outlive_the_browser(self, expires: Any) -> None:
        """What ``cookie_expires`` has always meant: every session has a cookie that is kept."""
        application = configured(type="memory", cookie_expires=expires, timeout=3600)
        header = browser(application).get("/count").headers["Set-Cookie"]
        assert "; Max-Age=2592000;" in header
        assert application.manager.lifetime == Lifetime(idle=3600, absolute=2592000, persistent=True)

    def test_a_timeout_beyond_the_end_of_the_cookie_is_of_no_matter(self) -> None:
        lifetime = configured(type="memory", cookie_expires=300, timeout=3600).manager.lifetime
        assert lifetime == Lifetime(idle=300, absolute=300, persistent=True)

    def test_names_are_those_of_beaker(self) -> None:
        """Either prefix; other keys are of no matter."""
        found = Settings({"beaker.session.key": "sid", "session.timeout": "600", "cache.type": "memory", "debug": True})
        assert (found.cookie().name, found.lifetime()) == ("sid", Lifetime(idle=600, absolute=86400))

    def test_the_cookie_is_as_configured(self) -> None:
        found = Settings(
            {
                f"session.{name}": value
                for name, value in {
                    "secure": "true",
                    "httponly": "on",
                    "samesite": "Strict",
                    "cookie_domain": "a.example",
                    "cookie_path": "/x",
                }.items()
            }
        ).cookie()
        assert (found.secure, found.samesite, found.domain, found.path) == (True, "Strict", "a.example", "/x")

    @pytest.mark.parametrize(
        ("settings", "lifetime"),
        [
            ({}, Lifetime(idle=None, absolute=86400)),
            ({"timeout": 7 * 86400}, Lifetime(idle=7 * 86400, absolute=7 * 86400)),
            ({"timeout": "", "cookie_expires": "true"}, Lifetime(idle=None, absolute=86400)),
            ({"cookie_expires": timedelta(days=2), "timeout": "60"}, Lifetime(idle=60, absolute=2 * 86400, persistent=True)),
        ],
    )
    def test_the_timeouts_are_as_configured(self, settings: dict[str, Any], lifetime: Lifetime) -> None:
        assert Settings({f"session.{name}": value for name, value in settings.items()}).lifetime() == lifetime

    @pytest.mark.parametrize(
        ("settings", "url"),
        [
            ({}, "memory:"),
            ({"type": "file", "data_dir": "./data"}, "sqlite:///data/sessions.sqlite3"),
            ({"type": "ext:redis", "url": "redis://h/1"}, "redis://h/1"),
            ({"type": "ext:database", "url": "postgresql://h/d"}, "postgresql://h/d"),
            ({"type": "ext:memcached", "url": "h:1;i:2"}, "memcached://h:1,i:2"),
        ],
    )
    def test_the_store_is_where_beakers_was(
        self, settings: dict[str, Any], url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert Settings({f"session.{name}": value for name, value in settings.items()}).store() == url

    @pytest.mark.parametrize(
        ("settings", "advice"),
        [
            ({"type": "cookie"}, "data stay on the server"),
            ({"type": "ext:google"}, "write store="),
            ({"type": "ext:redis"}, "needs session.url"),
            ({"type": "file"}, "needs session.data_dir"),
            ({"type": "ext:database", "url": "sqlite:///x"}, "an SQLite file of its own"),
            ({"httponly": "false"}, "always HttpOnly"),
            ({"cookie_expires": "false"}, r"set_lifetime\(persistent=True"),
            ({"secure": "perhaps"}, "write true or false"),
            ({"timeout": "soon"}, "write seconds"),
            ({"tiemout": 3}, "did you mean session.timeout"),
            ({"encrypt_key": "x"}, "leave it out"),
            ({"samesite": "None"}, "needs secure=True"),
        ],
    )
    def test_what_cannot_be_kept_says_what_to_write(self, settings: dict[str, Any], advice: str) -> None:
        """Promise 15."""
        with pytest.raises(ConfigurationError, match=advice):
            configured(**settings)

    def test_sessions_that_cannot_be_read_are_not_carried_over(self, tmp_path: Path) -> None:
        """Those in the memory of a process, in memcached, and in a directory in which there are none."""
        assert Settings({}).carry_over(None, plain_pickles=False) is None
        assert Settings({"session.data_dir": str(tmp_path)}).carry_over(None, plain_pickles=False) is None
        (tmp_path / "container_file").mkdir()
        found = Settings({"session.data_dir": str(tmp_path)}).carry_over(None, plain_pickles=False)
        assert found is not None
        assert found.name == "beaker.session.id"
        app = BeakerMiddleware.from_config(application, {"session.data_dir": str(tmp_path)}, carry_over=False)
        assert app.middleware.carry_over is None

    def test_what_reads_old_sessions_is_made_from_the_settings(self, tmp_path: Path) -> None:
        """Promise 15: one that was made by hand is not dropped without a word, nor its options."""
        (tmp_path / "container_file").mkdir()
        by_hand = FromBeaker(tmp_path, user_key="user")
        with pytest.raises(ConfigurationError, match=r"carry_over=.*write True or False"):
            BeakerMiddleware.from_config(application, {}, carry_over=by_hand)  # type: ignore[arg-type]
