"""Options that are written as text: in a mapping, and in an ini file that PasteDeploy loads."""

import inspect
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import WSGIApplication

import pytest
from paste.deploy import loadapp

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    MsgpackCodec,
    SessionMiddleware,
    SQLiteStore,
    config,
    get_session,
)
from session_middleware.config import options
from tests.apps import list_app, visit


def count(environ: dict[str, Any]) -> None:
    session = get_session(environ)
    session["visits"] = session.get("visits", 0) + 1


def app_factory(global_conf: dict[str, str], **local_conf: str) -> WSGIApplication:
    """What ``paste.app_factory`` of the ini file below names."""
    return list_app(count)


class TestOptions:
    def test_every_option_is_read(self) -> None:
        """Promise 15: each becomes the argument that the constructor documents."""
        read = options(
            {
                "session.store": "memory:",
                "session.codec": "JSON",
                "session.max_bytes": "2048",
                "session.namespace": "shop",
                "session.environ_key": "my.session",
                "session.lifetime.idle": "600",
                "session.lifetime.absolute": "7200.5",
                "session.max_per_user": "5",
                "session.at_limit": "Refuse",
                "session.cookie.name": "sid",
                "session.cookie.secure": "true",
                "session.cookie.samesite": "none",
                "session.cookie.path": "/app",
                "session.cookie.domain": "example.com",
                "session.cookie.partitioned": "yes",
            },
            "session.",
        )

        assert isinstance(read.pop("codec"), JSONCodec)
        assert read == {
            "store": "memory:",
            "max_bytes": 2048,
            "max_per_user": 5,
            "at_limit": "refuse",
            "namespace": "shop",
            "environ_key": "my.session",
            "lifetime": Lifetime(idle=timedelta(minutes=10), absolute=7200.5),
            "cookie": CookiePolicy(
                name="sid", secure=True, samesite="None", path="/app", domain="example.com", partitioned=True
            ),
        }

    def test_what_can_be_written_as_text_is_an_option(self) -> None:
        """Promise 15: the constructors are the reference; what else they take is made by code."""
        made_by_code = {"app", "lifetime", "cookie", "clock", "carry_over", "cookie.former", "cookie.former.former"}
        groups = {"": SessionMiddleware, "lifetime.": Lifetime, "cookie.": CookiePolicy, "cookie.former.": CookiePolicy}
        names = {f"{group}{name}" for group, kind in groups.items() for name in inspect.signature(kind).parameters}

        assert set(config._OPTIONS) == names - made_by_code

    @pytest.mark.parametrize(
        ("text", "value"),
        [
            *((text, True) for text in ("true", "True", "YES", "on", "1")),
            *((text, False) for text in ("false", "No", "OFF", "0")),
            *((text, "auto") for text in ("auto", "Auto")),
        ],
    )
    def test_truth_has_several_spellings(self, text: str, value: bool | str) -> None:
        """Promise 15: those of ini files."""
        assert options({"cookie.secure": text}, "") == {"cookie": CookiePolicy(secure=value)}  # type: ignore[arg-type]

    def test_no_limit_of_sessions_is_written_none(self) -> None:
        """Text cannot be ``None``."""
        assert options({"session.max_per_user": "None"}, "session.") == {"max_per_user": None}

    def test_no_idle_timeout_is_written_none(self) -> None:
        """A-7.1.1: to go without one must be said in so many words."""
        assert options({"lifetime.idle": "None"}, "") == {"lifetime": Lifetime(idle=None)}
        assert isinstance(options({"codec": "msgpack"}, "")["codec"], MsgpackCodec)

    def test_nothing_written_is_nothing_changed(self) -> None:
        """The defaults are those of the constructor; keys of others are theirs."""
        assert options({}, "session.") == {}
        assert options({"debug": "true", "sqlalchemy.url": "x", "session_secret": "y"}, "session.") == {}

    @pytest.mark.parametrize(
        ("key", "right"),
        [
            ("session.stroe", "session.store"),
            ("session.url", "session."),
            ("session.cookie.same_site", "session.cookie.samesite"),
            ("session.samesite", "session.cookie.samesite"),
            ("session.cookie.httponly", "session.cookie."),
            ("session.lifetime.idel", "session.lifetime.idle"),
            ("session.Store", "session.store"),
            ("session.", "session."),
        ],
    )
    def test_a_misspelt_key_is_an_error_that_names_the_nearest(self, key: str, right: str) -> None:
        """Promise 15: an option with no effect is impossible."""
        with pytest.raises(ConfigurationError) as caught:
            options({key: "x"}, "session.")

        assert str(caught.value).startswith(f"{key}: there is no such option; did you mean {right}")

    @pytest.mark.parametrize(
        ("key", "text", "wanted"),
        [
            ("codec", "pickle", "msgpack or json"),
            ("max_bytes", "1 MB", "a whole number"),
            ("max_bytes", "", "a whole number"),
            ("max_per_user", "few", "a whole number, or none"),
            ("lifetime.idle", "1h", "seconds, or none"),
            ("lifetime.absolute", "none", "seconds"),
            ("cookie.secure", "maybe", "auto, true or false"),
            ("cookie.partitioned", "auto", "true or false"),
            ("cookie.partitioned", True, "true or false"),
            ("max_bytes", None, "a whole number"),
        ],
    )
    def test_text_that_cannot_be_read_is_an_error_that_says_what_to_write(self, key: str, text: Any, wanted: str) -> None:
        """Promise 15: with the key as it stands in the file."""
        with pytest.raises(ConfigurationError) as caught:
            options({f"session.{key}": text}, "session.")

        assert str(caught.value) == f"session.{key}={text!r}: write {wanted}"

    @pytest.mark.parametrize(
        ("key", "text"),
        [
            ("store", "mongo://localhost"),
            ("max_bytes", "10"),
            ("environ_key", "session"),
            ("namespace", ""),
            ("lifetime.idle", "0"),
            ("lifetime.absolute", "nan"),
            ("lifetime.absolute", "-1"),
            ("cookie.name", "__Host-session"),
            ("cookie.samesite", "sometimes"),
            ("cookie.samesite", "none"),
            ("cookie.path", "app"),
            ("cookie.domain", ""),
            ("cookie.partitioned", "true"),
        ],
    )
    def test_what_cannot_work_is_refused_as_in_python(self, key: str, text: str) -> None:
        """Promise 15: the same checks."""
        with pytest.raises(ConfigurationError):
            SessionMiddleware.from_config(list_app(count), {"session.store": "memory:", f"session.{key}": text})


