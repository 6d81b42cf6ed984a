"""Which configurations start, and what is warned of."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import pytest
from paste.deploy.config import PrefixMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    SessionMiddleware,
    SQLiteStore,
    Store,
    get_session,
)
from session_middleware.testing import FakeClock, FaultyStore
from tests.apps import SHAPES, Gateway, a_site, an_environ, some_headers, visit
from tests.sites import sent


@pytest.fixture
def store(store: Store) -> FaultyStore:
    """A store of each kind, which notes its calls and fails when told to."""
    return FaultyStore(store)


class TestConstruction:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"app": None}, "None is not a WSGI application"),
            ({"app": "tests.apps"}, "is not a WSGI application"),
            ({"store": 5}, "store=5: write a URL, or a store such as SQLiteStore"),
            ({"store": {}}, "write a URL, or a store"),
            ({"store": Path("sessions.sqlite3")}, "write a URL, or a store"),
            ({"store": MemoryStore}, "write a URL, or a store"),
            ({"store": logging}, "write a URL, or a store"),
            ({"store": "sessions.sqlite3"}, "'sessions.sqlite3' is not a kind of store"),
            ({"store": ""}, "is not a kind of store"),
            ({"store": "mongodb://localhost"}, "'mongodb' is not a kind of store"),
            ({"cookie": "sid"}, r"cookie='sid': write CookiePolicy\(name=...\)"),
            ({"cookie": {"name": "sid"}}, r"write CookiePolicy\(name=...\)"),
            ({"cookie": None}, r"write CookiePolicy\(name=...\)"),
            ({"environ_key": "session"}, "environ_key='session': write a text with a dot in it"),
            ({"environ_key": None}, "write a text with a dot"),
            ({"lifetime": timedelta(hours=1)}, r"write Lifetime\(idle=..., absolute=...\)"),
            ({"lifetime": 3600}, "write Lifetime"),
            ({"max_bytes": 10}, "write a number of bytes, at least 1024"),
            ({"max_bytes": "1 MB"}, "write a number of bytes"),
            ({"max_bytes": True}, "write a number of bytes"),
            ({"codec": "json"}, r"codec='json': write MsgpackCodec\(\), JSONCodec\(\) or a codec of your own"),
            ({"codec": JSONCodec}, r"write MsgpackCodec\(\), JSONCodec\(\)"),
        ],
    )
    def test_what_cannot_work_does_not_start(self, options: dict[str, Any], message: str) -> None:
        """Promise 15: the error is raised at once and says what to write instead."""
        arguments: dict[str, Any] = {"app": a_site, "store": MemoryStore()} | options

        with pytest.raises(ConfigurationError, match=message):
            SessionMiddleware(**arguments)

    @pytest.mark.parametrize("option", ["secret", "cookie_name", "httponly", "timeout", "type"])
    def test_an_option_that_there_is_not_is_an_error(self, option: str) -> None:
        """Promise 15: as with any Python function."""
        with pytest.raises(TypeError, match=option):
            SessionMiddleware(a_site, MemoryStore(), **{option: "x"})  # type: ignore[arg-type]

    def test_options_have_names(self) -> None:
        """Style: a call says what its arguments mean."""
        with pytest.raises(TypeError, match="positional"):
            SessionMiddleware(a_site, MemoryStore(), Lifetime.AAL1)  # type: ignore[call-arg]

    def test_the_default_store_is_a_file_beside_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Design, 5: right for one machine; made at the start, or at the first use if nothing is to be tried before."""
        monkeypatch.chdir(tmp_path)
        SessionMiddleware(a_site, check_store=False)
        assert list(tmp_path.iterdir()) == []
        application = SessionMiddleware(a_site)
        assert [file.name for file in tmp_path.iterdir()] == ["sessions.sqlite3"]

        visit(application, "/visit")
        assert isinstance(application.manager.store, SQLiteStore)
        assert (tmp_path / "sessions.sqlite3").stat().st_mode & 0o777 == 0o600
        application.manager.store.close()

    def test_every_option_is_used(self) -> None:
        """Promise 15: an option with no effect is impossible."""
        store, clock = MemoryStore(), FakeClock(1_900_000_000)
        seen: list[object] = []

        def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            session = get_session(environ, "my.session")
            session["name"] = "value"
            seen.extend([session.created_at, session.expires_at])
            start_response("200 OK", some_headers())
            return []

        application = SessionMiddleware(
            app,
            store,
            lifetime=Lifetime.AAL3,
            cookie=CookiePolicy(name="sid", samesite="Strict"),
            codec=JSONCodec(),
            max_bytes=1024,
            environ_key="my.session",
            clock=clock,
        )
        response = visit(application)

        assert seen == [1_900_000_000, 1_900_000_000 + 15 * 60]
        assert response.cookie.startswith("sid=")
        assert "SameSite=Strict" in response.set_cookies[0]
        (key,) = store.keys()
        assert b"name" in (store.load(key) or (b"",))[0]
        assert b'"value"' in (store.load(key) or (b"",))[0]

    @pytest.mark.parametrize(
        ("one", "other", "shared"),
        [
            ({}, {}, True),
            ({"cookie": CookiePolicy(name="sid")}, {}, False),
            ({"cookie": CookiePolicy(name="sid")}, {"namespace": "sid"}, True),
            ({"namespace": "one"}, {"namespace": "other"}, False),
            ({"namespace": "one", "cookie": CookiePolicy(name="sid")}, {"namespace": "one"}, True),
        ],
    )
    def test_a_namespace_keeps_the_tokens_of_two_sites_apart(
        self, store: FaultyStore, one: dict[str, Any], other: dict[str, Any], shared: bool
    ) -> None:
        """Design, "Words": it is the name of the cookie unless it is given."""
        first, second = SessionMiddleware(a_site, store, **one), SessionMiddleware(a_site, store, **other)
        session = first.manager.open()
        session["a"] = 1
        token = sent(first.manager.commit(session))

        assert dict(first.manager.open(token)) == {"a": 1}
        assert dict(second.manager.open(token)) == ({"a": 1} if shared else {})

    @pytest.mark.parametrize("namespace", ["", 5, "a\0b"])
    def test_a_namespace_that_is_none_is_refused(self, namespace: Any) -> None:
        """Promise 15: the error says what to write instead."""
        with pytest.raises(ConfigurationError, match="write a text, the same in all processes of the site"):
            SessionMiddleware(a_site, MemoryStore(), namespace=namespace)

    def test_attributes_are_those_of_the_application(self) -> None:
        """Design, 5: ``app.route`` goes on working when ``app`` has been wrapped."""

        class Site:
            answer = 42

            def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
                return a_site(environ, start_response)

        application = SessionMiddleware(Site(), MemoryStore())

        assert application.answer == 42
        with pytest.raises(AttributeError, match="question"):
            _ = application.question
        with pytest.raises(AttributeError, match="app"):
            _ = SessionMiddleware.__new__(SessionMiddleware).anything

    @pytest.mark.parametrize("environ", [{}, {"session_middleware.session": {}}, {"beaker.session": {}}])
    def test_without_the_middleware_there_is_no_session(self, environ: dict[str, Any]) -> None:
        """Promise 15: the error says what is missing."""
        with pytest.raises(ConfigurationError, match="wrap the application with SessionMiddleware"):
            get_session(environ)


