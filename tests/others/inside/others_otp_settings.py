"""Settings for the tests of django-otp."""

from test_project.settings import *  # type: ignore[import-not-found]  # noqa: F403  # django-otp's

DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
SESSION_ENGINE = "session_middleware.integrations.django"
TEST_RUNNER = "others_django.Runner"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
