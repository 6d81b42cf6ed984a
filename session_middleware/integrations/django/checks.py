"""What ``manage.py check`` says of the settings of sessions. It opens no store."""

import difflib
from collections.abc import Iterator
from typing import Any, Final

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from session_middleware.integrations.django.settings import check_options, cookie_of, find, kinds_of_middleware, setup
from session_middleware.middleware import SessionMiddleware as WSGISessionMiddleware

_OURS: Final = "session_middleware.integrations.django.SessionMiddleware"
_ENGINE: Final = "session_middleware.integrations.django"


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Return what is wrong with the settings, an object with an id each."""
    return [*_of_names(), *_of_middleware(), *_of_values()]


def _of_names() -> Iterator[checks.CheckMessage]:
    names = [name for name in dir(settings) if name.isupper() and name != "SESSION_MIDDLEWARE"]
    for name in difflib.get_close_matches("SESSION_MIDDLEWARE", names, cutoff=0.85):
        yield checks.Warning(
            f"The setting {name} is read by nobody.", hint="Did you mean SESSION_MIDDLEWARE?", id="session_middleware.W001"
        )


def _of_middleware() -> Iterator[checks.CheckMessage]:
    ours, djangos = kinds_of_middleware()
    for name in settings.MIDDLEWARE:
        if find(name) is WSGISessionMiddleware:
            yield checks.Error(
                f"{name!r} in MIDDLEWARE wraps WSGI applications.", hint=f"Write {_OURS!r}.", id="session_middleware.E002"
            )
            ours = djangos = True
            break
    else:
        if ours and djangos:
            yield checks.Error(
                "MIDDLEWARE has two session middlewares, so each request has two sessions, of which one is lost.",
                hint=f"Leave {_OURS!r} alone, in place of Django's own.",
                id="session_middleware.E003",
            )
        elif sum(getattr(find(name), "takes_tokens_alone", False) for name in settings.MIDDLEWARE) > 1:
            yield checks.Error(
                "MIDDLEWARE has our session middleware twice, so each request has two sessions, of which one is lost.",
                hint=f"Leave one {_OURS!r}.",
                id="session_middleware.E007",
            )
    engine = settings.SESSION_ENGINE
    if engine == _ENGINE and not (ours or djangos):
        yield checks.Warning(
            "MIDDLEWARE has no session middleware, so there is no request.session.",
            hint=f"Insert {_OURS!r} before AuthenticationMiddleware.",
            id="session_middleware.W004",
        )
    elif engine != _ENGINE and ours:
        yield checks.Warning(
            f"SESSION_ENGINE is {engine!r}, so Django's test client and clearsessions look elsewhere for sessions.",
            hint=f"Write SESSION_ENGINE = {_ENGINE!r}.",
            id="session_middleware.W005",
        )


def _of_values() -> Iterator[checks.CheckMessage]:
    for verify in (setup, lambda: cookie_of(https=True), check_options):
        try:
            verify()
        except ImproperlyConfigured as error:
            yield checks.Error(str(error), id="session_middleware.E006")
