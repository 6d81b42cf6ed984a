"""Suites of Django itself and of what people add to it."""

from typing import Final

from tests.others.runner import Suite

_DJANGO: Final = "Django==5.2.19"


def _own(sessions: str, differences: dict[str, str], at_least: int) -> Suite:
    return Suite(
        name=f"Django, {sessions}",
        sources=[_DJANGO],
        within="tests",
        path=["tests"],
        command=[
            "runtests.py",
            "--settings=others_django_settings",
            "--parallel=1",
            *("auth_tests", "messages_tests", "sessions_tests", "test_client"),
        ],
        differences=differences,
        at_least=at_least,
    )


SUITES: Final = (_own("our middleware", {}, 10),)