class TestFromConfig:
    @pytest.mark.parametrize("prefix", ["session.", "beaker.", ""])
    def test_the_prefix_may_be_any(self, prefix: str) -> None:
        """The middleware works as configured."""
        mapping = {f"{prefix}store": "memory:", f"{prefix}cookie.name": "sid"}
        application = SessionMiddleware.from_config(list_app(count), mapping, prefix=prefix)

        assert isinstance(application.manager.store, MemoryStore)
        assert visit(application).cookie.startswith("sid=")

    def test_the_default_prefix_is_session(self) -> None:
        """Other keys of the same file are left to others."""
        application = SessionMiddleware.from_config(list_app(count), {"store": "x", "session.store": "memory:"})

        assert isinstance(application.manager.store, MemoryStore)


INI = """
[app:main]
paste.app_factory = tests.test_config:app_factory
filter-with = session

[filter:session]
{use}
store = sqlite:///%(here)s/sessions.sqlite3
cookie.name = sid
lifetime.idle = none
"""


@pytest.fixture(params=["use = egg:session-middleware", "paste.filter_app_factory = {module}:filter_app_factory"])
def ini(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """An ini file that wraps an application, by the entry point and by the factory's name."""
    path = tmp_path / "site.ini"
    path.write_text(INI.format(use=request.param.format(module="session_middleware.integrations.paste")))
    return path


class TestPasteDeploy:
    def test_an_ini_file_makes_a_site_with_sessions(self, ini: Path) -> None:
        """``loadapp`` finds the entry point, the options are read, and the session is kept in the file beside it."""
        application = loadapp(f"config:{ini}")
        cookie = visit(application).cookie

        assert isinstance(application, SessionMiddleware)
        assert isinstance(application.manager.store, SQLiteStore)
        assert application.manager.lifetime == Lifetime(idle=None)
        assert visit(application, cookie=cookie).set_cookies == []
        assert application.manager.open(cookie.removeprefix("sid="))["visits"] == 2
        assert (ini.parent / "sessions.sqlite3").is_file()
        application.manager.store.close()

    def test_a_misspelt_key_stops_the_start(self, ini: Path) -> None:
        """Promise 15: with the right one in the message."""
        ini.write_text(ini.read_text().replace("cookie.name", "cookie_name"))

        with pytest.raises(ConfigurationError, match=r"cookie_name: there is no such option; did you mean cookie\.name"):
            loadapp(f"config:{ini}")
