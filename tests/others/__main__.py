"""Runs the suites that are named, or all of them; it fails if one of them does."""

import sys

from tests.others import django, flask
from tests.others.runner import run

SUITES = (*django.SUITES, *flask.SUITES)


def main(*names: str) -> int:
    wanted = [suite for suite in SUITES if not names or any(name.lower() in suite.name.lower() for name in names)]
    outcomes = [run(suite) for suite in wanted]
    print(f"{sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed")
    return 0 if outcomes and all(outcomes) else 1


sys.exit(main(*sys.argv[1:]))
