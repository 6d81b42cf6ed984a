"""Ask one library what the README says of it: ``python -m tests.book.peers Beaker redis://...`` prints facts as JSON.

Each runs with its default settings, in a process of its own, over a Redis server that holds nothing else; Django's sessions
in a table of SQLite.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import redis
import time_machine
from webtest import TestApp

from tests.backends.running import PATIENT

Act = Callable[[Any], object]


class Site:
    """An application that does to the session whatever it is told; *end* is how the library ends one."""

    served: Any
    end: Act
    act: Act | None = None

    def __init__(self, server: redis.Redis) -> None:
        self.server = server
        self.cookie = ""

    def does(self, session: Callable[[], Any]) -> None:
        if self.act is not None:
            self.act(session())

    def calls(self) -> Counter[str]:
        """Return how often the store has had each command."""
        stats: Any = self.server.info("commandstats")
        return Counter({name.removeprefix("cmdstat_"): int(entry["calls"]) for name, entry in stats.items()})

    def dump(self) -> str:
        keys: Any = self.server.keys()
        return repr([(key, self.server.get(key)) for key in keys if self.server.type(key) == b"string"])

    def damage(self) -> None:
        keys: Any = self.server.keys()
        for key in keys:
            if self.server.type(key) == b"string":
                self.server.set(key, b"\x00 of no use")

    def go_away(self) -> None:
        self.server.shutdown(nosave=True)

    def request(self, act: Act | None) -> int:
        outer, self.act = self.act, act
        try:
            headers = {"Cookie": self.cookie} if self.cookie else {}
            answer = TestApp(self.served).get("/", headers=headers, expect_errors=True)
        except Exception:
            return 500  # what any server makes of it
        finally:
            self.act = outer
        for name, value in answer.headers.items():
            if name.lower() == "set-cookie" and not self.cookie:
                self.cookie = value.strip().partition(";")[0]
        return int(answer.status_int)

    def seen(self) -> set[str]:
        found: set[str] = set()
        self.request(lambda session: found.update(key for key in ("user", "one", "two") if key in session))
        return found


class Ours(Site):
    def __init__(self, server: redis.Redis) -> None:
        from session_middleware import SessionMiddleware, get_session

        def app(environ: Any, start_response: Any) -> Any:
            self.does(lambda: get_session(environ))
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b""]

        super().__init__(server)
        self.served = SessionMiddleware(app, f"{url_of(server)}?{PATIENT}")
        self.end = lambda session: session.invalidate()


class FlaskSession(Site):
    def __init__(self, server: redis.Redis) -> None:
        import flask
        import flask_session

        def home() -> str:
            self.does(lambda: flask.session)
            return ""

        super().__init__(server)
        self.served = flask.Flask(__name__)
        self.served.config.update(SESSION_TYPE="redis", SESSION_REDIS=server)
        flask_session.Session(self.served)
        self.served.add_url_rule("/", view_func=home)
        self.end = lambda session: session.clear()


class Beaker(Site):
    def __init__(self, server: redis.Redis) -> None:
        from beaker.middleware import SessionMiddleware

        def app(environ: Any, start_response: Any) -> Any:
            self.does(lambda: environ["beaker.session"])
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [b""]

        super().__init__(server)
        self.served = SessionMiddleware(app, {"session.type": "ext:redis", "session.url": url_of(server)})
        self.end = lambda session: session.delete()


class PyramidSessionRedis(Site):
    def __init__(self, server: redis.Redis) -> None:
        from pyramid.config import Configurator
        from pyramid.response import Response
        from pyramid_session_redis import RedisSessionFactory

        def home(request: Any) -> Response:
            self.does(lambda: request.session)
            return Response("")

        super().__init__(server)
        config = Configurator(session_factory=RedisSessionFactory(secret="a secret", redis_url=url_of(server)))
        config.add_route("home", "/")
        config.add_view(home, route_name="home")
        self.served = config.make_wsgi_app()
        self.end = lambda session: session.invalidate()


class Django(Site):
    def __init__(self, server: redis.Redis) -> None:
        import django
        from django.conf import settings
        from django.core.handlers.wsgi import WSGIHandler
        from django.core.management import call_command
        from django.http import HttpRequest, HttpResponse
        from django.urls import path

        def home(request: HttpRequest) -> HttpResponse:
            self.does(lambda: request.session)
            return HttpResponse("")

        super().__init__(server)
        self.urlpatterns = [path("", home)]
        settings.configure(
            ALLOWED_HOSTS=["*"],
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "django.sqlite3"}},
            INSTALLED_APPS=["django.contrib.sessions"],
            MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
            LOGGING_CONFIG=None,
            ROOT_URLCONF=self,
            SECRET_KEY="a secret",
            USE_TZ=True,
        )
        django.setup()
        call_command("migrate", verbosity=0)
        self.served = WSGIHandler()
        self.asked: list[str] = []
        self.end = lambda session: session.flush()

        from django.db import connection

        self.connection, self.is_away = connection, False
        connection.execute_wrappers.append(self.note)

    def note(self, execute: Any, sql: str, params: Any, many: Any, context: Any) -> Any:
        from django.db import OperationalError

        if self.is_away:
            raise OperationalError("the database is away")
        self.asked.append(sql.split()[0].lower())
        return execute(sql, params, many, context)

    def calls(self) -> Counter[str]:
        return Counter(self.asked)

    def dump(self) -> str:
        from django.contrib.sessions.models import Session

        return repr(list(Session.objects.values_list()))

    def damage(self) -> None:
        from django.contrib.sessions.models import Session

        Session.objects.update(session_data="of no use")

    def go_away(self) -> None:
        self.is_away = True


def url_of(server: redis.Redis) -> str:
    return "redis://127.0.0.1:{port}/0".format(**server.connection_pool.connection_kwargs)


def put(key: str) -> Act:
    def act(session: Any) -> None:
        session[key] = "1"
        if hasattr(session, "save") and not hasattr(session, "session_key"):
            session.save()  # Beaker's is to be called

    return act


def read(session: Any) -> object:
    return session.get("user")


def within(site: Site, then: Act, inner: Act) -> int:
    """Let a request read the session, another one come and go, and the first one go on."""

    def act(session: Any) -> None:
        read(session)
        site.request(inner)
        then(session)

    return site.request(act)


def commands(site: Site, act: Act | None) -> set[str]:
    """Return the commands that concern sessions, of a request that comes some time after the last one."""
    before = site.calls()
    with time_machine.travel(time.time() + 5):
        site.request(act)
    return set(site.calls() - before) & READS | set(site.calls() - before) & WRITES


READS = {"get", "select"}
WRITES = {"set", "setex", "eval", "evalsha", "expire", "insert", "update"}


def facts(site: Site) -> dict[str, str]:
    """Return what the README tells of a library, by the first words of its rows."""
    site.request(put("user"))
    assert site.seen() == {"user"}
    found = {"what the store holds opens sessions": "yes" if site.cookie.partition("=")[2] in site.dump() else "no"}
    used = commands(site, None)
    found["a request that does not touch the session"] = "read and written" if used & WRITES else "no store call"
    found["reading stores the session again"] = "yes" if commands(site, read) & WRITES else "no"
    within(site, put("one"), put("two"))
    kept = {"one", "two"} <= site.seen()
    found["parallel requests that change different keys"] = "all are kept" if kept else "the last one wins"
    status = within(site, put("one"), site.end)
    back = "yes" if "user" in site.seen() else "no"
    found["a request in flight brings an ended session back"] = (
        back if status == 200 else f"{back}; that request is a {status}"
    )
    site.cookie = ""
    site.request(put("user"))
    site.damage()
    answers = {site.request(read) for _ in range(2)}
    found["a damaged record"] = "an empty session" if answers == {200} else f"a {max(answers)} each time"
    site.cookie = ""
    site.request(put("user"))
    site.go_away()
    found["a page that reads the session while the store is away"] = f"a {site.request(read)}"
    return found


def main(name: str, url: str) -> None:
    site = SITES[name](redis.Redis.from_url(url))
    sys.stdout.write(json.dumps(facts(site)))


SITES: dict[str, Callable[[Any], Site]] = {
    "session_middleware": Ours,
    "Flask-Session": FlaskSession,
    "Django": Django,
    "Beaker": Beaker,
    "pyramid_session_redis": PyramidSessionRedis,
}

if __name__ == "__main__":
    main(*sys.argv[1:])
