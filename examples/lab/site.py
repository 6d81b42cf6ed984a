"""The pages and forms of the lab."""

import re
import time
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from webob import Request, Response
from webob.dec import wsgify
from webob.exc import HTTPBadRequest, HTTPForbidden, HTTPMethodNotAllowed, HTTPNotFound, WSGIHTTPException

from examples.lab import web
from examples.lab.book import Book
from examples.lab.experiments import Experiments
from examples.lab.notebook import Notebook
from examples.lab.probes import Probes
from examples.lab.texts import LANGUAGES, TEXTS, preferred
from examples.lab.trace import TimedStore, Trace
from examples.lab.trial import Trial
from examples.lab.users import Users
from examples.lab.views import Views
from examples.lab.web import Handler, back, field, page, see_other
from session_middleware import ConflictError, CookiePolicy, Session, SessionInfo, SessionManager, get_session
from session_middleware.middleware import ENVIRON_KEY
from session_middleware.stores.base import UserIndexed
from session_middleware.tokens import id_of_mark

DEMO_USERS = {"alice": "looking-glass", "bob": "long-way-home", "carol": "silent-night"}

LONGEST_NAME = 60
MOST_LINES = 20
MOST_FLASHES = 5
REMEMBERED = timedelta(days=30)
IDLE = {"5": 5, "60": 60, "3600": 3600}


