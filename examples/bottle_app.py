"""Sessions in a Bottle application.

Serve it, and use it:

    gunicorn examples.bottle_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

from typing import Any

from bottle import Bottle, abort, request

from session_middleware import Session
from session_middleware.integrations.bottle import SessionPlugin

USERS = {"alice", "bob"}

app = application = Bottle()
app.install(SessionPlugin())


def view(session: Session) -> dict[str, Any]:
    cart = session.get("cart", {"items": []})
    return {"user": session.user_id, "visits": session.get("visits", 0), "cart": cart["items"]}


@app.get("/")
def home(session: Session) -> dict[str, Any]:
    session["visits"] = session.get("visits", 0) + 1
    return view(session)


@app.post("/cart")
def add_to_cart(session: Session) -> dict[str, Any]:
    session.setdefault("cart", {"items": []})["items"].append(request.forms.getunicode("item", ""))
    return view(session)


@app.post("/login")
def login(session: Session) -> dict[str, Any]:
    user = request.forms.getunicode("user")
    if user not in USERS:  # or the password is wrong: examples/lab checks one
        abort(403)
    session.login(user)
    return view(session)


@app.post("/logout")
def logout() -> dict[str, Any]:
    request.session.invalidate()  # the same session, where no argument is at hand
    return view(request.session)
