"""The lab does what its pages say, under the real gunicorn and without a browser: no script is needed."""

import importlib
import os
import re
import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from html import unescape
from pathlib import Path
from wsgiref.validate import validator

import pytest

from examples.lab.users import Users, _hash
from tests.browser import FORM, Browser, Transport, forms_of, in_process, links_of, over_http, tags_of
from tests.lab.conftest import APPLICATION, SETTINGS
from tests.lab.visitor import PASSWORDS
from tests.servers.gunicorn import Gunicorn

PAGES = ["/", "/attacks", "/sign-in"]
ACTIONS = [
    *("/sign-in", "/sign-out", "/language", "/count", "/cart", "/cart/remove", "/flash", "/lifetime", "/remember"),
    *("/regenerate", "/sessions/revoke", "/sessions/revoke-others", "/probe/write", "/probe/break", "/probe/stream"),
    *("/try/break", "/try/stream", "/try/parallel", "/try/writers", "/try/double-click", "/try/planted", "/try/damaged"),
    *("/try/before-sign-in", "/try/after-sign-out", "/try/thief", "/try/two-cookies"),
]

SCRIPT = "<script>alert(1)</script>"
ATTRIBUTE = "\"' onfocus=alert(1) x='"


@pytest.fixture
def transport(lab: Gunicorn) -> Transport:
    return over_http(lab.url)


@pytest.fixture
def validated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Transport]:
    """The lab in process, with a validator on either side of each of its layers."""
    monkeypatch.chdir(tmp_path)
    recorder = importlib.import_module("examples.lab.app").make()
    middleware = recorder.app
    middleware.app = validator(middleware.app)
    recorder.app = validator(middleware)
    yield in_process(validator(recorder))
    middleware.manager.store.close()


@pytest.fixture
def browser(transport: Transport) -> Browser:
    return Browser(transport)


def sign_in(browser: Browser, user: str) -> Browser:
    answer = browser.submit("/sign-in", "/sign-in", user=user, password=PASSWORDS[user])
    assert (answer.status, answer.header("Location").rpartition("/")[2]) == (303, "")
    return browser


def user_of(browser: Browser) -> str | None:
    found = re.search(r'class="user">.*?<strong>(.*?)</strong>', browser.get("/attacks").text)
    return found and found[1]


def ids_of(browser: Browser) -> list[str]:
    forms = forms_of(browser.get("/sessions").text)
    return [form.fields["id"] for form in forms if form.action == "/sessions/revoke"]


def id_of(browser: Browser) -> str:
    found = re.search(r'id="session-id">(.*?)<', browser.get("/").text)
    assert found is not None
    return found[1]


def csrf_of(browser: Browser) -> str:
    return forms_of(browser.get("/sign-in").text)[-1].fields["csrf"]


def lines_of(browser: Browser) -> list[str]:
    """Return what stands in the cart."""
    return [unescape(line) for line in re.findall("<li><span>(.*?)</span>", browser.get("/").text)]


def test_every_page_and_form_keeps_to_wsgi(validated: Transport) -> None:
    """PEP 3333: between the recorder, the middleware and the site, on the way in and on the way out."""
    browser = Browser(validated)
    for path in [*PAGES, "/untouched", "/nowhere", "/static/lab.css", "/probe/who"]:
        browser.get(path)
        browser.send("HEAD", path)
    sign_in(browser, "alice")
    csrf, back = csrf_of(browser), {"back": "/attacks"}
    fields = {"item": "Tea", "quantity": "1", "message": "Hello", "idle": "60", "remember": "1", "language": "ko", "id": "x"}
    answers = {path: browser.post(path, csrf=csrf, **fields, **back).status for path in ACTIONS if path != "/sign-out"}
    answers["/sessions"] = browser.get("/sessions").status
    answers["/sign-out"] = browser.post("/sign-out", csrf=csrf).status

    experiments = {path: status for path, status in answers.items() if path.startswith("/try/")}
    assert set(experiments.values()) == {503}
    assert {path for path, status in answers.items() if status == 303} >= {"/count", "/cart", "/flash", "/sign-out"}
    assert (answers["/probe/break"], answers["/probe/stream"], answers["/sessions"]) == (500, 200, 200)


