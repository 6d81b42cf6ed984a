"""Runs mutmut over modules of the core, and keeps what survives: `python -m tests.mutation rules cookies`; none is all.

What is new has no reason yet, which is an error: write a test that sees it or, in ``survivors.json``, why there is none.
"""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.mutation.survivors import ROOT, keep, kept

MODULES = {
    "tokens": ["tests/core/test_tokens.py", "tests/core/test_hidden_tokens.py"],
    "lifetime": ["tests/core/test_lifetime.py"],
    "headers": ["tests/wsgi/test_headers.py"],
    "rules": [
        "tests/core/test_rules.py",
        "tests/core/test_rules_aliases.py",
        "tests/core/test_rules_binding.py",
        "tests/core/test_rules_histories.py",
    ],
    "cookies": [
        "tests/cookies/test_attributes.py",
        "tests/cookies/test_former_cookies.py",
        "tests/cookies/test_hostile_headers.py::TestTheFastWay",
        "tests/cookies/test_odd_cookies.py",
        "tests/cookies/test_reading.py",
        "tests/cookies/test_requests.py",
        "tests/cookies/test_tossed_cookies.py",
    ],
    "notes": ["tests/core/test_record_ends.py", "tests/core/test_record.py"],
    "values": [
        "tests/core/test_values.py",
        "tests/core/test_values_changes.py",
        "tests/core/test_values_laziness.py",
        "tests/core/test_values_merging.py",
    ],
    "limit": ["tests/sessions/test_limit.py"],
    "takeover": ["tests/takeover"],
}
"""The tests that have to see what is changed in a module: few, and quick."""

SERVERS = ("redis", "memcached", "postgresql", "mariadb", "sqlite", "chromium")
SLOW = ("locale", "random_damage", "whatever_becomes_of_it")
"""Parts of the names of tests that take seconds, and see what others see."""

LEFT_OUT = " and ".join(f"not {name}" for name in (*SERVERS, *SLOW))

WORK = ROOT / "build" / "mutants"
MUTMUT = Path(sys.executable).with_name("mutmut")
KILLED = (1, 3, -24, -9)  # a test failed; pytest did; it took too long: SIGXCPU, and SIGKILL a second later
UNSEEN = (0, 5, 33)  # all tests passed; there is no test
"""The exit codes of the tests of a mutant, as mutmut keeps them. With any other nobody knows what became of it."""

CONFIGURATION = """\
[mutmut]
source_paths = session_middleware
only_mutate = session_middleware/{module}.py
use_git_change_detection = false
track_dependencies = false
pytest_add_cli_args =
    -q
    -m
    not soak and not timed
    -k
    {left_out}
    -p
    no:cacheprovider
    -p
    no:xdist
    -p
    tests.mutation.plugin
pytest_add_cli_args_test_selection =
    {tests}
"""


def main(modules: list[str]) -> int:
    unexplained = 0
    for module in modules or MODULES:
        print(f"{module} ...", flush=True)
        mutants, changes = looked_at(module)
        known = kept()
        reasons = known[module]["survivors"] if module in known else {}
        known[module] = {"mutants": mutants, "survivors": {change: reasons.get(change, "") for change in changes}}
        keep({name: known[name] for name in MODULES if name in known})
        new = [change for change in changes if not reasons.get(change)]
        print(f"{module}: {len(changes)} of {mutants} mutants survive", *new, sep="\n    ", flush=True)
        unexplained += len(new)
    return unexplained > 0


def looked_at(module: str) -> tuple[int, list[str]]:
    """Run the tests of a module for each of its mutants; return how many those are, and what the survivors change."""
    place = WORK / module
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("session_middleware", "tests", "pyproject.toml"):
        (place / name).symlink_to(ROOT / name)
    tests = "\n    ".join(MODULES[module])
    (place / "setup.cfg").write_text(CONFIGURATION.format(module=module, left_out=LEFT_OUT, tests=tests))
    with (place / "log").open("w") as log:
        done = subprocess.run([MUTMUT, "run", "--max-children", "2"], cwd=place, stdout=log, stderr=log, check=False)
    if done.returncode:
        sys.exit(f"{module}: mutmut has stopped; {place}/log says why")
    told = json.loads((place / "mutants" / "session_middleware" / f"{module}.py.meta").read_text())
    codes: dict[str, int | None] = told["exit_code_by_key"]
    changes: list[str] = []
    for name in unseen(codes):
        change = changed_by(place, name)
        while change in changes:
            change += " (once more)"
        changes.append(change)
    return len(codes), changes


def unseen(codes: Mapping[str, int | None]) -> list[str]:
    """Return the names of the mutants that no test has seen, of all by their exit codes; stop where nobody knows."""
    if unknown := {name: code for name, code in codes.items() if code not in KILLED + UNSEEN}:
        sys.exit(f"neither killed nor alive, by their exit codes: {unknown}")
    return [name for name, code in codes.items() if code in UNSEEN]


def changed_by(place: Path, name: str) -> str:
    """Return what a mutant changes: the function, the lines as they were, and as they are."""
    shown = subprocess.run([MUTMUT, "show", name], cwd=place, capture_output=True, text=True, check=True).stdout
    function = re.sub(r".*\.x_?|__mutmut_\d+$", "", name).strip("ǁ").replace("ǁ", ".")
    was, now = (re.findall(rf"^\{sign}(?!\{sign}) *(.*)", shown, re.MULTILINE) for sign in "-+")
    return f"{function}: {' '.join(was)} → {' '.join(now)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
