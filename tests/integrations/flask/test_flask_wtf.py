"""The CSRF protection of Flask-WTF works unchanged on our session."""

from typing import Any

import flask
import flask_wtf
import pytest
from flask import Flask
from flask.testing import FlaskClient

from session_middleware.integrations.flask import session
from session_middleware.testing import FakeClock
from tests.integrations.flask.serving import serve


class TestFlaskWTF:
    """Its CSRF protection works unchanged; nothing here is said to it."""

    @pytest.fixture
    def app(self, app: Flask) -> Flask:
        app.secret_key = "signs the tokens of forms"
        flask_wtf.CSRFProtect(app)
        form = "{{ csrf_token() }}"

        def sign_in() -> Any:
            session.login(flask.request.form["user"])

        def sign_out() -> Any:
            session.invalidate()

        serve(app, lambda: flask.render_template_string(form), "/form")
        serve(app, lambda: session.update(saved=True) or "saved", "/save")
        serve(app, lambda: sign_in() or flask.render_template_string(form), "/login")
        serve(app, lambda: sign_out() or flask.render_template_string(form), "/logout")
        serve(app, lambda: str(flask_wtf.FlaskForm().validate_on_submit()), "/flask-form")
        return app

    def post(self, client: FlaskClient, path: str, token: str, **data: str) -> tuple[int, str]:
        response = client.post(path, data={"csrf_token": token, **data})
        return response.status_code, response.text

    def test_a_form_needs_its_token(self, client: FlaskClient) -> None:
        """The token of the session, or a 400."""
        token = client.get("/form").text
        assert self.post(client, "/save", token) == (200, "saved")
        assert self.post(client, "/flask-form", token) == (200, "True")
        assert self.post(client, "/save", "another")[0] == 400
        client.delete_cookie("session")
        assert self.post(client, "/save", token)[0] == 400

    def test_a_token_from_before_the_sign_in_is_good_after_it(self, client: FlaskClient) -> None:
        """An anonymous session keeps its data: a form in another tab still works, and so does the one that is there."""
        token, other_tab = client.get("/form").text, client.get("/form").text
        status, next_token = self.post(client, "/login", token, user="alice")
        assert status == 200
        for each in (token, other_tab, next_token):
            assert self.post(client, "/save", each) == (200, "saved")

    def test_a_form_that_is_on_its_way_while_someone_signs_in_is_let_through(
        self, app: Flask, client: FlaskClient, clock: FakeClock
    ) -> None:
        """Promise 20: the second click of a double click has the cookie from before; after 10 s nothing is known of it."""
        token = client.get("/form").text
        before = client.get_cookie("session")
        assert before is not None
        self.post(client, "/login", token, user="alice")
        for wait, status in ((0, 200), (9, 200), (2, 400)):
            clock.advance(wait)
            late = app.test_client()
            late.set_cookie("session", before.value)
            assert self.post(late, "/save", token)[0] == status
            assert self.post(late, "/login", token, user="alice")[0] == status
        with client:
            client.get("/form")
            assert "saved" not in session

    def test_a_page_after_a_sign_in_that_keeps_no_token_has_one_of_its_own(self, app: Flask, client: FlaskClient) -> None:
        """``keep=("cart",)``: the old token goes with all else, and the form on the answer works."""

        def sign_in() -> str:
            session.login("alice", keep=("cart",))
            return flask.render_template_string("{{ csrf_token() }}")

        serve(app, sign_in, "/login-keep")
        token = client.get("/form").text
        _, next_token = self.post(client, "/login-keep", token)
        assert self.post(client, "/save", token)[0] == 400
        assert self.post(client, "/save", next_token) == (200, "saved")

    def test_a_page_after_the_end_of_a_session_has_a_token_of_the_next(self, client: FlaskClient) -> None:
        """Sign-out, or sign-in as someone else: the old token is dead, and the form on the answer works."""
        token = client.get("/form").text
        self.post(client, "/login", token, user="alice")
        _, next_token = self.post(client, "/login", token, user="bob")
        assert self.post(client, "/save", token)[0] == 400
        assert self.post(client, "/save", next_token) == (200, "saved")
        _, last_token = self.post(client, "/logout", next_token)
        assert self.post(client, "/save", next_token)[0] == 400
        assert self.post(client, "/save", last_token) == (200, "saved")
