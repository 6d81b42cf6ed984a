"""The site: sign-in, visit counter, cart, the list of one's sessions, and the cookie seen from both sides.

Serve it from the root of the repository:

    gunicorn --config examples/gunicorn.conf.py examples.demo.app:application

It keeps its files in ``./demo``. A site on the open internet also limits how often a sign-in may be tried.
"""

import hmac
import re
import secrets
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from webob import Request, Response
from webob.dec import wsgify
from webob.exc import (
    HTTPBadRequest,
    HTTPForbidden,
    HTTPLengthRequired,
    HTTPMethodNotAllowed,
    HTTPNotFound,
    HTTPRequestEntityTooLarge,
    WSGIHTTPException,
)

from examples.demo import pages
from examples.demo.users import Users
from session_middleware import CookiePolicy, Session, SessionMiddleware, SQLiteStore, get_session

Handler: TypeAlias = Callable[[Request, Session], Response]

DIRECTORY = Path("demo")
DIRECTORY.mkdir(mode=0o700, exist_ok=True)

DEMO_USERS = {"alice": "looking-glass", "bob": "long-way-home", "carol": "silent-night"}
USERS = Users(DIRECTORY / "users.sqlite3", DEMO_USERS)

COOKIE = CookiePolicy()

TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {f"/static/{file.name}": file for file in (Path(__file__).parent / "static").iterdir() if file.suffix in TYPES}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

LARGEST_FORM = 16 * 1024
MOST_LINES = 20


def home(request: Request, session: Session) -> Response:
    def count(data: dict[str, Any]) -> int:
        data["visits"] = data.get("visits", 0) + 1
        return int(data["visits"])

    visits = session.transact(count)
    return page(request, session, "Welcome", pages.home(visits, session.user_id))


def sign_in_form(request: Request, session: Session) -> Response:
    return page(request, session, "Sign in", pages.sign_in(csrf(session), DEMO_USERS))


def sign_in(request: Request, session: Session) -> Response:
    name = field(request, "user")
    if not USERS.check(name, field(request, "password")):
        body = pages.sign_in(csrf(session), DEMO_USERS, name=name, failed=True)
        return page(request, session, "Sign in", body, status=403)
    session.login(name)
    session["csrf"] = secrets.token_urlsafe()
    session["browser"] = (request.user_agent or "Unknown browser")[:200]
    return see_other("/")


def sign_out(request: Request, session: Session) -> Response:
    session.invalidate()
    return see_other("/")


def cart(request: Request, session: Session) -> Response:
    return page(request, session, "Cart", pages.cart(session.get("cart", {}), csrf(session)))


def add_to_cart(request: Request, session: Session) -> Response:
    name, quantity = field(request, "item").strip(), field(request, "quantity")
    if not 0 < len(name) <= 60:
        raise HTTPBadRequest("The name of the item must have 1 to 60 characters.")
    if not re.fullmatch("[1-9][0-9]?", quantity):
        raise HTTPBadRequest("Between 1 and 99 of one thing, please.")
    lines = session.setdefault("cart", {})
    if name not in lines and len(lines) >= MOST_LINES:
        raise HTTPBadRequest(f"The cart holds at most {MOST_LINES} different things.")
    line = lines.setdefault(name, {"quantity": 0, "added": datetime.now(UTC)})
    line["quantity"] += int(quantity)
    return see_other("/cart")


def remove_from_cart(request: Request, session: Session) -> Response:
    session.get("cart", {}).pop(field(request, "item"), None)
    return see_other("/cart")


def my_sessions(request: Request, session: Session) -> Response:
    found = application.manager.sessions_of(signed_in(session))
    return page(request, session, "My sessions", pages.sessions(found, session.id, csrf(session)))


def revoke(request: Request, session: Session) -> Response:
    wanted = field(request, "id")
    if wanted not in {info.id for info in application.manager.sessions_of(signed_in(session))}:
        raise HTTPNotFound("You have no such session; perhaps it has ended already.")
    if wanted == session.id:
        return sign_out(request, session)
    application.manager.revoke(wanted)
    return see_other("/sessions")


