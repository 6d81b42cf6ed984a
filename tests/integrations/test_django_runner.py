"""Django's test runner: what a project's tests do with sessions never reaches the store of its settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from session_middleware import SessionManager
from tests.servers.gunicorn import ROOT

SETTINGS = """
SECRET_KEY = "for this test alone"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "users.sqlite3"}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions"]
MIDDLEWARE = ["session_middleware.integrations.django.SessionMiddleware"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ROOT_URLCONF = "site_urls"
SESSION_ENGINE = "session_middleware.integrations.django"
SESSION_MIDDLEWARE = {"store": "sqlite:///sessions.sqlite3", **OTHERS}
"""

URLS = """
from django.http import HttpResponse
from django.urls import path

def visit(request):
    request.session["visited"] = "yes"
    return HttpResponse(request.session.session_key)

urlpatterns = [path("", visit)]
"""

TESTS = """
from django.contrib.auth.models import User
from django.test import TestCase, override_settings

from session_middleware import MemoryStore, SQLiteStore
from session_middleware.integrations.django import manager

STORE = MemoryStore()


class Visits(TestCase):
    def test_signing_out_everywhere(self):
        self.client.force_login(User.objects.create_user("anna", id=1))
        self.assertEqual(self.client.get("/", secure=True).status_code, 200)
        self.assertEqual(self.client.session["visited"], "yes")
        self.assertEqual(len(manager().sessions_of("1")), 1)
        self.assertEqual(manager().revoke_all("1"), 1)

    @override_settings(SESSION_COOKIE_AGE=60)
    def test_another_setting(self):
        self.client.get("/")
        self.assertEqual(manager().lifetime.idle, 60)
        self.assertIsInstance(manager().store, KIND)

    def test_the_store(self):
        self.assertIsInstance(manager().store, KIND)

    @override_settings(SESSION_MIDDLEWARE={"store": STORE})
    def test_a_store_of_its_own(self):
        self.client.get("/")
        self.assertIs(manager().store, STORE)
"""


@pytest.mark.parametrize(
    ("others", "kind"), [("{}", "MemoryStore"), ('{"test_store": "sqlite:///of_tests.sqlite3"}', "SQLiteStore")]
)
def test_tests_have_a_store_of_their_own(tmp_path: Path, others: str, kind: str) -> None:
    """As they have a database: who signs user 1 out everywhere in a test signs out nobody who is real."""
    store = f"sqlite:///{tmp_path}/sessions.sqlite3"
    real = SessionManager(store)
    session = real.open()
    session.login("1")
    real.commit(session)
    (tmp_path / "site_settings.py").write_text(SETTINGS.replace("OTHERS", others))
    (tmp_path / "site_urls.py").write_text(URLS)
    (tmp_path / "test_site.py").write_text(TESTS.replace("KIND", kind))
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "django", "test", "--settings=site_settings"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "Ran 4 tests" in run.stderr
    assert run.returncode == 0, run.stderr
    assert [info.id for info in real.sessions_of("1")] == [session.id]
    assert real.revoke_everybody() == 1
    assert (tmp_path / "of_tests.sqlite3").exists() == (kind == "SQLiteStore")
