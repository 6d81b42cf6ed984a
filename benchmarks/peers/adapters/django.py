"""Django's own sessions: the engines db, cache and cached_db."""

from typing import Any

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways
from benchmarks.peers.contenders import Made, Place


def _sign_in(session: Any) -> None:
    session.cycle_key()  # as django.contrib.auth.login() does
    session["user"] = "alice"


WAYS = Ways(_sign_in, lambda session: session.flush())

_ENGINES = {"memory": "cache", "SQLite": "db", "Redis": "cache", "PostgreSQL": "db"}


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    from django.core.management import call_command

    engine = "cached_db" if options.get("cached_db") else _ENGINES[store]
    settings = {
        "INSTALLED_APPS": ["django.contrib.sessions"],
        "SESSION_ENGINE": f"django.contrib.sessions.backends.{engine}",
        "DATABASES": {"default": _database(store, place, tuned=options.get("tuned", False))},
        "CACHES": {"default": _cache(store, place, tuned=options.get("tuned", False))},
    }
    application, without = frameworks.on_django(
        WAYS, "django.contrib.sessions.middleware.SessionMiddleware", **settings
    )  # fmt: skip
    if engine != "cache":
        call_command("migrate", verbosity=0)
    return Made(application, without, (lambda: call_command("clearsessions")) if engine != "cache" else None)


def _database(store: str, place: Place, *, tuned: bool) -> dict[str, Any]:
    if store == "PostgreSQL":
        where = {"HOST": "127.0.0.1", "PORT": place.postgresql, "NAME": place.database, "USER": "tests"}
        return {"ENGINE": "django.db.backends.postgresql", **where, **({"CONN_MAX_AGE": 600} if tuned else {})}
    wal = "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
    better = {"OPTIONS": {"transaction_mode": "IMMEDIATE", "init_command": wal}} if tuned else {}
    return {"ENGINE": "django.db.backends.sqlite3", "NAME": place.sqlite_path, **better}


def _cache(store: str, place: Place, *, tuned: bool) -> dict[str, Any]:
    if store != "Redis":
        # Of its 300 entries by default, a third would go whenever one more comes.
        return {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 1_000_000}}
    where = place.redis_url + ("?socket_timeout=1" if tuned else "")
    return {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": where}
