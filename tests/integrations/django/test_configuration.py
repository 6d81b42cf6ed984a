"""The settings of our sessions in Django: what cannot work does not start, and every option is used."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.http import HttpResponse
from django.test import RequestFactory, override_settings
from django.test.utils import setup_test_environment, teardown_test_environment

from session_middleware import (
    ConfigurationError,
    JSONCodec,
    Lifetime,
    MemoryStore,
    SessionManager,
    SessionMiddleware,
    SessionTooLarge,
    SQLiteStore,
)
from session_middleware.integrations import django as ours
from session_middleware.testing import FakeClock, FaultyStore
from tests.servers.gunicorn import ROOT


class TestConfiguration:
    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            ({"SESSION_MIDDLEWARE": "memory:"}, 'write {"store": ...}'),
            ({"SESSION_MIDDLEWARE": {"stor": "memory:"}}, "did you mean 'store'?"),
            ({"SESSION_MIDDLEWARE": {"cookie": "sid"}}, "write SESSION_COOKIE_NAME"),
            ({"SESSION_MIDDLEWARE": {"store": 5}}, "write a URL, or a store"),
            ({"SESSION_MIDDLEWARE": {"store": None}}, "store=None: write a URL, or a store"),
            ({"SESSION_MIDDLEWARE": {"store": "memory:", "lifetime": 5}}, "write Lifetime(idle=..., absolute=...)"),
            ({"SESSION_COOKIE_HTTPONLY": False}, "is always HttpOnly"),
            ({"SESSION_COOKIE_SAMESITE": False}, "write 'Lax', 'Strict' or 'None'"),
            ({"SESSION_COOKIE_SAMESITE": "None"}, "needs secure=True"),
            ({"SESSION_COOKIE_NAME": "__Host-sid"}, "SESSION_COOKIE_SECURE=True"),
            (
                {"SESSION_COOKIE_NAME": "__Host-sid", "SESSION_COOKIE_SECURE": True, "SESSION_COOKIE_PATH": "/shop"},
                "neither SESSION_COOKIE_DOMAIN nor SESSION_COOKIE_PATH",
            ),
            ({"SESSION_SERIALIZER": "django.contrib.sessions.serializers.PickleSerializer"}, "never pickles"),
        ],
    )
    def test_what_cannot_work_does_not_start(self, setting: dict[str, Any], message: str) -> None:
        """Promise 15: the error says what to write instead."""
        with (
            override_settings(**({"SESSION_MIDDLEWARE": {"store": "memory:"}} | setting)),
            pytest.raises(ImproperlyConfigured, match=re.escape(message)),
        ):
            ours.SessionMiddleware(HttpResponse)

    def test_a_store_that_will_never_do_does_not_start(self, tmp_path: Path) -> None:
        """Promise 15: it is tried when the middleware is made, unless that is not wanted; a server may be away."""
        (tmp_path / "text").touch(0o600)
        (tmp_path / "text").write_text("This is not a database. " * 1000)
        store: dict[str, Any] = {"store": f"sqlite:///{tmp_path}/text"}
        with (
            override_settings(SESSION_MIDDLEWARE=store),
            pytest.raises(ImproperlyConfigured, match="text: file is not a database"),
        ):
            ours.SessionMiddleware(HttpResponse)
        with override_settings(SESSION_MIDDLEWARE=store | {"check_store": False}):
            ours.SessionMiddleware(HttpResponse)

    def test_every_option_is_used(self, store: FaultyStore) -> None:
        """Promise 15: an option with no effect is impossible."""
        clock = FakeClock(1_900_000_000)
        options = {
            "store": store,
            "lifetime": Lifetime(idle=100, absolute=1000),
            "codec": JSONCodec(),
            "namespace": "shop",
            "max_bytes": 2048,
            "clock": clock,
            "environ_key": "shop.session",
        }
        with override_settings(SESSION_MIDDLEWARE=options):
            session = ours.SessionStore()
            session["a"] = "1"
            session.save()
            request = RequestFactory().get("/", **{"shop.session": SessionMiddleware(HttpResponse, store).manager.open()})
            ours.SessionMiddleware(lambda request: HttpResponse())(request)

            assert session.expires_at == 1_900_000_100
            assert ours.manager().codec is options["codec"]
            others = [SessionManager(store, codec=JSONCodec(), namespace=name, clock=clock) for name in ("shop", "session")]
            assert [dict(other.open(session.session_key)) for other in others] == [{"a": "1"}, {}]
            assert request.session.underlying is request.environ["shop.session"]
            session["a"] = "x" * 2048
            with pytest.raises(SessionTooLarge, match="over the limit of 2,048"):
                session.save()

    def test_without_the_setting_it_is_a_file_beside_the_working_directory(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Design, 5: SQLite; Django's age of the cookie is the idle timeout."""
        monkeypatch.chdir(tmp_path)
        with override_settings(SESSION_MIDDLEWARE=None, SESSION_COOKIE_AGE=60 * 86400):
            manager = ours.manager()

            assert isinstance(manager.store, SQLiteStore)
            assert manager.lifetime == Lifetime(idle=60 * 86400, absolute=60 * 86400)
            with override_settings(SESSION_COOKIE_AGE=3600):
                assert ours.manager().lifetime == Lifetime(idle=3600, absolute=30 * 86400)
                assert ours.manager().store is manager.store
            with override_settings(SESSION_MIDDLEWARE={"store": "memory:"}):
                assert ours.manager().store is not manager.store
            ours.SessionStore().save()
            assert (tmp_path / "sessions.sqlite3").exists()
        with override_settings(SESSION_MIDDLEWARE={"store": "memory:"}):
            ours.manager()

    def test_under_the_test_runner_the_project_has_another_store(
        self, store: FaultyStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whatever its settings say; another store that a test sets over them counts, and an option beside the store's."""
        monkeypatch.setattr(settings._wrapped, "SESSION_MIDDLEWARE", {"store": store}, raising=False)
        setup_test_environment()
        try:
            assert isinstance(ours.manager().store, MemoryStore)
            assert ours.manager() is ours.manager()
            with override_settings(SESSION_MIDDLEWARE={"store": store, "namespace": "other"}):
                assert isinstance(ours.manager().store, MemoryStore)
                assert ours.manager().namespace == "other"
            another = FaultyStore(MemoryStore())
            with override_settings(SESSION_MIDDLEWARE={"store": another}):
                assert ours.manager().store is another
        finally:
            teardown_test_environment()
        assert ours.manager().store is store

    def test_the_typed_session_is_the_one_of_the_request(self, store: FaultyStore) -> None:
        """``session_of(request)``; a request without one of ours says what is missing."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            request = RequestFactory().get("/")
            ours.SessionMiddleware(HttpResponse).process_request(request)
            ours.session_of(request).login("5")

            assert (request.session.user_id, ours.session_of(request)) == ("5", request.session.underlying)
            request.session = {}
            with pytest.raises(ConfigurationError, match="MIDDLEWARE needs"):
                ours.session_of(request)

    def test_clearsessions_removes_what_has_expired(self, store: FaultyStore) -> None:
        """``manage.py clearsessions``: all of it, in batches; and nothing where the store does it by itself."""
        clock = FakeClock(1_000_000_000)  # long ago
        memory = MemoryStore()
        with override_settings(SESSION_MIDDLEWARE={"store": memory, "clock": clock}):
            for _ in range(3):
                ours.SessionStore().save()
        with override_settings(SESSION_MIDDLEWARE={"store": memory}):
            call_command("clearsessions")
            ours.SessionStore().save()
            async_to_sync(ours.SessionStore.aclear_expired)()
            assert len(list(memory.keys())) == 1
        verbs = {verb: getattr(store, verb) for verb in ("create", "load", "update", "delete")}
        with override_settings(SESSION_MIDDLEWARE={"store": SimpleNamespace(**verbs)}):
            call_command("clearsessions")
            assert store.calls == []

    def test_without_django_the_error_says_what_to_install(self) -> None:
        """And the other modules are unaffected."""
        program = """
import sys
sys.modules["django"] = None
import session_middleware, session_middleware.integrations
try:
    import session_middleware.integrations.django
except ImportError as error:
    print(error)
"""
        run = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, cwd=ROOT)
        assert run.stdout.strip() == "Django is not installed: pip install 'session-middleware[django]'"
