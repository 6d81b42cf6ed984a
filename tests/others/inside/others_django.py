"""Django's test runner, which lets a project's tests have our sessions, and writes their outcomes as JUnit does."""

import os
import unittest
from typing import Any
from xml.etree import ElementTree as ET

from django.conf import settings
from django.contrib.sessions import middleware as djangos
from django.test.runner import DiscoverRunner

from session_middleware.integrations.django import SessionMiddleware

DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"
OURS = "session_middleware.integrations.django.SessionMiddleware"


class Result(unittest.TextTestResult):
    """Keeps the outcome of each test."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.outcomes: dict[str, str] = {}

    def _note(self, test: Any, outcome: str) -> None:
        name = test.id()
        if self.outcomes.get(name) != "failure":
            self.outcomes[name] = outcome

    def addSuccess(self, test: Any) -> None:  # noqa: N802  # unittest names it
        super().addSuccess(test)
        self._note(test, "")

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self._note(test, "")

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._note(test, "skipped")

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self._note(test, "failure")

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self._note(test, "failure")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            self._note(test, "failure")


class Runner(DiscoverRunner):  # type: ignore[misc]  # Django has no types
    """Gives the tests our middleware in place of Django's, unless the environment says ``SESSIONS=engine``."""

    def setup_test_environment(self, **options: Any) -> None:
        super().setup_test_environment(**options)
        if os.environ.get("SESSIONS") != "engine":
            settings.MIDDLEWARE = [OURS if name == DJANGOS else name for name in settings.MIDDLEWARE]
            # What the tests import by its name.
            djangos.SessionMiddleware = SessionMiddleware

    def get_resultclass(self) -> type[Result]:
        return Result

    def run_suite(self, suite: Any, **options: Any) -> Any:
        result = super().run_suite(suite, **options)
        root = ET.Element("testsuite")
        for name, outcome in result.outcomes.items():
            class_name, _, method = name.rpartition(".")
            case = ET.SubElement(root, "testcase", classname=class_name, name=method)
            if outcome:
                ET.SubElement(case, outcome)
        ET.ElementTree(root).write(os.environ["RESULTS"])
        return result
