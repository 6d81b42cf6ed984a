"""What the page about the limit of sessions says, is what its applications do."""

from webtest import TestApp

from tests.book.pages import Page


def test_who_is_refused_can_end_the_others() -> None:
    """The page's application lets the second browser in when it has ended the session of the first."""
    site = Page("how-to/limit").run()
    first, second = TestApp(site["application"]), TestApp(site["application"])
    first.post("/", {})

    assert "signed in 1 times" in second.post("/", {}, status=403)
    assert second.post("/", {"others": "end"}).text == "welcome"
    assert [info.id for info in site["application"].manager.sessions_of("17")] == [second.cookies["session"][:12]]