class Site:
    """The WSGI application inside of the middleware."""

    manager: SessionManager
    experiments: Experiments
    views: Views

    def __init__(self, users: Users, notebook: Notebook, store: TimedStore, cookie: CookiePolicy, book: Book | None) -> None:
        self.users = users
        self.notebook = notebook
        self.store = store
        self.cookie = cookie
        self.book = book
        probes = Probes(notebook)
        self._routes: dict[str, Mapping[str, Handler]] = {
            "/": {"GET": self.lab},
            "/attacks": {"GET": self.attacks},
            "/sign-in": {"GET": self.sign_in_form, "POST": self.sign_in},
            "/sign-out": {"POST": self.sign_out},
            "/language": {"POST": self.choose_language},
            "/count": {"POST": self.count},
            "/cart": {"POST": self.add_to_cart},
            "/cart/remove": {"POST": self.remove_from_cart},
            "/flash": {"POST": self.flash},
            "/lifetime": {"POST": self.change_lifetime},
            "/remember": {"POST": self.remember},
            "/regenerate": {"POST": self.regenerate},
            "/sessions": {"GET": self.my_sessions},
            "/sessions/revoke": {"POST": self.revoke},
            "/sessions/revoke-others": {"POST": self.revoke_others},
            "/probe/who": {"GET": probes.who},
            "/probe/write": {"POST": probes.write},
            "/probe/break": {"POST": probes.break_},
            "/probe/stream": {"POST": probes.stream},
        }

    def serve(self, manager: SessionManager) -> None:
        """Take the manager, which is made around this application."""
        self.manager = manager
        victim = next(reversed(DEMO_USERS.items()))
        self.views = Views(self.notebook, self.store, self.cookie, manager, self.book)
        self.experiments = Experiments(Trial(manager, self.notebook, self.users, victim), self.cookie)
        self._routes |= {path: {"POST": self.experiments.run} for path in self.experiments.paths}

    @wsgify
    def __call__(self, request: Request) -> Response:
        trace: Trace | None = request.environ.get("lab.trace")
        try:
            response = self._respond(request)
        finally:
            if trace is not None:
                trace.going_out(request.environ[ENVIRON_KEY])
        response.headers.update(web.HEADERS.items())
        return response

    def _respond(self, request: Request) -> Response:
        path = request.environ.get("PATH_INFO") or "/"
        method = "GET" if request.method == "HEAD" else request.method
        if path in web.FILES and method == "GET":
            return web.static(web.FILES[path])
        if path == "/untouched" and method == "GET":
            return self.untouched(request)
        session = get_session(request.environ)
        request.environ["lab.trace"].came_in(session)
        try:
            handlers = {"GET": None} if path in web.FILES or path == "/untouched" else self._routes.get(path)
            if handlers is None:
                raise HTTPNotFound("error.not_found")
            handler = handlers.get(method)
            if handler is None:
                allowed = ", ".join(handlers).replace("GET", "GET, HEAD")
                raise HTTPMethodNotAllowed("error.method", headers={"Allow": allowed})
            if method == "POST":
                web.check_form(request, session)
            return handler(request, session)
        except WSGIHTTPException as error:
            detail, code = error.detail, error.code
            response = page(request, session, "error.html", status=code, with_forms=False, error=detail, code=code)
            response.allow = error.headers.get("Allow")
            return response

    # Pages

    def lab(self, request: Request, session: Session) -> Response:
        t = web.language_of(request, session)
        flashes = session.pop("flash", [])
        came = bool(self.cookie.for_scheme(request.scheme).read(request.environ.get("HTTP_COOKIE")))
        return page(
            request,
            session,
            "lab.html",
            late=lambda: self.views.both_sides(request, session, t),
            t=t,
            flashes=flashes,
            notice="notice.ended" if came and session.is_new else "notice.replaced" if session.is_gone else "",
            ends_in=None if session.is_gone else session.expires_at - time.time(),
            ends="absolute" if session.state is not None and session.state.envelope.idle is None else "idle",
            visits=session.get("visits", 0),
            cart=dict(session["cart"]) if "cart" in session else {},
            users=DEMO_USERS,
            **self.views.results(request, t),
        )

    def attacks(self, request: Request, session: Session) -> Response:
        t = web.language_of(request, session)
        return page(request, session, "attacks.html", t=t, **self.views.results(request, t))

    def untouched(self, request: Request) -> Response:
        """Show what a request looks like that does not use the session, without using it."""
        chosen = next((code for code in LANGUAGES if request.query_string == f"language={code}"), preferred(request))
        t = TEXTS[chosen]
        return page(request, None, "untouched.html", late=lambda: self.views.drawing(request, t), t=t)

    def sign_in_form(self, request: Request, session: Session) -> Response:
        return page(request, session, "sign_in.html", users=DEMO_USERS, name="", failed=False, next="/")

    def my_sessions(self, request: Request, session: Session) -> Response:
        user = session.user_id
        if user is None:
            return page(request, session, "sign_in.html", users=DEMO_USERS, name="", failed=False, next="/sessions")
        indexed = isinstance(self.store, UserIndexed)
        return page(request, session, "sessions.html", found=self._sessions_of(user), here=session.id, indexed=indexed)

    # Forms

    def sign_in(self, request: Request, session: Session) -> Response:
        name = field(request, "user")[:LONGEST_NAME]
        # Read before the password is checked, which takes a while: signing out everywhere meanwhile ends this sign-in, too.
        mark = self._mark_of(request, name, session) if name else None
        if not self._check(request, name, field(request, "password")):
            next_page = field(request, "back")
            return page(
                request, session, "sign_in.html", status=403, users=DEMO_USERS, name=name, failed=True, next=next_page
            )
        language = session.get("language")
        session.login(name, mark=mark)
        if field(request, "remember"):
            session.set_lifetime(idle=None, absolute=REMEMBERED, persistent=True)
        web.renew_csrf(session)
        if language:
            session["language"] = language
        return back(request)

    def sign_out(self, request: Request, session: Session) -> Response:
        session.invalidate()
        return see_other("/")

    def choose_language(self, request: Request, session: Session) -> Response:
        if field(request, "language") not in LANGUAGES:
            raise HTTPBadRequest("error.language")
        session["language"] = field(request, "language")
        return back(request)

    def count(self, request: Request, session: Session) -> Response:
        def add_one(data: MutableMapping[str, Any]) -> None:
            data["visits"] = data.get("visits", 0) + 1

        with suppress(ConflictError):  # the cookie from before a sign-in reads, and changes nothing
            session.transact(add_one)
        return back(request, "count")

    def add_to_cart(self, request: Request, session: Session) -> Response:
        name, quantity = field(request, "item").strip(), field(request, "quantity")
        if not 0 < len(name) <= 60:
            raise HTTPBadRequest("error.item")
        if not re.fullmatch("[1-9][0-9]?", quantity):
            raise HTTPBadRequest("error.quantity")
        lines = session.setdefault("cart", {})
        if name not in lines and len(lines) >= MOST_LINES:
            raise HTTPBadRequest("error.cart_full")
        line = lines.setdefault(name, {"quantity": 0, "added": datetime.now(UTC).replace(microsecond=0)})
        line["quantity"] += int(quantity)
        return back(request, "cart")

    def remove_from_cart(self, request: Request, session: Session) -> Response:
        session.get("cart", {}).pop(field(request, "item"), None)
        return back(request, "cart")

    def flash(self, request: Request, session: Session) -> Response:
        message = field(request, "message").strip()[:100]
        flashes = session.setdefault("flash", [])
        if message and len(flashes) < MOST_FLASHES:
            flashes.append(message)
        return back(request)

    def change_lifetime(self, request: Request, session: Session) -> Response:
        idle = IDLE.get(field(request, "idle"))
        if idle is None:
            raise HTTPBadRequest("error.lifetime")
        session.set_lifetime(idle=idle)
        return back(request, "lifetime")

    def remember(self, request: Request, session: Session) -> Response:
        if field(request, "remember"):
            session.set_lifetime(idle=None, absolute=REMEMBERED, persistent=True)
        else:
            usual = self.manager.lifetime
            session.set_lifetime(idle=usual.idle, absolute=usual.absolute, persistent=False)
        return back(request, "remember")

    def regenerate(self, request: Request, session: Session) -> Response:
        session.regenerate()
        return back(request, "regenerate")

    def revoke(self, request: Request, session: Session) -> Response:
        wanted = field(request, "id")
        if wanted not in {info.id for info in self._sessions_of(_signed_in(session))}:
            raise HTTPNotFound("error.no_session")
        if wanted == session.id:
            return self.sign_out(request, session)
        self.manager.revoke(wanted)
        return see_other("/sessions")

    def revoke_others(self, request: Request, session: Session) -> Response:
        user = _signed_in(session)
        if isinstance(self.store, UserIndexed):
            self._name_mark(request, user)
            self.manager.revoke_all(user, keep=session.id)
        return see_other("/sessions")

    # Small things

    def _sessions_of(self, user: str) -> list[SessionInfo]:
        return self.manager.sessions_of(user) if isinstance(self.store, UserIndexed) else []

    def _mark_of(self, request: Request, user: str, session: Session) -> str | None:
        trace: Trace = request.environ["lab.trace"]
        self._name_mark(request, user)
        mark = self.manager.mark_of(user)
        if trace.run:
            self.notebook.arrive(trace.run, session.id)
        return mark

    def _name_mark(self, request: Request, user: str) -> None:
        """So that the drawing can tell the user's mark from a session."""
        request.environ["lab.trace"].mark = id_of_mark(self.manager.namespace, user)

    def _check(self, request: Request, name: str, password: str) -> bool:
        started = time.perf_counter()
        try:
            return self.users.check(name, password)
        finally:
            request.environ["lab.trace"].check_ms = (time.perf_counter() - started) * 1000


def _signed_in(session: Session) -> str:
    if session.user_id is None:
        raise HTTPForbidden("error.sign_in")
    return session.user_id
