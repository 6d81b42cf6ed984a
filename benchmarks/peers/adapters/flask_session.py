"""Flask-Session: a session interface of Flask."""

import warnings
from typing import Any

from benchmarks.peers.adapters import frameworks
from benchmarks.peers.application import Ways
from benchmarks.peers.contenders import Made, Place


def _sign_in(session: Any) -> None:
    import flask

    interface: Any = flask.current_app.session_interface
    interface.regenerate(session)
    session["user"] = "alice"


WAYS = Ways(_sign_in, lambda session: session.clear())


def make(store: str, place: Place, options: dict[str, Any]) -> Made:
    import flask_session

    app, tuned = frameworks.on_flask(WAYS), options.get("tuned", False)
    app.config.update(_settings(app, store, place, **({"socket_timeout": 1} if tuned else {})))
    if tuned:
        app.config["SESSION_REFRESH_EACH_REQUEST"] = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flask_session.Session(app)

    def clean() -> None:
        with app.app_context():
            app.session_interface._delete_expired_sessions()  # what its command session_cleanup calls

    return Made(app, frameworks.without_flask(), clean if store in ("SQLite", "PostgreSQL") else None)


def _settings(app: Any, store: str, place: Place, **of_redis: float) -> dict[str, Any]:
    if store == "memory":
        from cachelib import SimpleCache

        return {"SESSION_TYPE": "cachelib", "SESSION_CACHELIB": SimpleCache(threshold=1_000_000)}
    if store == "Redis":
        from redis import Redis

        return {"SESSION_TYPE": "redis", "SESSION_REDIS": Redis.from_url(place.redis_url, **of_redis)}
    from flask_sqlalchemy import SQLAlchemy

    where = f"sqlite:///{place.sqlite_path}" if store == "SQLite" else place.postgresql_url
    app.config["SQLALCHEMY_DATABASE_URI"] = where
    return {"SESSION_TYPE": "sqlalchemy", "SESSION_SQLALCHEMY": SQLAlchemy(app)}
