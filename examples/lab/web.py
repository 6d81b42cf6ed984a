"""What every page of the lab needs: templates, forms and their secrets, static files. It knows no page."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from webob import Request, Response
from webob.exc import HTTPBadRequest, HTTPLengthRequired, HTTPRequestEntityTooLarge

from examples.lab.shortened import parts
from examples.lab.texts import LANGUAGES, TEXTS, Texts, preferred
from session_middleware import Session

Handler: TypeAlias = Callable[[Request, Session], Response]
Late: TypeAlias = Callable[[], str]

HERE = Path(__file__).parent
TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
FILES = {f"/static/{file.name}": file for file in (HERE / "static").iterdir() if file.suffix in TYPES}

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

LARGEST_FORM = 16 * 1024
PAGES = ("/", "/attacks", "/sessions", "/sign-in")

# Where the part of a page goes that is made after the headers have left.
_LATE = Markup("<!--late-->")


@cache
def versioned(name: str) -> str:
    """Return the address of a static file, which is another one when the file changes."""
    return f"/static/{name}?{hashlib.sha256((HERE / 'static' / name).read_bytes()).hexdigest()[:8]}"


def moment(seconds: float, t: Texts) -> Markup:
    """Return a past time as people read it, with the exact one behind it."""
    exact = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        exact.isoformat(timespec="seconds"), exact.strftime("%Y-%m-%d %H:%M:%S UTC"), t.ago(max(0, time.time() - seconds))
    )


def coloured(text: str) -> Markup:
    """Return a text in which the id and the secret of a shortened token have colours of their own."""
    spans = [
        Markup('<span class="{}">{}</span>').format(part.style, part.text) if part.style else part.text
        for part in parts(text)
    ]
    return Markup("").join(spans)


ENVIRONMENT = Environment(
    loader=FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.globals.update(languages=LANGUAGES, versioned=versioned, moment=moment, now=time.time)


def language_of(request: Request, session: Session | None) -> Texts:
    """Return the texts in the language that was chosen in this session, else in the one that the browser asks for."""
    chosen = session.get("language") if session is not None else None
    return TEXTS[chosen if chosen in LANGUAGES else preferred(request)]


def page(
    request: Request,
    session: Session | None,
    template: str,
    /,
    *,
    status: int = 200,
    with_forms: bool = True,
    late: Late | None = None,
    **values: Any,
) -> Response:
    """Return a page made of *template*.

    *late* makes a part of it after the session is stored and the headers have left, so that it can tell of that, too.
    *with_forms*: the session gets a secret for its forms if it has none; a page without a session has no forms.
    """
    if session is not None:
        token = csrf(session) if with_forms else str(session.get("csrf", ""))
        values |= {"csrf": token, "user": session.user_id, "chosen": session.get("language")}
    else:
        values |= {"csrf": "", "user": None, "chosen": None}
    values.setdefault("t", language_of(request, session))
    values["known"] = session is not None
    path = request.environ.get("PATH_INFO")
    path = path if path in PAGES else "/"
    text = ENVIRONMENT.get_template(template).render(path=path, late=_LATE, **values)
    response = Response(status=status, content_type="text/html", charset="UTF-8", cache_control="no-store")
    response.headers["Content-Language"] = values["t"].language
    if late is None:
        response.text = text
    else:
        response.app_iter = _streamed(text, late)
    return response


def _streamed(text: str, late: Late) -> Iterator[bytes]:
    before, _, after = text.partition(_LATE)
    yield before.encode()
    yield late().encode() + after.encode()


def json_answer(text: str) -> Response:
    return Response(text=text, content_type="application/json", charset="UTF-8", cache_control="no-store")


def back(request: Request, anchor: str = "") -> Response:
    """Return to the page that the form stands on."""
    wanted = field(request, "back")
    return see_other(wanted if wanted in PAGES else "/", anchor)


def see_other(path: str, anchor: str = "") -> Response:
    location = f"{path}#{anchor}" if anchor else path
    return Response(status=303, location=location, content_type="text/plain", cache_control="no-store")


def static(file: Path) -> Response:
    kind, forever = TYPES[file.suffix], "max-age=31536000, immutable"
    return Response(body=file.read_bytes(), content_type=kind, charset="UTF-8", cache_control=forever)


def csrf(session: Session) -> str:
    """Return the secret that every form of this session carries."""
    if "csrf" not in session:
        renew_csrf(session)
    return str(session["csrf"])


def renew_csrf(session: Session) -> None:
    session["csrf"] = secrets.token_urlsafe(24)


def check_form(request: Request, session: Session) -> None:
    """Refuse a form that is too large, that cannot be read, or that did not come from a page of ours."""
    if request.content_length is None:
        raise HTTPLengthRequired("error.length")
    if request.content_length > LARGEST_FORM:
        raise HTTPRequestEntityTooLarge("error.large")
    try:
        sent = field(request, "csrf")
    # Not UTF-8, not multipart though it says so; and WebOb raises a warning for another charset.
    except (ValueError, DeprecationWarning):
        raise HTTPBadRequest("error.form") from None
    kept = session.get("csrf", "")
    if not kept or not hmac.compare_digest(sent.encode(), kept.encode()):
        raise HTTPBadRequest("error.csrf")


def field(request: Request, name: str) -> str:
    value = request.POST.get(name)
    return value if isinstance(value, str) else ""
