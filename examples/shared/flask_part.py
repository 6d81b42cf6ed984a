"""The part that is written with Flask."""

from typing import Any

from flask import Flask, abort, request

from examples.shared.users import USERS, seen
from session_middleware.integrations.flask import Sessions, session

app = Flask(__name__)
Sessions(app)


@app.get("/")
def home() -> dict[str, Any]:
    return seen(session, session.user_id, "flask")


@app.post("/login")
def login() -> dict[str, Any]:
    user = request.form["user"]
    if user not in USERS:  # or the password is wrong: examples/demo checks one
        abort(403)
    session.login(user)
    return home()


@app.post("/logout")
def logout() -> dict[str, Any]:
    session.invalidate()
    return {"framework": "flask", "user": session.user_id}