def revoke_others(request: Request, session: Session) -> Response:
    application.manager.revoke_all(signed_in(session), keep=session.id)
    return see_other("/sessions")


def cookie(request: Request, session: Session) -> Response:
    header = COOKIE.for_scheme(request.scheme).header("(43 secret characters)")
    return page(request, session, "The cookie", pages.cookie(session, header))


ROUTES: Mapping[str, Mapping[str, Handler]] = {
    "/": {"GET": home},
    "/sign-in": {"GET": sign_in_form, "POST": sign_in},
    "/sign-out": {"POST": sign_out},
    "/cart": {"GET": cart, "POST": add_to_cart},
    "/cart/remove": {"POST": remove_from_cart},
    "/sessions": {"GET": my_sessions},
    "/sessions/revoke": {"POST": revoke},
    "/sessions/revoke-others": {"POST": revoke_others},
    "/cookie": {"GET": cookie},
}


@wsgify
def site(request: Request) -> Response:
    response = respond(request)
    response.headers.update(HEADERS.items())
    return response


def respond(request: Request) -> Response:
    path = request.environ.get("PATH_INFO") or "/"
    method = "GET" if request.method == "HEAD" else request.method
    if path in FILES and method == "GET":
        return static(FILES[path])
    session = get_session(request.environ)
    try:
        handlers = {"GET": None} if path in FILES else ROUTES.get(path)
        if handlers is None:
            raise HTTPNotFound("There is no such page.")
        handler = handlers.get(method)
        if handler is None:
            allowed = ", ".join(handlers).replace("GET", "GET, HEAD")
            raise HTTPMethodNotAllowed(f"{method} cannot be used here.", headers={"Allow": allowed})
        if method == "POST":
            check_form(request, session)
        return handler(request, session)
    except WSGIHTTPException as error:
        response = page(request, session, error.title, pages.error(error.detail or ""), status=error.code)
        response.allow = error.headers.get("Allow")
        return response


def check_form(request: Request, session: Session) -> None:
    """Refuse a form that is too large, that cannot be read, or that did not come from a page of ours."""
    if request.content_length is None:
        raise HTTPLengthRequired("The request does not say how long it is.")
    if request.content_length > LARGEST_FORM:
        raise HTTPRequestEntityTooLarge("That is too much.")
    try:
        sent = field(request, "csrf")
    except UnicodeDecodeError:
        raise HTTPBadRequest("The form is not UTF-8.") from None
    kept = session.get("csrf", "")
    if not kept or not hmac.compare_digest(sent.encode(), kept.encode()):
        raise HTTPBadRequest("The form is out of date. Go back, reload the page, and try again.")


def csrf(session: Session) -> str:
    """Return the secret that every form of this session carries."""
    return str(session.setdefault("csrf", secrets.token_urlsafe()))


def field(request: Request, name: str) -> str:
    value = request.POST.get(name)
    return value if isinstance(value, str) else ""


def signed_in(session: Session) -> str:
    if session.user_id is None:
        raise HTTPForbidden("Sign in to see your sessions.")
    return session.user_id


def page(request: Request, session: Session, title: str, body: pages.Html, *, status: int = 200) -> Response:
    user = session.user_id
    text = pages.layout(
        title, body, path=request.environ.get("PATH_INFO", ""), user=user, csrf="" if user is None else csrf(session)
    )
    return Response(text=text, status=status, content_type="text/html", charset="UTF-8", cache_control="no-store")


def see_other(path: str) -> Response:
    return Response(status=303, location=path, content_type="text/plain", cache_control="no-store")


def static(file: Path) -> Response:
    body, kind = file.read_bytes(), TYPES[file.suffix]
    return Response(body=body, content_type=kind, charset="UTF-8", cache_control="max-age=60")


application = SessionMiddleware(site, SQLiteStore(DIRECTORY / "sessions.sqlite3"), cookie=COOKIE)
