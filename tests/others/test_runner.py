"""The runner of other projects' tests: what it takes for a failure."""

from pathlib import Path

import pytest

from tests.others.runner import Suite, judge, read

SUITE = Suite(name="theirs", sources=[], command=[], at_least=2, differences={"tests.Known.*": "it is known"})


@pytest.mark.parametrize(
    ("outcomes", "complaints"),
    [
        ({"tests.A.a": "passed", "tests.A.b": "passed", "tests.Known.c": "failed"}, []),
        (
            {"tests.A.a": "passed", "tests.A.b": "failed", "tests.A.d": "passed", "tests.Known.c": "failed"},
            ["tests.A.b failed"],
        ),
        ({"tests.A.a": "passed", "tests.Known.c": "failed"}, ["1 tests passed, and at least 2 must"]),
        (
            {"tests.A.a": "passed", "tests.A.b": "passed", "tests.Known.c": "passed"},
            ["tests.Known.* is listed as different, and does not fail"],
        ),
        (
            {"tests.A.a": "passed", "tests.A.b": "passed", "tests.Known.c": "skipped"},
            ["tests.Known.* is listed as different, and does not fail"],
        ),
        ({}, ["0 tests passed, and at least 2 must", "tests.Known.* is listed as different, and does not fail"]),
    ],
)
def test_what_is_not_explained_is_a_complaint(outcomes: dict[str, str], complaints: list[str]) -> None:
    """Neither a new failure, nor a test that is not run, nor a difference that is none any more goes unseen."""
    assert judge(SUITE, outcomes) == complaints


def test_outcomes_are_read_as_junit_writes_them(tmp_path: Path) -> None:
    """A test that fails once, in a part of it or when it is cleaned up, has failed."""
    (tmp_path / "results.xml").write_text("""<testsuites><testsuite>
        <testcase classname="tests.A" name="a"/>
        <testcase classname="tests.A" name="b"><failure/></testcase>
        <testcase classname="tests.A" name="b"/>
        <testcase classname="tests.A" name="c"/>
        <testcase classname="tests.A" name="c"><error/></testcase>
        <testcase classname="tests.A" name="d"><skipped/></testcase>
        </testsuite></testsuites>""")

    assert read(tmp_path / "results.xml") == {
        "tests.A.a": "passed",
        "tests.A.b": "failed",
        "tests.A.c": "failed",
        "tests.A.d": "skipped",
    }