def test_every_page_is_whole_and_every_link_leads_somewhere(browser: Browser) -> None:
    """What a visitor can click is there; each page has one heading of the first order, a title and a language."""
    sign_in(browser, "alice")
    links: set[str] = set()
    for path in [*PAGES, "/sessions", "/untouched"]:
        answer = browser.get(path)
        assert (answer.status, answer.header("Content-Type")) == (200, "text/html; charset=UTF-8")
        assert tags_of(answer.text).count("h1") == 1
        assert answer.text.rstrip().endswith("</html>")
        assert '<html lang="en">' in answer.text
        assert re.search("<title>[^<]+</title>", answer.text)
        assert all(form.method == "post" and form.fields["csrf"] for form in forms_of(answer.text))
        links |= links_of(answer.text)

    paths = {link for link in links if not link.startswith("#")}
    assert paths >= {"/", "/attacks", "/sessions", "/untouched?language=en"}
    assert {link for link in paths if browser.get(link).status != 200} == set()


@pytest.mark.parametrize("path", [*PAGES, "/untouched", "/nowhere", "/sessions", "/probe/who", "/static/lab.css"])
def test_every_answer_has_a_strict_content_security_policy(browser: Browser, path: str) -> None:
    """No script, style or frame but the site's own files."""
    policy = browser.get(path).header("Content-Security-Policy")

    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize("path", [*PAGES, "/untouched", "/nowhere"])
def test_no_page_has_script_or_style_inline(browser: Browser, path: str) -> None:
    """So the policy need not allow it."""
    text = browser.get(path).text

    assert re.findall("<script(?![^>]* src=)|<style|<[^>]* (?:style|on[a-z]+)=", text) == []


def test_no_page_asks_for_anything_from_elsewhere(browser: Browser) -> None:
    """Every address on a page is a path of this site."""
    assert {link for path in PAGES for link in links_of(browser.get(path).text) if link[:1] not in "/#"} == set()


def test_pages_are_not_kept_by_caches(browser: Browser) -> None:
    """After signing out, the back button shows nobody's page."""
    for path in PAGES:
        assert "no-store" in browser.get(path).header("Cache-Control")


@pytest.mark.parametrize(
    ("name", "kind"), [("lab.css", "text/css"), ("lab.js", "text/javascript"), ("icon.svg", "image/svg+xml")]
)
def test_a_static_file_does_not_touch_the_session(browser: Browser, name: str, kind: str) -> None:
    """Promise 1: no cookie, no Vary."""
    answer = browser.get(f"/static/{name}")

    assert answer.status == 200
    assert answer.header("Content-Type").startswith(kind)
    assert answer.all("Set-Cookie") == answer.all("Vary") == []


def test_the_page_that_touches_nothing_gets_no_session(browser: Browser) -> None:
    """Promise 1: neither without a session nor with one; the lab's own cookie is another matter."""
    assert [cookie.partition("=")[0] for cookie in browser.get("/untouched").all("Set-Cookie")] == ["lab"]
    sign_in(browser, "alice")
    answer = browser.get("/untouched")

    assert answer.all("Set-Cookie") == answer.all("Vary") == []


def test_what_is_not_there_is_not_found(browser: Browser) -> None:
    """404, without a session for whoever tries addresses."""
    for path in ("/nowhere", "/static/", "/static/../app.py", "/%ff", "/cart/"):
        answer = browser.get(path)
        assert answer.status == 404
        assert answer.all("Set-Cookie") == []


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/sign-out", "POST"),
        ("GET", "/sessions/revoke", "POST"),
        ("GET", "/try/parallel", "POST"),
        ("POST", "/attacks", "GET, HEAD"),
        ("POST", "/untouched", "GET, HEAD"),
        ("DELETE", "/sign-in", "GET, HEAD, POST"),
        ("POST", "/static/lab.css", "GET, HEAD"),
    ],
)
def test_a_method_that_a_page_does_not_have_is_refused(browser: Browser, method: str, path: str, allowed: str) -> None:
    """405, and which ones it has (RFC 9110, 15.5.6)."""
    answer = browser.send(method, path)

    assert (answer.status, answer.header("Allow")) == (405, allowed)


def test_head_is_get_without_the_body(browser: Browser) -> None:
    """RFC 9110, 9.3.2; also for a page whose end is made after the headers have left."""
    answer = browser.send("HEAD", "/sign-in")

    assert (answer.status, answer.body) == (200, b"")
    assert int(answer.header("Content-Length")) > 500
    assert browser.send("HEAD", "/").body == b""


