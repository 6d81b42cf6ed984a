"""Django hands its observers on, whoever serves the session."""

from typing import Any

import pytest

from tests.integrations import django_site  # it configures Django

# isort: split

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from django.test import override_settings

from session_middleware import MemoryStore
from session_middleware.events import Ended, SweepDone, TooManyCookies
from session_middleware.integrations.django import settings as configured
from session_middleware.testing import clock_in_hand
from tests.apps import visit
from tests.integrations.django_site import DJANGOS, OURS
from tests.observers.notes import Notes

NOTES = Notes()
MANY = "; ".join(f"session={number:040}" for number in range(20))


def get(path: str, cookie: str | None = None) -> Any:
    return visit(WSGIHandler(), path, cookie=cookie, QUERY_STRING="key=a&value=1")


@pytest.mark.parametrize("observer", [NOTES, "tests.observers.test_django.NOTES", [NOTES]], ids=["it", "name", "list"])
@pytest.mark.parametrize("names", [[OURS], [DJANGOS]], ids=["middleware", "engine"])
def test_an_observer_is_told_of_sessions_in_django(observer: Any, names: list[str]) -> None:
    """By our middleware, and by our engine under Django's."""
    NOTES.clear()
    options = {"store": MemoryStore(), "observer": observer}
    with override_settings(MIDDLEWARE=django_site.middleware(*names), SESSION_MIDDLEWARE=options):
        assert get("/act/put").status == "200 OK"

    assert [name for name in NOTES.names if name != "SweepDone"] == ["Created"]


def test_too_many_cookies_are_told_of_by_django_as_long_as_somebody_wants_it() -> None:
    """The cookie is the same when the settings are others."""
    NOTES.clear()
    with override_settings(SESSION_MIDDLEWARE={"store": MemoryStore(), "observer": NOTES}):
        get("/act/show", MANY)
    with override_settings(SESSION_MIDDLEWARE={"store": MemoryStore()}):
        get("/act/show", MANY)

    assert [event.count for event in NOTES.of(TooManyCookies)] == [20]


def test_what_is_no_observer_is_refused_by_django() -> None:
    for observer, said in (("tests.observers.nowhere", "nowhere"), (5, r"on\(event\)")):
        with (
            override_settings(SESSION_MIDDLEWARE={"store": MemoryStore(), "observer": observer}),
            pytest.raises(ImproperlyConfigured, match=said),
        ):
            configured.manager()


def test_clearsessions_tells_of_what_it_removes() -> None:
    """As any other sweep does."""
    NOTES.clear()
    with (
        clock_in_hand() as clock,
        override_settings(SESSION_MIDDLEWARE={"store": MemoryStore(), "observer": NOTES}),
    ):
        get("/act/put")
        clock.advance(366 * 86400)
        call_command("clearsessions")

    assert [event.reason for event in NOTES.of(Ended)] == ["expired"]
    assert [event.removed for event in NOTES.of(SweepDone)][-2:] == [1, 0]
