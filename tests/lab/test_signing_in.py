"""Signing in and out of the lab, and ending one's other sessions there."""

import importlib
import os
import re
import sqlite3
import stat
import time
from contextlib import closing
from pathlib import Path

import pytest

from examples.lab.users import Users, _hash
from tests.browser import Browser, Transport, forms_of, in_process, over_http
from tests.lab.conftest import APPLICATION, SETTINGS
from tests.lab.visitor import PASSWORDS
from tests.lab.visits import csrf_of, id_of, lines_of, sign_in, user_of
from tests.servers.gunicorn import Gunicorn


def ids_of(browser: Browser) -> list[str]:
    forms = forms_of(browser.get("/sessions").text)
    return [form.fields["id"] for form in forms if form.action == "/sessions/revoke"]


def test_a_session_planted_before_the_sign_in_is_of_no_use_after_it(transport: Transport) -> None:
    """Promise 18: the attacker's cookie reads what they had themselves, changes nothing, and is sent no other one."""
    attacker, victim = Browser(transport), Browser(transport)
    attacker.submit("/", "/cart", item="Bait", quantity="1")
    csrf, planted = csrf_of(attacker), attacker.token
    assert planted is not None
    victim.token = planted
    sign_in(victim, "alice")
    victim.submit("/", "/cart", item="Tea", quantity="1")

    assert victim.token is not None
    assert victim.token[:12] == planted[:12]
    assert victim.token[12:] != planted[12:]
    assert csrf_of(victim) != csrf
    assert (user_of(victim), lines_of(victim)) == ("alice", ["1 × Bait", "1 × Tea"])

    text = attacker.get("/").text
    assert "alice</strong>" not in text
    assert "Tea" not in re.sub("<input[^>]*>", "", text)
    assert 'id="secrets"' not in text
    assert user_of(attacker) is None
    assert attacker.post("/cart", csrf=csrf, item="Poison", quantity="1").status == 303
    assert attacker.post("/sign-out", csrf=csrf).status == 303
    assert attacker.token == planted
    assert (lines_of(attacker), lines_of(victim)) == (["1 × Bait"], ["1 × Bait", "1 × Tea"])
    assert attacker.post("/try/parallel", csrf=csrf).status == 400


def test_two_sign_ins_with_one_cookie_are_one_session(transport: Transport) -> None:
    """Promise 20: a double click; whichever answer the browser keeps, it is signed in."""
    browser, second = Browser(transport), Browser(transport)
    csrf = csrf_of(browser)
    second.cookies = dict(browser.cookies)
    for click in (browser, second):
        assert click.post("/sign-in", csrf=csrf, user="bob", password=PASSWORDS["bob"]).status == 303

    assert browser.token != second.token
    assert id_of(browser) == id_of(second)
    assert user_of(browser) == user_of(second) == "bob"


