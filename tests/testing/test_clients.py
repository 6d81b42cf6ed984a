"""Signing in, looking at a session and ending it, for the test clients of WebTest, Flask and Werkzeug."""

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import flask
import flask_login
import pytest
import webtest
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import Client

from session_middleware import ConfigurationError, CookiePolicy, MemoryStore, SessionMiddleware
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.flask import Sessions
from session_middleware.testing import expire, manager_of, session_of, sign_in, signed_in_cookie
from tests.testing import sites

HTTPS = "https://localhost"


def text(response: Any) -> str:
    """Return the body of a response of any of the clients."""
    return str(response.text)


def get(client: Any, url: str) -> Any:
    """Ask for a URL with its scheme and host."""
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}"
    return client.get(parts.path, base_url=base) if isinstance(client, Client) else client.get(url)


CLIENTS: dict[str, Callable[[Any], Any]] = {"webtest": webtest.TestApp, "werkzeug": Client}


@pytest.fixture(params=CLIENTS)
def make_client(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    return CLIENTS[request.param]


@pytest.fixture(params=sites.SITES)
def client(request: pytest.FixtureRequest, make_client: Callable[[Any], Any]) -> Any:
    return make_client(sites.SITES[request.param]())


def test_who_was_signed_in_is_the_user_of_the_next_request(client: Any) -> None:
    """With the data that were given; and the id is that of the session."""
    session_id = sign_in(client, "alice", {"cart": ["tea"]})

    assert text(client.get("/")) == "alice ['tea']"
    found = session_of(client)
    assert found is not None
    assert (found.id, found.user_id, found.data["cart"]) == (session_id, "alice", ["tea"])


def test_an_expired_session_opens_nothing_and_the_cookie_is_still_sent(client: Any) -> None:
    """As with a browser that comes back the next day."""
    sign_in(client, "alice")

    assert expire(client)
    assert session_of(client) is None
    assert text(client.get("/")) == "None []"
    assert not expire(client)


def test_a_client_without_a_session_has_none(client: Any) -> None:
    """Absence is an answer."""
    assert session_of(client) is None
    assert not expire(client)


def test_the_data_of_an_anonymous_session_go_on(client: Any) -> None:
    """As where a user signs in: what was in the cart stays there."""
    client.get("/count")
    sign_in(client, "alice")
    found = session_of(client)

    assert found is not None
    assert dict(found.data) == {"n": 1}
    assert text(client.get("/count")) == "2"


def test_another_user_has_nothing_of_the_one_before(client: Any) -> None:
    """Promise 18: a sign-in is a boundary, for the help of tests, too."""
    before = sign_in(client, "alice", {"cart": ["tea"]})
    assert sign_in(client, "bob") != before

    assert text(client.get("/")) == "bob []"
    assert manager_of(client).find(before) is None


def test_what_the_application_sends_takes_the_place_of_the_cookie(client: Any) -> None:
    """There is one cookie of that name, however it came: a new secret replaces it, and a sign-out removes it."""
    sign_in(client, "alice")
    client.get("/new-secret")
    assert text(client.get("/")) == "alice []"

    client.get("/sign-out")
    if isinstance(client, Client):
        assert client.get_cookie("session") is None
    else:
        assert client.cookies == {}


@pytest.mark.parametrize("cookie", [CookiePolicy(), CookiePolicy(secure=True), CookiePolicy(name="sid", path="/shop")])
def test_a_user_is_signed_in_by_https(make_client: Callable[[Any], Any], cookie: CookiePolicy) -> None:
    """The name has its prefix there, and the attributes that belong to it."""
    client = make_client(sites.wsgi(cookie=cookie))
    sign_in(client, "alice", base_url=HTTPS)

    assert text(get(client, f"{HTTPS}/shop/")) == "alice []"
    found = session_of(client, base_url=HTTPS)
    assert found is not None
    assert found.user_id == "alice"
    assert expire(client, base_url=HTTPS)
    assert text(get(client, f"{HTTPS}/shop/")) == "None []"


def test_webtest_says_by_its_environ_where_requests_go() -> None:
    """A client that always comes by https needs no further word."""
    client = webtest.TestApp(sites.wsgi(), extra_environ={"wsgi.url_scheme": "https", "HTTP_HOST": "shop.example"})
    sign_in(client, "alice")

    assert [(cookie.name, cookie.domain) for cookie in client.cookiejar] == [("__Host-session", "shop.example")]
    assert text(client.get("/")) == "alice []"


def test_flask_says_by_its_settings_where_requests_go() -> None:
    """PREFERRED_URL_SCHEME and SERVER_NAME are what its client goes by, too."""
    site = sites.for_flask()
    site.config |= {"PREFERRED_URL_SCHEME": "https", "SERVER_NAME": "shop.example"}
    client = site.test_client()
    sign_in(client, "alice")

    assert client.get_cookie("__Host-session", "shop.example") is not None
    assert text(client.get("/")) == "alice []"
    assert expire(client)


def test_a_cookie_for_a_whole_domain_is_one_for_all_its_hosts(make_client: Callable[[Any], Any]) -> None:
    """With a domain in the policy the client sends it to each of them."""
    client = make_client(sites.wsgi(cookie=CookiePolicy(domain="shop.example")))
    sign_in(client, "alice", base_url="http://www.shop.example")

    assert text(get(client, "http://shop.example/")) == "alice []"
    assert session_of(client, base_url="http://shop.example") is not None


def test_the_middleware_is_found_inside_of_others() -> None:
    """ProxyFix, lint, another session middleware: the outermost one of ours is meant."""
    inner = sites.wsgi(environ_key="inner.session", cookie=CookiePolicy(name="inner"))
    outer = SessionMiddleware(inner, MemoryStore())

    assert manager_of(ProxyFix(outer)) is outer.manager
    assert manager_of(inner) is inner.manager
    assert manager_of(outer.manager) is outer.manager
    assert manager_of(BeakerMiddleware(outer)) is outer.manager


@pytest.mark.parametrize("nothing", [sites.app, object(), flask.Flask(__name__), webtest.TestApp(sites.app)])
def test_what_has_no_session_is_refused(nothing: Any) -> None:
    """And so is a client that is not known, though its application may be."""
    with pytest.raises(ConfigurationError, match="no SessionMiddleware is found"):
        manager_of(nothing)


def test_an_unknown_client_is_refused() -> None:
    """It is said what there is for it."""
    with pytest.raises(ConfigurationError, match="signed_in_cookie"):
        sign_in(sites.wsgi(), "alice")


def test_a_number_is_no_user(make_client: Callable[[Any], Any]) -> None:
    """As in the application's own login(): it is said what to write."""
    with pytest.raises(TypeError, match=r"write str\(...\)"):
        sign_in(make_client(sites.wsgi()), 17)


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_cookie_header_opens_the_session(scheme: str) -> None:
    """For what keeps no cookies: a request that is written by hand, or another program."""
    site = sites.wsgi()
    cookie = signed_in_cookie(site, "alice", {"cart": ["tea"]}, scheme=scheme)
    client = webtest.TestApp(site)

    assert cookie.startswith("__Host-session=" if scheme == "https" else "session=")
    assert text(client.get(f"{scheme}://localhost/", headers={"Cookie": cookie})) == "alice ['tea']"


def test_a_manager_has_no_cookie() -> None:
    """Only an application, or a client of it, says what the cookie is called."""
    with pytest.raises(ConfigurationError, match="a cookie belongs to an application"):
        signed_in_cookie(sites.wsgi().manager, "alice")


class User(flask_login.UserMixin):  # type: ignore[misc]  # Flask-Login has no types
    def __init__(self, name: str) -> None:
        self.id = name


def test_flask_login_knows_who_was_signed_in() -> None:
    """Its current_user is the one that its own user loader returns, and login_required lets them in."""
    site = flask.Flask(__name__)
    site.secret_key = "of Flask-Login"
    Sessions(site, MemoryStore())
    logins = flask_login.LoginManager(site)
    logins.user_loader(User)

    @site.route("/private")
    @flask_login.login_required  # type: ignore[untyped-decorator]  # Flask-Login has no types
    def private() -> str:
        return f"{flask_login.current_user.id} {flask.session.user_id}"  # type: ignore[attr-defined]

    client = site.test_client()
    assert client.get("/private").status_code == 401
    sign_in(client, "alice")
    assert client.get("/private").text == "alice alice"
    expire(client)
    assert client.get("/private").status_code == 401
