"""Django: ``request.session`` is our session, with all that ``SessionBase`` documents, for two lines of settings::

    SESSION_ENGINE = "session_middleware.integrations.django"
    MIDDLEWARE = [..., "session_middleware.integrations.django.SessionMiddleware", ...]  # in place of Django's own

With the first line alone it is a session backend under Django's own middleware. ``SESSION_MIDDLEWARE`` says where the
sessions are: ``{"store": "redis://localhost:6379/0", "lifetime": Lifetime.AAL1}``; SQLite without it.
"""

try:
    import django as _django  # noqa: F401  # to say which extra is missing
except ModuleNotFoundError as error:
    if error.name != "django":
        raise
    raise ImportError("Django is not installed: pip install 'session-middleware[django]'", name="django") from error

from session_middleware.integrations.django.engine import SessionStore
from session_middleware.integrations.django.middleware import SessionMiddleware, UnavailableMiddleware
from session_middleware.integrations.django.request import RequestSession, session_of
from session_middleware.integrations.django.settings import manager

__all__ = ["RequestSession", "SessionMiddleware", "SessionStore", "UnavailableMiddleware", "manager", "session_of"]
