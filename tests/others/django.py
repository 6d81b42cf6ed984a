"""Suites of Django itself and of what people add to it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.backends.postgresql import PostgresServer
from tests.others.runner import Suite, pytest

_DJANGO: Final = "Django==5.2.19"

_AGAIN: Final = "whoever signs in again gets a new token"
_ELSEWHERE: Final = "the test client looks in the engine that the test sets, and our middleware needs its own"
_WRITTEN_OTHERWISE: Final = "the same removal, written otherwise: HttpOnly, and an empty value without quotes"
_WITH_THE_RESPONSE: Final = "a new session, or its end, is stored with the response, and save() stores one that is there"
_STABLE: Final = "session_key is the public id, which never changes"
_OURS_TO_GIVE: Final = "keys are ours to give: no text of others becomes one"

_OF_THE_ENGINE: Final = {
    "auth_tests.test_views.LoginTest.test_session_key_flushed_on_login_after_password_change": _AGAIN,
    "others_sessions_tests.EngineTests.test_session_key_valid_string_saved": _OURS_TO_GIVE,
    "sessions_tests.tests.SessionMiddlewareTests.test_empty_session_saved": "it looks into Django's own table",
}

_TESTS_OF_MIDDLEWARE: Final = "sessions_tests.tests.SessionMiddlewareTests"
_TESTS_OF_REQUESTS: Final = "others_sessions_tests.RequestTests"
_OF_THE_MIDDLEWARE: Final = {
    "test_client.tests.ClientTest.test_logout_cookie_sessions": _ELSEWHERE,
    "test_client.tests.ClientTest.test_sessions_app_is_not_installed": _ELSEWHERE,
    "test_client.tests.ClientTest.test_view_with_login_when_sessions_app_is_not_installed": _ELSEWHERE,
    f"{_TESTS_OF_MIDDLEWARE}.test_empty_session_saved": "a change after the response was stored raises HeadersAlreadySent",
    f"{_TESTS_OF_MIDDLEWARE}.test_no_httponly_session_cookie": "the cookie is always HttpOnly",
    f"{_TESTS_OF_MIDDLEWARE}.test_save_every_request_with_non_empty_session_renews_session_cookie": "the use is stored, and"
    " the cookie lasts as long as the session may, so it is not sent again",
    f"{_TESTS_OF_MIDDLEWARE}.test_session_delete_on_end": _WRITTEN_OTHERWISE,
    f"{_TESTS_OF_MIDDLEWARE}.test_session_delete_on_end_with_custom_domain_and_path": _WRITTEN_OTHERWISE,
    f"{_TESTS_OF_MIDDLEWARE}.test_session_update_error_redirect": "a request whose session was ended gets its response",
    **{f"{_TESTS_OF_REQUESTS}.test_{name}": _STABLE for name in ("cycle", "cycle_async")},
    **{
        f"{_TESTS_OF_REQUESTS}.test_{name}": _WITH_THE_RESPONSE
        for name in (
            "cycle_with_no_session_cache",
            "cycle_with_no_session_cache_async",
            "save",
            "save_async",
            "session_asave_does_not_resurrect_session_logged_out_in_other_context",
            "session_save_does_not_resurrect_session_logged_out_in_other_context",
        )
    },
    **{
        f"{_TESTS_OF_REQUESTS}.test_{name}{form}": "modified = False keeps nothing from being stored"
        for name in ("has_key", "items", "keys", "values")
        for form in ("", "_async")
    },
    f"{_TESTS_OF_REQUESTS}.test_session_key_*": _OURS_TO_GIVE,
}


def _own(sessions: str, differences: Mapping[str, str], *tests: str, at_least: int) -> Suite:
    @contextmanager
    def environment() -> Iterator[Mapping[str, str]]:
        yield {"SESSIONS": sessions}

    return Suite(
        name=f"Django, our {sessions}",
        sources=[_DJANGO],
        within="tests",
        path=["tests"],
        environment=environment,
        command=["runtests.py", "--settings=others_django_settings", "--parallel=1", *tests],
        differences=differences,
        at_least=at_least,
    )


def _allauth(sessions: str) -> Suite:
    @contextmanager
    def environment() -> Iterator[Mapping[str, str]]:
        with PostgresServer() as server:
            yield {"SESSIONS": sessions, "POSTGRESQL_PORT": str(server.port)}

    return Suite(
        name=f"django-allauth's usersessions on PostgreSQL, our {sessions}",
        sources=["django-allauth==65.21.1", _DJANGO],
        needs=["pytest-django==4.14.0"],
        environment=environment,
        command=pytest("--ds=others_allauth_settings", "-p", "no:xdist", "tests/apps/usersessions"),
        differences={},
        at_least=8,
    )


@contextmanager
def _otp() -> Iterator[Mapping[str, str]]:
    yield {"SESSIONS": "middleware", "DJANGO_SETTINGS_MODULE": "others_otp_settings"}


SUITES: Final = (
    _own(
        "middleware",
        {**_OF_THE_ENGINE, **_OF_THE_MIDDLEWARE},
        *("auth_tests", "messages_tests", "sessions_tests", "test_client", "others_sessions_tests"),
        at_least=1780,
    ),
    _own(
        "engine",
        _OF_THE_ENGINE,
        *("auth_tests", "messages_tests", "sessions_tests", "test_client", "others_sessions_tests.EngineTests"),
        at_least=1700,
    ),
    _allauth("middleware"),
    _allauth("engine"),
    Suite(
        name="django-otp",
        sources=["django-otp==1.7.5", _DJANGO],
        needs=["freezegun==1.5.5", "segno==1.6.6"],
        path=["src", "test"],
        environment=_otp,
        command=["-m", "django", "test", "django_otp"],
        differences={},
        at_least=100,
    ),
)
