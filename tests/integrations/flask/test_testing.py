"""What tests of an application do to the session: transactions, request contexts, and to serve it without the middleware."""

from collections.abc import Iterator

import flask
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from session_middleware import HeadersAlreadySent, StoreUnavailable
from session_middleware.integrations.flask import FlaskSession, session
from session_middleware.testing import FaultyStore
from tests.integrations.flask.serving import serve, verbs


class TestTransactions:
    """``client.session_transaction()`` opens and stores by itself, by the rules of the middleware."""

    def test_it_puts_the_cookie_into_the_jar(self, app: Flask, client: FlaskClient) -> None:
        """With the attributes that the middleware would give it."""
        serve(app, lambda: {"a": session["a"]})
        with client.session_transaction() as stored:
            stored["a"] = 1

        cookie = client.get_cookie("session")
        assert cookie is not None
        assert (cookie.http_only, cookie.same_site, cookie.path, cookie.secure) == (True, "Lax", "/", False)
        assert client.get("/").json == {"a": 1}

    def test_reading_stores_nothing(self, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 2: no record, no cookie."""
        with client.session_transaction() as stored:
            assert "a" not in stored
        assert client.get_cookie("session") is None
        assert kept.calls == []

    def test_it_changes_what_a_request_has_stored(self, app: Flask, client: FlaskClient) -> None:
        """The same session, the same token."""
        serve(app, lambda: session.setdefault("cart", []).append("tea"))
        client.get("/")
        before = client.get_cookie("session")
        with client.session_transaction() as stored:
            stored["cart"].append("coffee")
        client.get("/")

        assert client.get_cookie("session") == before
        with client.session_transaction() as stored:
            assert stored["cart"] == ["tea", "coffee", "tea"]

    def test_it_regenerates_and_ends(self, app: Flask, client: FlaskClient) -> None:
        """Promises 5 and 11: in the jar, too."""
        with client.session_transaction() as stored:
            stored["a"] = 1
        before = client.get_cookie("session")
        with client.session_transaction() as stored:
            app.session_interface.regenerate(stored)  # type: ignore[attr-defined]  # as Flask-Session has it
        assert client.get_cookie("session") not in (before, None)
        with client.session_transaction() as stored:
            assert stored["a"] == 1
            assert isinstance(stored, FlaskSession)
            stored.invalidate()
        assert client.get_cookie("session") is None

    def test_by_https_the_cookie_is_that_of_https(self, app: Flask, client: FlaskClient) -> None:
        """Design, "Cookie": Secure and ``__Host-``; a later transaction finds it without being told."""
        serve(app, lambda: {"a": session["a"]})
        with client.session_transaction(base_url="https://localhost") as stored:
            stored["a"] = 1
        cookie = client.get_cookie("__Host-session")
        assert cookie is not None
        assert cookie.secure

        assert client.get("/", base_url="https://localhost").json == {"a": 1}
        with client.session_transaction() as stored:
            stored["a"] = 2
        assert client.get("/", base_url="https://localhost").json == {"a": 2}

    def test_a_failure_of_the_store_is_the_tests_to_see(self, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 7: it is raised."""
        kept.fail("create")
        with pytest.raises(StoreUnavailable), client.session_transaction() as stored:
            stored["a"] = 1
        assert client.get_cookie("session") is None

    def test_a_request_context_has_a_session(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """``test_request_context()``: what it is used for is not stored, as with Flask's own session."""
        with client.session_transaction() as stored:
            stored["a"] = 1
        cookie = client.get_cookie("session")
        assert cookie is not None
        kept.calls.clear()

        with app.test_request_context(headers={"Cookie": f"session={cookie.value}"}):
            assert session["a"] == 1
            session["a"] = 2
            session.login("alice")  # asks for the mark of the user
        assert verbs(kept) == ["load", "load"]

    def test_a_with_block_reads_the_session_of_the_request(self, app: Flask, client: FlaskClient) -> None:
        """Flask, "Testing": also when it is new, and when the view has not used it."""
        serve(app, lambda: session.update(a=1))
        serve(app, lambda: None, "/untouched")
        with client:
            client.get("/")
            assert session["a"] == 1
            client.get("/untouched")
            assert session["a"] == 1
            with pytest.raises(HeadersAlreadySent):
                session.regenerate()


class TestUnwrapped:
    """An application that is served without the middleware, as when ``wsgi_app`` has been put back."""

    @pytest.fixture
    def client(self, app: Flask) -> FlaskClient:
        app.wsgi_app = app.extensions["session_middleware"].app  # type: ignore[method-assign]
        return app.test_client()

    def test_sessions_are_kept(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """The same cookie, the same headers, the same number of calls."""
        serve(app, lambda: session.setdefault("cart", []).append("tea"))
        serve(app, lambda: None, "/untouched")
        serve(app, lambda: {"cart": session["cart"]}, "/cart")
        first = client.get("/")
        (cookie,) = first.headers.getlist("Set-Cookie")

        name, *attributes = cookie.split("; ")
        assert name.startswith("session=")
        assert sorted(attributes) == ["HttpOnly", "Path=/", "SameSite=Lax"]
        assert first.headers.getlist("Vary") == ["Cookie"]
        assert first.headers["Cache-Control"] == "private, no-store"
        kept.calls.clear()
        assert client.get("/untouched").headers.getlist("Vary") == []
        assert kept.calls == []
        second = client.get("/cart")
        assert (second.json, second.headers.getlist("Set-Cookie")) == ({"cart": ["tea"]}, [])
        assert verbs(kept) == ["load"]

    def test_a_stream_is_stored_when_it_ends(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Design, "Commit": and a failure then is a line in the log, and no error."""
        serve(app, lambda: session.update(a=1))

        def stream() -> Response:
            def blocks() -> Iterator[str]:
                yield "block"
                session["late"] = True

            return Response(flask.stream_with_context(blocks()))

        serve(app, stream, "/stream")
        client.get("/")
        client.get("/stream", buffered=True)
        with client.session_transaction() as stored:
            assert dict(stored) == {"a": 1, "late": True}
            stored.pop("late")
        kept.fail("update")
        client.get("/stream", buffered=True)
        with client.session_transaction() as stored:
            assert dict(stored) == {"a": 1}

    def test_a_response_may_be_processed_again(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """As tests do, and as Flask does when a hook fails: what was changed since is stored, and no second cookie sent."""
        with app.test_request_context():
            session["a"] = 1
            response = app.process_response(Response())
            session["b"] = 2
            again = app.process_response(Response())
            response.close()
        assert len(response.headers.getlist("Set-Cookie")) == 1
        assert again.headers.getlist("Set-Cookie") == []
        assert verbs(kept) == ["create", "load", "update"]

    def test_a_failed_request_changes_nothing(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promises 6 and 16: by itself or because the store fails; no cookie, and nothing of the page."""

        def fail() -> None:
            session["a"] = 1
            raise RuntimeError("on purpose")

        serve(app, fail)
        serve(app, lambda: session.update(a=1) or "page", "/page")
        failed = client.get("/")
        assert (failed.status_code, failed.headers.getlist("Set-Cookie"), kept.calls) == (500, [], [])
        kept.fail("create")
        failed = client.get("/page")
        assert (failed.status_code, failed.headers.getlist("Set-Cookie")) == (500, [])
        assert "page" not in failed.text