def test_visits_are_counted_exactly(transport: Transport) -> None:
    """Promise 4: the counter is a transaction, so of parallel clicks none is lost."""
    browser = Browser(transport)
    csrf = csrf_of(browser)

    def click() -> None:
        copy = Browser(transport)
        copy.cookies = dict(browser.cookies)
        for _ in range(5):
            assert copy.post("/count", csrf=csrf).status == 303

    threads = [threading.Thread(target=click) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert '<p class="big"><strong>20</strong>' in browser.get("/").text


def test_the_cart_survives_sign_in_and_remembers_nested_values(browser: Browser) -> None:
    """Promise 8: the quantity inside the line inside the cart adds up."""
    browser.submit("/", "/cart", item="Tea", quantity="2")
    sign_in(browser, "alice")
    answer = browser.submit("/", "/cart", item="Tea", quantity="3")

    assert answer.status == 303
    assert lines_of(browser) == ["5 × Tea"]
    browser.submit("/", "/cart/remove", item="Tea")
    assert lines_of(browser) == []


@pytest.mark.parametrize(
    ("item", "quantity"),
    [("", "1"), (" ", "1"), ("x" * 61, "1"), ("Tea", ""), ("Tea", "0"), ("Tea", "100"), ("Tea", "٣")],
)
def test_the_cart_refuses_what_it_cannot_hold(browser: Browser, item: str, quantity: str) -> None:
    """400, and the cart is as it was."""
    assert browser.submit("/", "/cart", item=item, quantity=quantity).status == 400
    assert lines_of(browser) == []


def test_the_session_is_bounded(browser: Browser) -> None:
    """Nobody fills the store with one session, by the cart or by messages."""
    csrf = csrf_of(browser)
    answers = [browser.post("/cart", csrf=csrf, item=f"Thing {number}", quantity="1").status for number in range(21)]
    assert answers == [303] * 20 + [400]

    for _ in range(7):
        browser.post("/flash", csrf=csrf, message="x" * 1000)
    assert browser.get("/").text.count(f"<strong>{'x' * 100}</strong>") == 5


@pytest.mark.parametrize(
    ("action", "field", "value"),
    [
        ("/lifetime", "idle", "7"),
        ("/lifetime", "idle", "-1"),
        ("/language", "language", "xx"),
        ("/probe/write", "name", "csrf"),
    ],
)
def test_a_form_with_made_up_values_is_refused(browser: Browser, action: str, field: str, value: str) -> None:
    """400: only what the page offers is done."""
    assert browser.post(action, csrf=csrf_of(browser), **{field: value}).status == 400


def test_after_a_form_the_visitor_stays_on_this_site(browser: Browser) -> None:
    """No open redirect."""
    csrf = csrf_of(browser)
    for wanted in ("https://example.com/", "//example.com", "/nowhere", ""):
        answer = browser.post("/count", csrf=csrf, back=wanted)
        assert answer.status == 303
        assert re.sub("^http://[^/]*", "", answer.header("Location")) == "/#count"


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


def test_a_form_that_is_not_ours_changes_nothing(transport: Transport) -> None:
    """400 without the secret of the session, with a wrong one, and with that of another session; for every form."""
    browser, other = sign_in(Browser(transport), "alice"), Browser(transport)
    fields = {"user": "bob", "password": PASSWORDS["bob"], "item": "Tea", "quantity": "1", "id": id_of(browser)}
    fields |= {"language": "ko", "message": "x", "idle": "5", "remember": "1", "name": "key-01", "together": "1"}

    for action in ACTIONS:
        assert browser.post(action, **fields).status == 400
        for wrong in ("", "x", "é", csrf_of(other)):
            assert browser.post(action, **fields, csrf=wrong).status == 400
    assert user_of(browser) == "alice"
    assert lines_of(browser) == []


def test_every_form_is_in_that_test(transport: Transport) -> None:
    """So that none is forgotten."""
    browser = sign_in(Browser(transport), "alice")
    browser.submit("/", "/cart", item="Tea", quantity="1")
    sign_in(Browser(transport), "alice")
    there = {form.action for path in ["/", "/attacks", "/sessions", "/sign-in"] for form in forms_of(browser.get(path).text)}

    assert there <= set(ACTIONS)
    assert set(ACTIONS) - there == {"/probe/write", "/probe/break", "/probe/stream"}


def test_a_visitor_without_a_session_cannot_send_a_form(browser: Browser) -> None:
    """An empty secret is not that of a session that has none."""
    answer = browser.post("/cart", csrf="", item="Tea", quantity="1")

    assert answer.status == 400
    assert answer.all("Set-Cookie") == []


def test_a_form_that_is_too_large_or_no_text_is_refused(browser: Browser) -> None:
    """413 and 400, before anything is done with it."""
    csrf = csrf_of(browser)

    assert browser.post("/cart", csrf=csrf, item="x" * 20_000, quantity="1").status == 413
    assert browser.send("POST", "/cart", b"csrf=%ff&item=Tea", Content_Type=FORM).status == 400
    assert browser.send("POST", "/cart", b'{"csrf": 1}', Content_Type="application/json").status == 400


@pytest.mark.parametrize("kind", ["multipart/form-data", f"{FORM}; charset=utf-16", f"{FORM}; charset=nonsense"])
def test_a_form_that_cannot_be_read_is_refused(browser: Browser, kind: str) -> None:
    """400: nonsense is no reason to fail."""
    assert browser.send("POST", "/count", f"csrf={csrf_of(browser)}".encode(), Content_Type=kind).status == 400


@pytest.mark.parametrize("query", ["language=%ff", "language=xx", "%ff", "language=ko&x=%ff"])
def test_a_query_of_nonsense_does_no_harm(browser: Browser, query: str) -> None:
    """The page is there, in the language that the browser asks for."""
    assert (answer := browser.get(f"/untouched?{query}")).status == 200
    assert answer.header("Content-Language") == "en"


def test_an_experiment_finds_the_session_among_several_cookies(browser: Browser) -> None:
    """A cookie that someone else has set beside it is in nobody's way."""
    csrf, token = csrf_of(browser), browser.token
    browser.token = f"{'A' * 40}; session={token}"

    assert browser.post("/try/break", csrf=csrf).status == 303
    assert 'class="verdict held"' in browser.get("/").text


@pytest.mark.parametrize("path", PAGES)
def test_an_id_is_given_once(browser: Browser, path: str) -> None:
    """Else a label leads to the wrong place."""
    ids = re.findall(r' id="([^"]+)"', browser.get(path).text)

    assert sorted(ids) == sorted(set(ids))


def test_my_sessions_are_for_those_who_signed_in(browser: Browser) -> None:
    """A page to sign in, and 403 for a form."""
    answer = browser.get("/sessions")
    assert (answer.status, "<h1>Sign in</h1>" in answer.text, 'class="sessions"' in answer.text) == (200, True, False)

    csrf = csrf_of(browser)
    assert browser.post("/sessions/revoke-others", csrf=csrf).status == 403
    assert browser.post("/sessions/revoke", csrf=csrf, id="x").status == 403


def test_one_browser_sees_the_other_and_ends_its_session(transport: Transport) -> None:
    """The list shows each browser and marks this one; what is ended there is ended at the next request."""
    desktop, phone = Browser(transport, "Desktop/1.0"), Browser(transport, "Phone/2.0")
    for browser in (desktop, phone):
        sign_in(browser, "alice")
    wanted = id_of(phone)

    text = desktop.get("/sessions").text
    assert "<h2>Phone/2.0</h2>" in text
    assert '<h2>Desktop/1.0</h2>\n<p class="mark">This session</p>' in text
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


def test_what_visitors_write_is_shown_as_text(transport: Transport) -> None:
    """In the cart, in a message, in the list of sessions, among the data and in the form that comes back."""
    attack = f"{ATTRIBUTE}{SCRIPT}{{title}}&lt;"
    browser = sign_in(Browser(transport, user_agent=attack), "alice")
    browser.submit("/", "/cart", item=attack, quantity="1")
    browser.submit("/", "/flash", message=attack)
    wrong = browser.submit("/sign-in", "/sign-in", user=attack, password="x")
    browser.get("/" + "%3Cscript%3Ealert(1)%3C/script%3E", Cookie=f"{SCRIPT}={SCRIPT}")
    texts = [browser.get("/").text, browser.get("/sessions").text, browser.get("/").text, wrong.text]

    for text in texts:
        assert SCRIPT not in text
        assert not re.search("<[^>]* onfocus", re.sub('"[^"]*"', '""', text))
    assert f"<strong>{attack}</strong>" in unescape(texts[0])
    assert lines_of(browser) == [f"1 × {attack}"]
    assert f"<h2>{attack}</h2>" in unescape(texts[1])
    assert browser.submit("/", "/cart/remove", item=attack).status == 303
    assert lines_of(browser) == []


def test_the_lab_shows_both_sides(browser: Browser) -> None:
    """The attributes, the id and the data; neither the token nor the secret of the forms."""
    sign_in(browser, "alice")
    answer = browser.get("/")
    text = unescape(answer.text)

    for attribute in ("HttpOnly", "SameSite=Lax", "Path=/"):
        assert f"<code>{attribute}</code>" in text
    assert id_of(browser) in text
    assert "'a browser'" in text
    assert text.count(csrf_of(browser)) == len(forms_of(answer.text))
    assert browser.token is not None
    assert browser.token not in str(answer.headers)


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
