"""What somebody tries who has no device, and what an application does at the wrong moment: nothing is won, nothing lost."""

import logging
import sys
from collections.abc import Iterable
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware, get_session
from session_middleware.binding import DeviceBinding, keys
from session_middleware.record import Binding
from session_middleware.state import Found
from session_middleware.testing import FakeClock, FakeDevice
from session_middleware.tokens import Token
from tests.binding.sites import BOUND, LINK, REGISTRATION, TOKEN, BindingSite, Browser

ACTS: dict[str, Any] = {
    "set": lambda session: session.update(x=1),
    "login": lambda session: session.login("alice"),
    "transact": lambda session: session.transact(lambda values: values.update(seen=True)),
    "persistent": lambda session: session.set_lifetime(persistent=True),
    "idle": lambda session: session.set_lifetime(idle=60),
}


def several(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """``/one,another`` does both to the session, in their order."""
    session = get_session(environ)
    for act in filter(None, environ["PATH_INFO"][1:].split(",")):
        ACTS[act](session) if act in ACTS else getattr(session, act)()
    start_response("200 OK", [])
    return [f"{session.user_id} {dict(session)} bound={session.device_bound}".encode()]


@pytest.fixture
def site() -> BindingSite:
    return BindingSite(app=several)


@pytest.fixture
def browser(site: BindingSite) -> Browser:
    """One whose session is bound."""
    browser = site.browser()
    assert browser.device.register(browser.get("/login")) == 200
    return browser


@pytest.mark.parametrize("acts", ["use", "persistent", "idle", "invalidate", "invalidate,set", "transact", "set,regenerate"])
def test_a_link_gets_the_page_that_reloads_itself_whatever_the_application_does(
    acts: str, browser: Browser, site: BindingSite
) -> None:
    """An application that uses, extends or ends the session in each request does so in the one that has the proof."""
    site.clock.advance(700)
    assert 'http-equiv="refresh"' in browser.get(f"/{acts}", LINK).text

    assert browser.device.refresh() == 200
    assert browser.get("/").text == "alice {} bound=True"


@pytest.mark.parametrize("acts", ["login", "login,transact", "transact,login", "invalidate,login"])
def test_a_link_that_signs_in_gets_the_answer_of_the_application(acts: str, browser: Browser, site: BindingSite) -> None:
    """Promise 20: as one from an identity provider, which is good for one request; also if it is stored at once."""
    site.clock.advance(700)
    answer = browser.get(f"/{acts}", LINK)

    assert answer.text.startswith("alice")
    assert browser.device.register(answer) == 200
    assert browser.get("/").text.startswith("alice")


def test_who_has_not_proved_it_changes_values_that_are_nobodys() -> None:
    """By ``transact()``, too: also while there is what the session held before its sign-in."""
    site = BindingSite(app=several, device_binding=DeviceBinding(grace=0))
    browser = site.browser()
    browser.get("/set")
    assert browser.device.register(browser.get("/login")) == 200

    assert browser.copy(TOKEN).get("/transact").text == "None {'seen': True} bound=False"
    assert browser.get("/").text == "alice {'x': 1} bound=True"


@pytest.mark.parametrize("former", [False, True])
def test_who_signs_in_without_proof_and_out_again_keeps_no_cookie(former: bool, browser: Browser) -> None:
    """As anybody who signs out, also under a former name of the cookie; the session of the device goes on."""
    site = browser.site
    site.clock.advance(60)
    thief, policy = browser.copy(TOKEN), CookiePolicy(name="new", former=(CookiePolicy(),))
    if former:
        thief.site = BindingSite(site.store, app=several, clock=site.clock, cookie=policy, namespace="session")
    assert thief.get("/login,transact,invalidate").text.startswith("None")

    assert thief.cookies == {}
    assert browser.get("/").text == "alice {} bound=True"


def test_a_request_that_is_tried_again_offers_what_its_first_try_has_stored(site: BindingSite) -> None:
    """It has signed in, and the browser has not heard of it."""
    browser = site.browser()
    offer = browser.get("/login,transact,start_over")

    assert browser.device.register(offer) == 200
    assert browser.get("/").text == "alice {'seen': True} bound=True"


@pytest.mark.parametrize("bound", [False, True])
def test_a_double_click_offers_what_is_not_bound_yet(bound: bool, site: BindingSite) -> None:
    """A browser that heard of it once more would bring another key, and be refused."""
    browser = site.browser()
    browser.get("/set")
    second = browser.copy()
    first = browser.get("/login")
    assert not bound or browser.device.register(first) == 200

    answer = second.get("/login")
    assert second.get("/").text == f"alice {{'x': 1}} bound={bound}"
    assert ("Secure-Session-Registration" in answer.headers) is not bound


@pytest.mark.parametrize("acts", ["invalidate", "invalidate,set"])
def test_signing_out_removes_the_proof_also_where_a_new_session_begins(acts: str, browser: Browser) -> None:
    """As with a word of farewell in it."""
    browser.get(f"/{acts}")

    assert BOUND not in browser.cookies


def test_a_session_that_was_signed_out_of_again_offers_nothing(site: BindingSite) -> None:
    """The new one after it belongs to nobody, and no registration of it could be answered."""
    answer = site.browser().get("/login,transact,invalidate,set")

    assert [cookie.partition("=")[0] for cookie in answer.set_cookies] == [TOKEN]
    assert "Secure-Session-Registration" not in answer.headers


ED25519 = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("key", "why"), [(b"no key", "cannot be read"), (ED25519, "of another kind")], ids=["no key", "Ed25519"]
)
def test_a_hostile_record_is_refused(
    key: bytes, why: str, browser: Browser, site: BindingSite, caplog: pytest.LogCaptureFixture
) -> None:
    """Promise 10: a refresh of it is one line in the log, and no 500."""
    repository = site.middleware.manager._sessions  # nobody else writes such a record
    found = cast("Found", repository.find(browser.session_id))
    binding = cast("Binding", found.envelope.binding)._replace(key=key)
    assert repository.replace(found, found.envelope._replace(binding=binding), found.values) is not None
    site.clock.advance(100)

    assert browser.device.refresh() == 400
    assert [why in record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [True]


def test_no_key_makes_its_signatures_slow_to_check() -> None:
    """An RSA key with a large exponent would: thirty times as slow as those of devices."""
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    key = rsa.RSAPublicNumbers(numbers.n - 2, numbers.n).public_key()

    with pytest.raises(keys.Refused, match="the exponent 65537"):
        keys.later(FakeDevice(None).sign("challenge"), key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_who_comes_without_a_session_has_no_signature_checked(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever can reach the site could let it work otherwise."""
    signed = browser.device.sign("challenge", first=True)
    monkeypatch.setattr(keys, "first", None)

    for cookie in (None, f"{TOKEN}={'A' * 40}", f"{BOUND}={browser.cookies[BOUND]}"):
        assert browser.post(REGISTRATION, {"Secure-Session-Response": signed}, cookie=cookie).status_code == 400


def test_no_traceback_shows_what_a_session_is_bound_with(browser: Browser, site: BindingSite) -> None:
    """Promise 11: reports of errors have the locals of each frame."""
    state = site.middleware.manager.load((Token(browser.cookies[TOKEN]),))
    binding = cast("Binding", cast("Found", state.found).envelope.binding)

    assert repr(binding) == "<Binding, bound>"
    assert repr(binding._replace(key=b"")) == "<Binding, offered>"
    assert repr(binding.secret)[2:-1] not in repr(state.found)


def test_of_many_proofs_the_last_eight_are_looked_at(browser: Browser, site: BindingSite) -> None:
    """So that a header full of them costs no more."""
    site.clock.advance(60)
    token, proof = (f"{name}={browser.cookies[name]}" for name in (TOKEN, BOUND))
    other = f"{BOUND}=0.{'A' * 32}"

    assert site.browser().get("/", cookie="; ".join((token, proof, *[other] * 7))).text.startswith("alice")
    assert site.browser().get("/", cookie="; ".join((token, proof, *[other] * 8))).text.startswith("None")


def test_a_new_name_of_the_cookie_signs_nobody_out() -> None:
    """What proves the session keeps its former name for as long as the browser has no reason to get another."""
    clock, store, old = FakeClock(), MemoryStore(), CookiePolicy(name="old")
    browser = BindingSite(store, clock=clock, cookie=old, namespace="site").browser().bind()
    clock.advance(60)
    renamed = CookiePolicy(name="new", former=(old,))
    browser.site = BindingSite(store, clock=clock, cookie=renamed, namespace="site")

    assert browser.get("/set/x").text == "alice {'x': 1} bound=True"
    assert set(browser.cookies) == {"__Host-new", "__Host-old-bound"}
    assert browser.device.refresh() == 200
    assert browser.device.cookie == "__Host-new-bound"
    assert "__Host-new-bound" in browser.cookies
    clock.advance(607)
    assert browser.get("/set/x").text.startswith("None")


def test_two_middlewares_that_would_answer_under_one_path_are_refused() -> None:
    """Promise 15: the outer one would refuse what browsers send to the inner one, and end their bindings."""
    inner = SessionMiddleware(
        several, "memory:", cookie=CookiePolicy(name="inner"), environ_key="inner.session", device_binding=DeviceBinding()
    )

    with pytest.raises(ConfigurationError, match=r"two session middlewares are nested.*DeviceBinding\(path=\.\.\.\)"):
        SessionMiddleware(inner, "memory:", device_binding=DeviceBinding())
    SessionMiddleware(inner, "memory:", device_binding=DeviceBinding(path="/.outer/"))
    SessionMiddleware(inner, "memory:")


@pytest.mark.parametrize(
    ("mount", "path"),
    [
        ("", "/.session/"),
        ("/", "/.session/"),
        ("/shop/", "/shop/.session/"),
        ("//evil.example", "/evil.example/.session/"),
        ('/a"\r\nX: \xe9\u0100', "/a%22%0D%0AX%3A%20%E9%3F/.session/"),
    ],
)
def test_wherever_a_site_lies_the_offer_names_its_own_host(mount: str, path: str, site: BindingSite) -> None:
    """What a proxy says of it may come from anybody: it is one path, in one header."""
    offer = site.browser().get("/login", SCRIPT_NAME=mount).headers["Secure-Session-Registration"]

    assert f';path="{path}registration";' in offer


def written(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    write = start_response("200 OK", [])
    session = get_session(environ)
    write(f"{session.user_id} ".encode())
    write(b"written")
    return []


def swallowed(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """It makes a page of its own of whatever fails."""
    try:
        return written(environ, start_response)
    except Exception:
        start_response("500 Internal Server Error", [], sys.exc_info())
        return [b"swallowed"]


def yielded(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    yield from ()
    session = get_session(environ)
    start_response("200 OK", [])
    yield f"{session.user_id} ".encode()
    yield b"yielded"


@pytest.mark.parametrize("how", [written, swallowed, yielded])
def test_a_link_gets_that_page_however_the_application_answers(how: Any) -> None:
    """Promise 14: none of the bytes of the application leave, whatever it makes of the error."""

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        answers = several if environ["PATH_INFO"] == "/login" else how
        return cast("Iterable[bytes]", answers(environ, start_response))

    site = BindingSite(app=app)
    browser = site.browser()
    assert browser.device.register(browser.get("/login")) == 200
    site.clock.advance(700)
    answer = browser.get("/", LINK)

    assert (answer.status_code, set(browser.cookies), answer.text.count("<!doctype")) == (200, {TOKEN}, 1)
    assert answer.text.endswith("<title>...</title>\n")
    assert browser.device.refresh() == 200
    assert browser.get("/", LINK).text.startswith("alice ")


def test_a_session_that_keeps_changing_is_bound_later(site: BindingSite, monkeypatch: pytest.MonkeyPatch) -> None:
    """A 503, after which a browser comes again: a 400 would be the end of it."""
    browser = site.browser()
    offer = browser.get("/login")
    with monkeypatch.context() as others:
        others.setattr("session_middleware.repository.pause", lambda number: None)
        others.setattr(site.store, "update", lambda *_, **__: False)
        assert browser.device.register(offer) == 503

    assert browser.device.register(offer) == 200
