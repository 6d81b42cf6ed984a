"""What becomes of the session, and of the response, where something fails in a Flask application."""

from collections.abc import Callable, Iterator
from typing import Any

import flask
import pytest
from flask import Flask, Response
from flask.testing import FlaskClient

from session_middleware import HeadersAlreadySent, PayloadError, SessionTooLarge, StoreUnavailable
from session_middleware.integrations.flask import session
from session_middleware.testing import FaultyStore
from tests.integrations.flask.serving import serve, verbs


def regenerates() -> None:
    session["a"] = object()
    session.regenerate()


class TestErrors:
    def test_a_failed_request_changes_nothing(self, app: Flask, client: FlaskClient) -> None:
        """Promise 16: with a handler of the application's own, too, but a 404 is no failure."""
        app.register_error_handler(ZeroDivisionError, lambda error: ("sorry", 500))
        app.register_error_handler(404, lambda error: (str(session.setdefault("missed", 1)), 404))

        def divide() -> None:
            session["a"] = 1 / (1 - session.setdefault("b", 1))

        serve(app, divide)
        assert (client.get("/").text, client.get("/").headers.get("Set-Cookie")) == ("sorry", None)
        assert client.get("/nowhere").status_code == 404
        with client.session_transaction() as stored:
            assert dict(stored) == {"missed": 1}

    def test_a_failed_store_is_a_503(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Promise 6: also where Flask has made an error page of it."""
        serve(app, lambda: session.update(a=1) or "page")
        serve(app, lambda: session.get("a") or "page", "/read")
        kept.fail("create")
        assert client.get("/").status_code == 503
        client.get("/")
        kept.fail("load")
        failed = client.get("/read")
        assert (failed.status_code, failed.headers["Retry-After"], "page" in failed.text) == (503, "5", False)

    @pytest.mark.parametrize(
        ("change", "verb", "cause", "status"),
        [
            (lambda: session.update(a=object()), None, PayloadError, 500),
            (lambda: session.update(a="x" * 300_000), None, SessionTooLarge, 500),
            (lambda: session.update(a=1), "update", StoreUnavailable, 503),
            (regenerates, None, PayloadError, 500),
        ],
    )
    def test_flask_handles_what_keeps_a_session_from_being_stored(
        self,
        app: Flask,
        client: FlaskClient,
        kept: FaultyStore,
        change: Callable[[], Any],
        verb: str | None,
        cause: type[Exception],
        status: int,
    ) -> None:
        """As with Flask's own sessions: the handler of 500 makes the page, and the signal, for Sentry, is sent once."""
        seen: list[Any] = []

        @app.errorhandler(500)
        def sorry(error: Any) -> tuple[str, int]:
            seen.append(error.original_exception)
            return "sorry", 500

        serve(app, lambda: session.update(b=1))
        serve(app, lambda: change() or "page", "/change")
        client.get("/")
        if verb:
            kept.fail(verb)

        def received(_: object, exception: Exception, **__: object) -> None:
            seen.append(exception)

        with flask.got_request_exception.connected_to(received, app):
            answer = client.get("/change")
        kept.heal()
        assert [type(error) for error in seen] == [cause, cause]
        assert (answer.status_code, "page" in answer.text, answer.headers.get("Set-Cookie")) == (status, False, None)
        assert status == 503 or answer.text == "sorry"
        with client.session_transaction() as stored:
            assert dict(stored) == {"b": 1}

    def test_a_sign_in_that_fails_after_the_view_changes_nothing(self, app: Flask, client: FlaskClient) -> None:
        """Promise 16: the new secret is stored when its cookie leaves, or the browser would be signed out."""
        serve(app, lambda: session.update(a=1))
        serve(app, lambda: session.login("alice"), "/sign-in")
        serve(app, lambda: dict(session), "/show")
        fails = [True]

        @app.teardown_request
        def teardown(error: BaseException | None) -> None:
            if fails and "sign-in" in flask.request.path:
                raise RuntimeError("on purpose")

        client.get("/")

        with pytest.raises(RuntimeError, match="on purpose"):
            client.get("/sign-in")
        fails.clear()
        assert client.get("/show").json == {"a": 1}
        manager = app.extensions["session_middleware"].manager
        assert manager.sessions_of("alice") == []

    def test_the_page_of_the_application_is_sent_where_it_says_that_it_is_unavailable(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Design, "When the store fails": whoever handles it answers, here to what came up after the view."""
        app.register_error_handler(500, lambda error: ("our own page", 503))
        serve(app, lambda: session.update(a=1))
        kept.fail("create")

        answer = client.get("/")
        assert (answer.status_code, answer.text, answer.headers.get("Set-Cookie")) == (503, "our own page", None)

    def test_a_session_is_stored_once_and_told_once(self, app: Flask, client: FlaskClient, kept: FaultyStore) -> None:
        """Design, "Commit": that Flask hears of errors costs no second write, and the cookie comes with the response."""

        def more() -> None:
            session.setdefault("list", []).append(1)

        def sign_in() -> None:
            more()
            session.login("alice")

        serve(app, sign_in)
        serve(app, more, "/more")
        assert len(client.get("/").headers.getlist("Set-Cookie")) == 1
        assert verbs(kept) == ["load", "create", "load"]  # the first and the last look at the user's mark
        kept.calls.clear()
        assert "Set-Cookie" not in client.get("/more").headers
        assert verbs(kept) == ["load", "update"]

    def test_what_cannot_be_sent_is_found_before_anything_is_stored(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Promise 6: the browser would never learn of the session."""

        @app.after_request
        def unsendable(response: Response) -> Response:
            response.status = "200 a\0b"
            return response

        serve(app, lambda: session.update(a=1))
        with pytest.raises(ValueError, match="cannot be sent"):
            client.get("/", buffered=True)
        assert "create" not in verbs(kept)

    def test_what_a_stream_has_changed_is_left_to_the_middleware(
        self, app: Flask, client: FlaskClient, kept: FaultyStore
    ) -> None:
        """Promise 16: a stream that fails at its beginning is a failed request, and changes nothing."""

        def stream() -> Response:
            session["a"] = 1

            def blocks() -> Iterator[str]:
                yield str(1 / (1 - len(session)))

            return Response(flask.stream_with_context(blocks()))

        serve(app, stream)
        with pytest.raises(ZeroDivisionError):
            client.get("/")
        assert "create" not in verbs(kept)

    def test_a_teardown_function_can_use_the_session(self, app: Flask, client: FlaskClient) -> None:
        """It runs before the response starts, so what it writes is stored."""
        app.teardown_request(lambda error: session.update(torn_down=True))
        serve(app, lambda: None)
        client.get("/")

        with client.session_transaction() as stored:
            assert dict(stored) == {"torn_down": True}

    def test_a_hook_that_needs_a_cookie_too_late_is_told(self, app: Flask) -> None:
        """Design, "Commit": a first write while the response is being sent."""

        def stream() -> Response:
            def blocks() -> Iterator[str]:
                yield "block"
                session["a"] = 1

            return Response(flask.stream_with_context(blocks()))

        serve(app, stream)
        with pytest.raises(HeadersAlreadySent):
            assert app.test_client().get("/").text
