"""Django sites that have moved: signed in with Django's own sessions of one engine, and then asked through our middleware.

Run it with a directory, the URL of a Redis, and sites as JSON: lists of the name of an engine and what else is particular.
Each is a process, for Django is configured once in each; the results are written to the directory.
"""

import importlib
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

import django
import django.contrib.auth.hashers
import django.core.management
import django.db.models
import django.test
from django.conf import settings

from session_middleware import ConfigurationError, MemoryStore, Session, SessionMiddleware, get_session
from session_middleware.integrations.moving import FromDjango
from session_middleware.testing import FakeClock
from tests.apps import list_app, visit


class JSONBytes:
    """A serializer for the cache, as Django lets one write it."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: bytes) -> Any:
        return json.loads(data)


class Site:
    """One of them, in a process of its own."""

    def __init__(self, directory: Path, redis: str, engine: str, *particulars: str) -> None:
        self.directory = directory
        self.redis = redis
        self.engine = f"django.contrib.sessions.backends.{engine}"
        self.particulars = particulars

    def number(self, name: str) -> float | None:
        found = [text.partition("=")[2] for text in self.particulars if text.startswith(f"{name}=")]
        return float(found[0]) if found else None

    def cache(self) -> dict[str, Any]:
        if "files" in self.particulars:
            return {"BACKEND": "django.core.cache.backends.filebased.FileBasedCache", "LOCATION": self.directory / "cache"}
        if "memory" in self.particulars:
            return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
        options: dict[str, Any] = {"serializer": JSONBytes} if "json" in self.particulars else {}
        place = self.redis
        if "database" in self.particulars:
            place, options["db"] = self.redis.removesuffix("/0"), "10"
        name = "django.core.cache.backends.redis.RedisCache"
        return {"BACKEND": name, "LOCATION": place, "KEY_PREFIX": self.directory.name, "OPTIONS": options}

    def set_up(self) -> None:
        apps = ["contenttypes", "auth", "sessions"]
        settings.configure(
            SECRET_KEY="new" if "rotated" in self.particulars else "old",
            SECRET_KEY_FALLBACKS=["old"] if "rotated" in self.particulars else [],
            ALLOWED_HOSTS=["*"],
            USE_TZ="naive" not in self.particulars,
            TIME_ZONE="Asia/Seoul",
            INSTALLED_APPS=[f"django.contrib.{app}" for app in apps],
            MIGRATION_MODULES=dict.fromkeys(apps),
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": self.directory / "django.sqlite3"}},
            DEFAULT_AUTO_FIELD="django.db.models.AutoField",
            PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
            SESSION_ENGINE=self.engine,
            SESSION_FILE_PATH=self.directory,
            CACHES={"default": self.cache()},
        )
        django.setup()
        django.core.management.call_command("migrate", run_syncdb=True, verbosity=0)

    def sign_in(self) -> str:
        """Sign someone in with Django's own sessions; return the session key."""
        users = django.contrib.auth.get_user_model().objects
        client = django.test.Client()
        client.force_login(users.create_user("anna", password="secret"))
        session = client.session
        session["cart"] = {"items": ["tea", 1, None, "ü" * 400]}
        if (expiry := self.number("expiry")) is not None:
            session.set_expiry(int(expiry))
        session.save()
        return str(client.cookies["sessionid"].value)

    def result(self) -> dict[str, Any]:
        self.set_up()
        key = self.sign_in()
        try:
            reader = FromDjango.from_settings(self.engine, plain_pickles="plain" in self.particulars)
        except ConfigurationError as error:
            return {"refused": str(error)}
        seen: list[Any] = []

        def use(environ: Any) -> None:
            session: Session = get_session(environ)
            seen.append({**session, "user_id": session.user_id, "persistent": session.persistent})

        clock = FakeClock()
        clock.advance(self.number("later") or 0)
        site = SessionMiddleware(list_app(use), MemoryStore(), carry_over=reader, clock=clock)
        first = visit(site, cookie=f"sessionid={key}")
        ours = [cookie.partition(";")[0] for cookie in first.set_cookies if cookie.startswith("session=")]
        visit(site, cookie="".join(ours))
        old = importlib.import_module(self.engine).SessionStore(key)
        return {
            "cookies": sorted(cookie.partition("=")[0] for cookie in first.set_cookies),
            "seen": seen,
            "is there": bool(old.exists(key)),
            "old": dict(old.load()),
        }


def run(directory: Path, redis: str, site: list[str]) -> int:
    """Run one site in a process of its own, which leaves its result and what it logged; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        directory.mkdir()
        with (directory / "log").open("w") as log:
            os.dup2(log.fileno(), 2)
            (directory / "result").write_text(json.dumps(Site(directory, redis, *site).result()))
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    root, url, sites = sys.argv[1:]
    for started in [run(Path(root, " ".join(site)), url, site) for site in json.loads(sites)]:
        os.waitpid(started, 0)