class TestWarnings:
    def test_a_store_of_one_process_says_so_once_when_there_are_several(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """F-P5: sessions would come and go with the worker that happens to answer."""
        application = SessionMiddleware(a_site, MemoryStore())
        for multiprocess in (False, True, True):
            Gateway().run(application, an_environ() | {"wsgi.multiprocess": multiprocess})
        shared = SQLiteStore(tmp_path / "sessions.sqlite3")
        Gateway().run(SessionMiddleware(a_site, shared), an_environ() | {"wsgi.multiprocess": True})

        messages = [record.getMessage() for record in caplog.records]
        assert sum("the store keeps sessions in this process alone" in message for message in messages) == 1

    @pytest.mark.parametrize(
        "header",
        [
            {"HTTP_X_FORWARDED_PROTO": "https"},
            {"HTTP_X_FORWARDED_PROTO": "HTTPS"},
            {"HTTP_X_FORWARDED_PROTO": "https, http"},
            {"HTTP_FORWARDED": "for=192.0.2.60;proto=https;by=203.0.113.43"},
            {"HTTP_FORWARDED": 'Proto="HTTPS"'},
            {"HTTP_FORWARDED": "for=192.0.2.60, for=192.0.2.61; proto=https"},
            {"HTTP_X_FORWARDED_SSL": "on"},
        ],
    )
    def test_a_proxy_that_is_not_trusted_is_mentioned_once(
        self, store: FaultyStore, header: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Design, "Cookie": the cookie goes out without Secure then, so the log says what to set."""
        application = SessionMiddleware(a_site, store)
        visit(application, "/page", **header)
        assert caplog.records == []

        for _ in range(2):
            response = visit(application, "/visit", **header)
        assert [record.message for record in caplog.records if "proxy" in record.message] == [
            "a proxy says https, the server http, so the session cookie is not Secure: let the server trust the proxy"
            " (gunicorn: forwarded_allow_ips), or set CookiePolicy(secure=True)"
        ]
        assert "secure" not in response.set_cookies[0].lower()

    def test_parallel_requests_mention_it_once_together(self, caplog: pytest.LogCaptureFixture) -> None:
        """Design, "Cookie"."""

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ)["name"] = "value"

        application = SessionMiddleware(SHAPES["generator"](act), MemoryStore())
        environs = [an_environ(HTTP_X_FORWARDED_PROTO="https") for _ in range(2)]
        bodies = [application(environ, Gateway().start_response) for environ in environs]
        for body in bodies:
            assert b"".join(body) == b"onetwo"
            body.close()  # type: ignore[attr-defined]

        assert [record.message[:24] for record in caplog.records] == ["a proxy says https, the "]

    @pytest.mark.parametrize("shape", SHAPES)
    @pytest.mark.parametrize(
        "inside",
        [
            lambda app: ProxyFix(app, x_proto=1),
            lambda app: PrefixMiddleware(app, {}, force_port=None),
            lambda app: PrefixMiddleware(app, {}, scheme="https"),
        ],
    )
    def test_a_scheme_that_becomes_https_inside_is_mentioned_once(
        self, shape: str, inside: Callable[[WSGIApplication], WSGIApplication], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Design, "Cookie": the scheme is read on the way in; the log says in which order to wrap."""

        def act(environ: WSGIEnvironment) -> None:
            get_session(environ)["name"] = "value"

        application = SessionMiddleware(inside(SHAPES[shape](act)), MemoryStore())
        for _ in range(2):
            response = visit(application, HTTP_X_FORWARDED_PROTO="https")
        said = [record.message for record in caplog.records if "inside" in record.message]

        assert response.set_cookies[0].startswith("session=")
        assert len(said) == 1
        assert said[0].endswith("is outside: ProxyFix(SessionMiddleware(app))")

    def test_what_is_wrapped_in_the_right_order_is_not_mentioned(self, caplog: pytest.LogCaptureFixture) -> None:
        """Design, "Cookie": nor is a page that has nothing to do with sessions."""
        application = ProxyFix(SessionMiddleware(a_site, MemoryStore()), x_proto=1)
        response = visit(application, "/visit", HTTP_X_FORWARDED_PROTO="https")
        visit(SessionMiddleware(ProxyFix(a_site, x_proto=1), MemoryStore()), "/static", HTTP_X_FORWARDED_PROTO="https")

        assert response.set_cookies[0].startswith("__Host-session=")
        assert caplog.records == []

    @pytest.mark.parametrize(
        ("policy", "request_headers"),
        [
            (CookiePolicy(), {}),
            (CookiePolicy(), {"HTTP_X_FORWARDED_PROTO": "http"}),
            (CookiePolicy(), {"HTTP_X_FORWARDED_SSL": "off"}),
            (CookiePolicy(), {"HTTP_FORWARDED": "for=192.0.2.60;proto=http;by=https"}),
            (CookiePolicy(), {"HTTP_X_FORWARDED_PROTO": "https", "scheme": "https"}),
            (CookiePolicy(secure=True), {"HTTP_X_FORWARDED_PROTO": "https"}),
            (CookiePolicy(secure=False), {"HTTP_X_FORWARDED_PROTO": "https"}),
        ],
    )
    def test_there_is_nothing_to_say_where_nothing_is_wrong(
        self, policy: CookiePolicy, request_headers: dict[str, str], caplog: pytest.LogCaptureFixture
    ) -> None:
        """Design, "Cookie": or where someone has decided."""
        visit(SessionMiddleware(a_site, MemoryStore(), cookie=policy), "/visit", **request_headers)

        assert caplog.records == []
