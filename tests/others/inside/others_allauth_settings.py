"""Settings for the tests of django-allauth's list of sessions: on PostgreSQL, which knows how long a column is."""

import os

from others_django import DJANGOS, OURS  # type: ignore[import-not-found]  # beside this
from tests.projects.account_only.settings import *  # type: ignore[import-not-found]  # noqa: F403  # django-allauth's

INSTALLED_APPS += ("allauth.usersessions", "session_middleware.integrations.django")  # type: ignore[name-defined]  # noqa: F405
_SESSIONS = DJANGOS if os.environ["SESSIONS"] == "engine" else OURS
MIDDLEWARE = [_SESSIONS if name == DJANGOS else name for name in MIDDLEWARE]  # type: ignore[has-type]  # noqa: F405
MIDDLEWARE.append("allauth.usersessions.middleware.UserSessionsMiddleware")
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "allauth",
        "USER": "tests",
        "HOST": "127.0.0.1",
        "PORT": os.environ["POSTGRESQL_PORT"],
    }
}
SESSION_ENGINE = "session_middleware.integrations.django"
SESSION_MIDDLEWARE = {"test_store": f"postgresql+psycopg://tests@127.0.0.1:{os.environ['POSTGRESQL_PORT']}/tests"}
