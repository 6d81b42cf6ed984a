"""In Flask, too, the session and its id stay while the token in the cookie changes."""

from typing import Any

import flask
import pytest
from flask import Flask

from session_middleware.integrations.flask import session
from session_middleware.testing import FakeClock
from tests.integrations.flask.serving import manager_of, serve


class TestSecrets:
    """The session and its id stay while the token in the cookie changes."""

    @pytest.fixture
    def app(self, app: Flask) -> Flask:
        serve(app, lambda: {"id": session.id, "user": session.user_id, "data": dict(session)}, "/show")
        serve(app, lambda: session.update(flask.request.args.to_dict()), "/put")
        serve(app, lambda: session.regenerate(), "/regenerate")
        serve(app, lambda: session.login("alice"), "/login")
        serve(app, lambda: session.login("alice", keep=("a",)), "/login-keep")
        return app

    @pytest.fixture(params=["served", "unwrapped"], autouse=True)
    def way(self, request: pytest.FixtureRequest, app: Flask) -> None:
        """With the middleware, and as Flask alone opens and stores its sessions."""
        if request.param == "unwrapped":
            app.wsgi_app = app.extensions["session_middleware"].app  # type: ignore[method-assign]

    @staticmethod
    def visit(app: Flask, path: str, token: str | None = None) -> tuple[Any, str | None]:
        """Make a request; return the JSON of the response, and the token that it sets."""
        client = app.test_client(use_cookies=False)
        response = client.get(path, headers={} if token is None else {"Cookie": f"session={token}"})
        assert response.status_code == 200
        cookies = response.headers.getlist("Set-Cookie")
        return response.json if response.is_json else None, cookies[0].partition(";")[0][8:] if cookies else None

    def begin(self, app: Flask, path: str = "/put?a=1") -> str:
        token = self.visit(app, path)[1]
        assert token is not None
        return token

    def follow(self, app: Flask, path: str, token: str) -> str:
        fresh = self.visit(app, path, token)[1]
        assert fresh is not None
        return fresh

    def test_the_id_is_stable(self, app: Flask) -> None:
        """Promise 17: through ``regenerate()`` and sign-in, ``sid`` included."""
        tokens = [self.begin(app)]
        for path in ("/regenerate", "/login", "/regenerate", "/login"):
            tokens.append(self.follow(app, path, tokens[-1]))
        shown, _ = self.visit(app, "/show", tokens[-1])
        assert shown == {"id": tokens[0][:12], "user": "alice", "data": {"a": "1"}}
        assert ({token[:12] for token in tokens}, len(set(tokens))) == ({shown["id"]}, 5)

    def test_a_token_from_before_a_sign_in_reads_what_was_there_for_ten_seconds(self, app: Flask, clock: FakeClock) -> None:
        """Design, "Secrets": what it writes is dropped; afterwards it is as an unknown one."""
        before = self.begin(app)
        after = self.follow(app, "/login", before)
        for _ in range(2):
            clock.advance(4.9)
            shown, _ = self.visit(app, "/show", before)
            assert (shown["user"], shown["data"]) == (None, {"a": "1"})
            assert self.visit(app, "/put?b=2", before) == (None, None)
        clock.advance(0.2)
        shown, _ = self.visit(app, "/show", before)
        assert (shown["user"], shown["data"]) == (None, {})
        another = self.follow(app, "/put?b=2", before)
        assert another[:12] != before[:12]
        assert self.visit(app, "/show", after)[0] == {"id": before[:12], "user": "alice", "data": {"a": "1"}}

    def test_a_double_click_signs_in_whichever_answer_is_kept(self, app: Flask) -> None:
        """Promise 20: both have a secret of the same session."""
        before = self.begin(app)
        for after in [self.follow(app, "/login", before) for _ in range(2)]:
            assert self.visit(app, "/show", after)[0] == {"id": before[:12], "user": "alice", "data": {"a": "1"}}

    def test_only_what_is_to_be_kept_goes_on(self, app: Flask) -> None:
        """``login(user, keep=...)``, as everywhere."""
        before = self.begin(app, "/put?a=1&b=2")
        after = self.follow(app, "/login-keep", before)
        assert self.visit(app, "/show", after)[0]["data"] == {"a": "1"}

    def test_a_sign_in_is_ended_by_a_sign_out_everywhere_from_before_the_password_was_checked(self, app: Flask) -> None:
        """Promise 19: with ``login(user, mark=...)``."""
        manager = manager_of(app)

        def sign_in() -> None:
            mark = manager.mark_of("alice")
            manager.revoke_all("alice")
            session.login("alice", mark=mark)

        serve(app, sign_in, "/slow")
        assert self.visit(app, "/slow", self.begin(app)) == (None, None)
        assert manager.sessions_of("alice") == []

    def test_a_session_that_is_listed_can_be_ended_while_it_gets_a_new_secret(self, app: Flask) -> None:
        """Promises 17 and 19: in the middle of the request that regenerates."""
        manager = manager_of(app)

        def regenerate() -> None:
            session.regenerate()
            (listed,) = manager.sessions_of("alice")
            assert manager.revoke(listed.id)

        serve(app, regenerate, "/ended")
        token = self.follow(app, "/login", self.begin(app))
        assert self.visit(app, "/ended", token) == (None, None)
        shown, _ = self.visit(app, "/show", token)
        assert (shown["user"], shown["data"], manager.sessions_of("alice")) == (None, {}, [])
