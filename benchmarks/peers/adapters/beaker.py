"""Beaker: a WSGI middleware."""

from typing import Any

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways
from benchmarks.peers.contenders import Made, Place


def _sign_in(session: Any) -> None:
    session.regenerate_id()
    session["user"] = "alice"


WAYS = Ways(_sign_in, lambda session: session.delete(), save=lambda session: session.save())


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    from beaker.middleware import SessionMiddleware

    tuned = options.get("tuned", False)
    where = {
        "memory": {"type": "memory"},
        "SQLite": {"type": "ext:database", "url": f"sqlite:///{place.sqlite_path}"},
        "Redis": {"type": "ext:redis", "url": place.redis_url + ("?socket_timeout=1" if tuned else "")},
        "PostgreSQL": {"type": "ext:database", "url": place.postgresql_url},
    }[store]
    settings: dict[str, Any] = {f"session.{name}": value for name, value in where.items()}
    if tuned:
        settings |= {"session.save_accessed_time": False, "session.data_serializer": "json"}
    application = frameworks.plain(lambda environ: environ["beaker.session"], WAYS)
    return Made(SessionMiddleware(application, settings), frameworks.plain(lambda environ: {}))
