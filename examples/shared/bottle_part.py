"""The part that is written with Bottle."""

from typing import Any

from bottle import Bottle, abort, request

from examples.shared.users import USERS, seen
from session_middleware import Session
from session_middleware.integrations.bottle import SessionPlugin

app = Bottle()
app.install(SessionPlugin())


def view(session: Session) -> dict[str, Any]:
    return seen(session, session.user_id, "bottle")


@app.get("/")
def home(session: Session) -> dict[str, Any]:
    return view(session)


@app.post("/login")
def login(session: Session) -> dict[str, Any]:
    user = request.forms.getunicode("user")
    if user not in USERS:  # or the password is wrong: examples/demo checks one
        abort(403)
    session.login(user)
    return view(session)


@app.post("/logout")
def logout(session: Session) -> dict[str, Any]:
    session.invalidate()
    return {"framework": "bottle", "user": session.user_id}
