"""Settings for Django's own tests."""

from test_sqlite import *  # type: ignore[import-not-found]  # noqa: F403  # Django's, beside its tests

SESSION_ENGINE = "session_middleware.integrations.django"
SESSION_MIDDLEWARE = {"store": "memory:"}
TEST_RUNNER = "others_django.Runner"
