"""``manage.py check`` of a Django project with our sessions."""

from typing import Any

import pytest

from tests.integrations.django_site import DJANGOS, OURS  # it configures Django

# isort: split

from django.apps import apps
from django.core.checks import registry
from django.core.management import CommandError, call_command
from django.test import override_settings

from session_middleware.integrations.django.apps import SessionMiddlewareConfig
from session_middleware.integrations.django.checks import check_settings

WSGI = "session_middleware.SessionMiddleware"


def found(**changed: Any) -> dict[str, str]:
    """Return the hint, or else the message, of each check by its id, under settings that are changed so."""
    with override_settings(**{"SESSION_MIDDLEWARE": {"store": "memory:"}, **changed}):
        return {message.id.partition(".")[2]: message.hint or message.msg for message in check_settings()}


def test_settings_that_work_are_fine() -> None:
    """Nothing is said of what is right: our middleware, or Django's with our engine."""
    assert found() == found(MIDDLEWARE=[DJANGOS]) == {}


@pytest.mark.parametrize(
    ("changed", "ids", "hint"),
    [
        ({"SESSIONS_MIDDLEWARE": {}}, ["W001"], "Did you mean SESSION_MIDDLEWARE?"),
        ({"SESSION_MIDLEWARE": {}}, ["W001"], "Did you mean SESSION_MIDDLEWARE?"),
        ({"MIDDLEWARE": [WSGI]}, ["E002"], f"Write '{OURS}'."),
        ({"MIDDLEWARE": ["session_middleware.middleware.SessionMiddleware"]}, ["E002"], f"Write '{OURS}'."),
        ({"MIDDLEWARE": [OURS, DJANGOS]}, ["E003"], f"Leave '{OURS}' alone"),
        ({"MIDDLEWARE": []}, ["W004"], f"Insert '{OURS}'"),
        ({"MIDDLEWARE": ["there.is.no.such"]}, ["W004"], f"Insert '{OURS}'"),
        (
            {"SESSION_ENGINE": "django.contrib.sessions.backends.db"},
            ["W005"],
            "Write SESSION_ENGINE = 'session_middleware.integrations.django'",
        ),
        ({"SESSION_MIDDLEWARE": {"stor": "memory:"}}, ["E006"], "did you mean 'store'?"),
        ({"SESSION_COOKIE_HTTPONLY": False}, ["E006"], "is always HttpOnly"),
    ],
)
def test_what_is_wrong_is_told_with_an_id(changed: dict[str, Any], ids: list[str], hint: str) -> None:
    """Promise 15: and what to write instead."""
    told = found(**changed)

    assert list(told) == ids
    assert hint in told[ids[0]]


def test_a_project_without_us_is_left_alone() -> None:
    """Django's own sessions may have no middleware."""
    assert found(MIDDLEWARE=[], SESSION_ENGINE="django.contrib.sessions.backends.db") == {}


def test_the_application_brings_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """``INSTALLED_APPS``: ``manage.py check`` fails then."""
    monkeypatch.setattr(registry.registry, "registered_checks", set())
    with override_settings(INSTALLED_APPS=["session_middleware.integrations.django"], MIDDLEWARE=[OURS, DJANGOS]):
        assert isinstance(apps.get_app_config("session_middleware"), SessionMiddlewareConfig)
        with pytest.raises(CommandError, match=r"session_middleware\.E003"):
            call_command("check")
