"""A site of each framework whose store fails, under the reporters of errors that people use: `python -m` with a directory.

It runs in a process of its own, for Sentry's client changes all frameworks that it finds. It prints, as JSON, what each
reporter made of each site and each failure. With `advised` everything is set up as the page of error reports says.
"""

import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, TypedDict

import sentry_sdk
from django.conf import settings
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

import tests.integrations.django_site as django_site  # first: it configures Django
from session_middleware import SQLiteStore
from tests.apps import Gateway, an_environ
from tests.backends.redis import RedisServer
from tests.backends.running import PATIENT
from tests.book.pages import Page
from tests.integrations import acts, bottle_site, flask_site, pyramid_site, webob_site

SITES: dict[str, ModuleType] = {
    "bottle": bottle_site,
    "django": django_site,
    "flask": flask_site,
    "pyramid": pyramid_site,
    "webob": webob_site,
}
PAGE = "how-to/error-reports"
_ACTS = ["show", "put?key=a&value=1", "count", "login?user=bob", "logout", "regenerate"]
_NOBODY = 65534


class Report(TypedDict):
    """What came of one failure on one site."""

    tokens: list[str]
    """That came and went."""
    statuses: list[int]
    events: list[str]
    """That Sentry's client would have sent."""
    locals: list[tuple[str, str, str]]
    """Where, under which name and what `traceback` shows, of the same errors."""
    pages: list[str]
    """Of Django while it debugs."""
    mails: list[str]
    """To Django's admins, as HTML and as text."""


class Kept(Transport):
    """Keeps what would be sent."""

    sent: ClassVar[list[str]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sent.extend(item.payload.get_bytes().decode() for item in envelope.items)


class Reporters:
    """The reporters at work, and what they have made since they were last asked."""

    def __init__(self, *, advised: bool) -> None:
        self._locals: list[tuple[str, str, str]] = []
        advice = {block.caption: block for block in Page(PAGE).blocks}
        init = partial(sentry_sdk.init, dsn="https://public@example.invalid/1", transport=Kept, before_send=self._note)
        if advised:
            vars(sentry_sdk)["init"] = partial(init, send_default_pii=True)
            advice["errors.py"].execute({})
            found: dict[str, Any] = {}
            advice["settings.py"].execute(found)
            for name, value in found.items():
                if name.isupper():
                    setattr(settings, name, value)
        else:
            init()
        settings.ADMINS = [("admin", "admin@example.com")]
        settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"

    def _note(self, event: Any, hint: Any) -> Any:
        found: list[traceback.TracebackException | None] = []
        if "exc_info" in hint:
            found.append(traceback.TracebackException(*hint["exc_info"], capture_locals=True))
        while found:
            if (shown := found.pop()) is None:
                continue
            found += [shown.__cause__, shown.__context__]
            self._locals += [("", "", line) for line in shown.format_exception_only()]
            for frame in shown.stack:
                self._locals += [(frame.filename, name, value) for name, value in (frame.locals or {}).items()]
        return event

    def taken(self) -> tuple[list[str], list[tuple[str, str, str]]]:
        sent, shown = Kept.sent[:], self._locals[:]
        Kept.sent.clear()
        self._locals.clear()
        return sent, shown


def request(application: Any, path: str, scheme: str, cookie: str = "") -> Gateway:
    """Make a request whose cookie is the first thing in its environ: of a large dict, Sentry shows the first entries."""
    path, _, query = path.partition("?")
    environ = {"HTTP_COOKIE": cookie} | an_environ(path, scheme=scheme, QUERY_STRING=query)
    gateway = Gateway()
    try:
        gateway.run(application, environ)
    except Exception:
        gateway.status = gateway.status or "500 raised to the server"
    return gateway


class Site:
    """One site with somebody signed in."""

    def __init__(self, name: str, store: Any, scheme: str, reporters: Reporters) -> None:
        self.name, self._scheme, self._reporters = name, scheme, reporters
        self._application = SITES[name].make(store)
        flask = name == "flask"
        self._paths = ["/show", "/put?key=a&value=1", "/append", "/sign-in?id=2", "/sign-out"] if flask else []
        self._paths = [*(self._paths or [f"/act/{act}" for act in _ACTS]), "/fail", "/stream"]
        signed_in = request(self._application, "/sign-in?id=1" if flask else "/act/login?user=alice", scheme)
        (self._cookie,) = _session_cookies(signed_in)
        reporters.taken()

    def visits(self) -> Report:
        """Use the site while its store fails."""
        visits = [self._visit(path) for path in self._paths]
        events, shown = self._reporters.taken()
        cookies = [cookie for visit in visits for cookie in _session_cookies(visit)]
        report = Report(
            tokens=[cookie.partition("=")[2] for cookie in [self._cookie, *cookies]],
            statuses=[int(visit.status[:3]) for visit in visits],
            events=events,
            locals=shown,
            pages=[],
            mails=[],
        )
        if self.name == "django":
            self._ask_django(report)
        return report

    def _ask_django(self, report: Report) -> None:
        from django.core import mail
        from django.utils.log import AdminEmailHandler

        logger = logging.getLogger("django.request")
        settings.DEBUG = True
        report["pages"] = [self._visit(path).body.decode() for path in self._paths]
        settings.DEBUG = False
        handler = AdminEmailHandler(include_html=True)
        handler.setLevel(logging.ERROR)
        logger.addHandler(handler)
        mail.outbox = []
        for path in self._paths:
            self._visit(path)
        logger.removeHandler(handler)
        for message in mail.outbox:
            report["mails"] += [str(message.subject), str(message.body), *(str(kind[0]) for kind in message.alternatives)]
        self._reporters.taken()

    def _visit(self, path: str) -> Gateway:
        return request(self._application, path, self._scheme, self._cookie)


def _session_cookies(visit: Gateway) -> list[str]:
    found = [header.partition(";")[0].strip() for header in visit.set_cookies]
    return [cookie for cookie in found if cookie.partition("=")[0] in {"session", "__Host-session"} and cookie[-1] != "="]


def stopped(server: RedisServer) -> None:
    server.stop()


def refusing(server: RedisServer) -> None:
    """Let it refuse what writes: NOREPLICAS."""
    with server.client() as client:
        client.config_set("min-replicas-to-write", 1)


def main(directory: str, scheme: str, advised: str) -> None:
    acts.WITHIN = 0.0  # nobody else comes
    reporters = Reporters(advised=advised == "advised")
    reports: dict[str, Report] = {}
    failures: list[Callable[[RedisServer], None]] = [refusing, stopped]
    for name in SITES:
        with RedisServer() as server:
            site = Site(name, f"{server.url}?{PATIENT}", scheme, reporters)
            for failure in failures:
                failure(server)
                reports[f"{name}, Redis {failure.__name__}"] = site.visits()
    if os.getuid() == 0:
        os.chown(directory, _NOBODY, _NOBODY)
        os.setgid(_NOBODY)
        os.setuid(_NOBODY)  # modes do not bind root
    path = Path(directory, "sessions.sqlite3")
    for name in SITES:
        store = SQLiteStore(path)
        site = Site(name, store, scheme, reporters)
        store.close()
        path.chmod(0o400)
        reports[f"{name}, SQLite read-only"] = site.visits()
        path.chmod(0o600)
        store.close()
    json.dump(reports, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
