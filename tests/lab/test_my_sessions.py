"""The list of sessions of the lab, by clicking in two browsers."""

from tests.lab.visitor import Arrive


def test_who_wants_to_see_their_sessions_signs_in_there(arrive: Arrive) -> None:
    """With a form in place of the list, and the list after it, also if the password was wrong at first."""
    visitor = arrive("/sessions")
    assert visitor.text("h1") == "Sign in"
    assert visitor.text(".lede") == "Sign in to see your sessions."
    visitor.page.fill("#user", "alice")
    visitor.page.fill("#password", "wrong")
    visitor.page.click('main form[action="/sign-in"] button')
    visitor.page.wait_for_selector('[role="alert"]')
    visitor.complaints.clear()  # the browser notes the 403

    visitor.sign_in("alice")
    assert visitor.page.url == f"{visitor.url}/sessions"
    assert visitor.page.locator(".sessions .here").count() == 1


def test_one_browser_ends_the_session_of_another(arrive: Arrive) -> None:
    """Each is listed, this one is marked; the other is signed out at its next request, and told so."""
    here, there = arrive(), arrive(user_agent="Mozilla/5.0 (Windows NT 10.0) Gecko/20100101 Firefox/150.0")
    for visitor in (here, there):
        visitor.sign_in("alice")
    here.go("/sessions")
    assert here.text(".sessions .here .mark") == "This session"
    other = here.page.locator(".sessions li", has_text="Firefox on Windows, 127.0.0.0/24").first
    here.settled(other.locator("button").click)
    assert not here.page.locator(".sessions li", has_text="Firefox on Windows, 127.0.0.0/24").count()

    there.read_again()
    assert there.who() is None
    assert "opens nothing any more" in there.text("#ended")
    assert here.who() == "alice"


def test_all_other_sessions_are_ended_at_once(arrive: Arrive) -> None:
    """This one stays."""
    here, others = arrive(), [arrive(), arrive()]
    for visitor in (here, *others):
        visitor.sign_in("bob")
    here.go("/sessions")
    assert here.page.locator(".sessions li").count() >= 3
    here.page.click('form[action="/sessions/revoke-others"] button')
    here.page.wait_for_selector("text=There is no other session.")

    assert here.page.locator(".sessions li").count() == 1
    for visitor in others:
        visitor.read_again()
        assert visitor.who() is None
    assert here.who() == "bob"


def test_ending_this_session_is_signing_out(arrive: Arrive) -> None:
    """Back in the lab, as nobody."""
    visitor = arrive()
    visitor.sign_in("alice")
    visitor.go("/sessions")
    visitor.page.click(".sessions .here button")
    visitor.page.wait_for_url(f"{visitor.url}/")

    assert visitor.who() is None