def test_signing_out_everywhere_ends_a_sign_in_that_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promise 19: the mark is read before the password is checked, so what comes in that while is not missed."""
    monkeypatch.chdir(tmp_path)
    recorder = importlib.import_module("examples.lab.app").make()
    here, late = Browser(in_process(recorder)), Browser(in_process(recorder))
    sign_in(here, "alice")

    class Slow(Users):
        """Whose check takes so long that someone signs out everywhere else meanwhile."""

        def check(self, name: str, password: str) -> bool:
            found = super().check(name, password)
            assert here.post("/sessions/revoke-others", csrf=csrf_of(here)).status == 303
            return found

    recorder.app.app.users = Slow(tmp_path / "demo" / "users.sqlite3", {})
    late.get("/")
    before = late.token
    answer = late.submit("/sign-in", "/sign-in", user="alice", password=PASSWORDS["alice"])

    assert (answer.status, late.token) == (303, before)
    assert (user_of(here), user_of(late)) == ("alice", None)
    assert ids_of(here) == [id_of(here)]
    recorder.app.manager.store.close()


@pytest.mark.parametrize(("user", "password"), [("alice", "wrong"), ("mallory", "looking-glass"), ("", "")])
def test_a_wrong_sign_in_is_refused_and_says_nothing(browser: Browser, user: str, password: str) -> None:
    """403, the same words for a wrong password and an unknown user, and the session stays as it was."""
    browser.get("/")
    before = browser.token
    answer = browser.submit("/sign-in", "/sign-in", user=user, password=password)

    assert answer.status == 403
    assert "There is no such user, or the password is wrong." in answer.text
    assert browser.token == before
    assert user_of(browser) is None


def test_signing_out_is_final(browser: Browser) -> None:
    """Promise 5: the cookie goes, and sent again it opens nothing."""
    sign_in(browser, "alice")
    before = browser.token
    assert before is not None

    assert browser.submit("/attacks", "/sign-out").status == 303
    assert browser.token is None
    browser.token = before
    assert user_of(browser) is None


def test_signing_in_as_someone_else_leaves_nothing_behind(browser: Browser) -> None:
    """Design, section 6: a sign-in on another user's session first drops that user's data."""
    sign_in(browser, "alice")
    browser.submit("/", "/cart", item="Tea", quantity="1")
    sign_in(browser, "bob")

    assert user_of(browser) == "bob"
    assert lines_of(browser) == []


def test_my_sessions_are_for_those_who_signed_in(browser: Browser) -> None:
    """A page to sign in, and 403 for a form."""
    answer = browser.get("/sessions")
    assert (answer.status, "<h1>Sign in</h1>" in answer.text, 'class="sessions"' in answer.text) == (200, True, False)

    csrf = csrf_of(browser)
    assert browser.post("/sessions/revoke-others", csrf=csrf).status == 403
    assert browser.post("/sessions/revoke", csrf=csrf, id="x").status == 403


DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:150.0) Gecko/20100101 Firefox/150.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/604.1"


def test_one_browser_sees_the_other_and_ends_its_session(transport: Transport) -> None:
    """The list shows each browser and marks this one; what is ended there is ended at the next request."""
    desktop, phone = Browser(transport, DESKTOP), Browser(transport, PHONE)
    for browser in (desktop, phone):
        sign_in(browser, "alice")
    wanted = id_of(phone)

    text = desktop.get("/sessions").text
    assert "<h2>Safari on iOS, 127.0.0.0/24</h2>" in text
    assert '<h2>Firefox on Linux, 127.0.0.0/24</h2>\n<p class="mark">This session</p>' in text
    assert {id_of(desktop), wanted} <= set(ids_of(desktop))

    assert desktop.submit("/sessions", "/sessions/revoke", id=wanted).status == 303
    assert wanted not in ids_of(desktop)
    assert user_of(phone) is None
    assert user_of(desktop) == "alice"


def test_all_other_sessions_can_be_ended_at_once(transport: Transport) -> None:
    """This one stays, and so do those of other users."""
    here, other = [sign_in(Browser(transport), "alice") for _ in range(2)]
    bob = sign_in(Browser(transport), "bob")

    assert here.submit("/sessions", "/sessions/revoke-others").status == 303

    assert ids_of(here) == [id_of(here)]
    assert [user_of(browser) for browser in (here, other, bob)] == ["alice", None, "bob"]


def test_ending_this_session_is_signing_out(browser: Browser) -> None:
    """The cookie goes, too."""
    sign_in(browser, "alice")

    assert browser.submit("/sessions", "/sessions/revoke", id=id_of(browser)).status == 303
    assert browser.token is None


def test_nobody_ends_the_session_of_someone_else(transport: Transport) -> None:
    """404, as for a session that does not exist."""
    alice, bob = sign_in(Browser(transport), "alice"), sign_in(Browser(transport), "bob")
    csrf = csrf_of(bob)

    assert bob.post("/sessions/revoke", csrf=csrf, id=id_of(alice)).status == 404
    assert bob.post("/sessions/revoke", csrf=csrf, id="x" * 12).status == 404
    assert user_of(alice) == "alice"


def test_a_restart_of_the_server_signs_nobody_out(tmp_path: Path) -> None:
    """Sessions, cart and users are in the files of ``./demo``, which nobody else may enter."""
    with Gunicorn(APPLICATION, *SETTINGS, cwd=tmp_path) as server:
        browser = Browser(over_http(server.url))
        browser.submit("/", "/cart", item="Tea", quantity="1")
        sign_in(browser, "alice")
    with Gunicorn(APPLICATION, *SETTINGS, cwd=tmp_path) as server:
        browser.transport = over_http(server.url)
        assert user_of(browser) == "alice"
        assert lines_of(browser) == ["1 × Tea"]
        sign_in(Browser(browser.transport), "bob")
        assert "Traceback" not in server.log()

    assert stat.S_IMODE(os.stat(tmp_path / "demo").st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "demo").iterdir()} == {0o600}
    with closing(sqlite3.connect(tmp_path / "demo" / "users.sqlite3")) as connection:
        assert connection.execute("SELECT count(*) FROM users").fetchone() == (3,)


def test_passwords_are_salted_and_hashed(tmp_path: Path) -> None:
    """Two users with one password have nothing in common in the table."""
    path = tmp_path / "users.sqlite3"
    users = Users(path, {"ann": "same-password", "ben": "same-password"})

    assert users.check("ann", "same-password")
    assert users.check("ben", "same-password")
    assert not users.check("ann", "Same-password")
    assert b"same-password" not in path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT salt, hash FROM users").fetchall()
    assert len({value for row in rows for value in row}) == 4


def test_hashing_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes long, and other processes that start write meanwhile; whoever is first has made the user."""
    path = tmp_path / "users.sqlite3"
    others = []

    def hashing(password: str, salt: bytes) -> bytes:
        with closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            others.append(password)
            connection.execute("INSERT INTO users VALUES (?, ?, ?)", ("ann", salt, _hash("faster", salt)))
        return _hash(password, salt)

    monkeypatch.setattr("examples.lab.users._hash", hashing)
    made = Users(path, {"ann": "slower"})
    monkeypatch.undo()

    assert others == ["slower"]
    assert (made.check("ann", "faster"), made.check("ann", "slower")) == (True, False)


def test_users_that_are_there_stay_as_they_are(tmp_path: Path) -> None:
    """A restart changes nobody's password."""
    Users(tmp_path / "users.sqlite3", {"ann": "first"})
    users = Users(tmp_path / "users.sqlite3", {"ann": "second"})

    assert users.check("ann", "first")
    assert not users.check("ann", "second")


def test_an_unknown_user_takes_as_long_as_a_known_one(tmp_path: Path) -> None:
    """The time does not tell which names exist; processor time, so that other work does not count."""
    users = Users(tmp_path / "users.sqlite3", {"ann": "password"})

    def cost(name: str) -> float:
        before = time.thread_time()
        users.check(name, "wrong")
        return time.thread_time() - before

    known, unknown = (min(cost(name) for _ in range(2)) for name in ("ann", "nobody"))
    assert 0.5 < unknown / known < 2
