"""The example of an observer is told what happens."""

from webtest import TestApp

from tests.book.pages import Page


def test_the_observer_on_the_page_is_told() -> None:
    """Of a sign-in: the session was made by it."""
    names = Page("reference/events").run()
    TestApp(names["application"]).get("/")

    assert [name for name in names["told"].names if name not in ("Asked", "SweepDone")] == ["Created", "SignedIn"]
