"""Sessions in a Flask application: ``flask.session`` is kept on the server.

Serve it, and use it:

    gunicorn examples.flask_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

from typing import Any

from flask import Flask, abort, request

from session_middleware.integrations.flask import Sessions, session  # flask.session, with its type

USERS = {"alice", "bob"}

app = application = Flask(__name__)
Sessions(app)


def view() -> dict[str, Any]:
    cart = session.get("cart", {"items": []})
    return {"user": session.user_id, "visits": session.get("visits", 0), "cart": cart["items"]}


@app.get("/")
def home() -> dict[str, Any]:
    session["visits"] = session.get("visits", 0) + 1
    return view()


@app.post("/cart")
def add_to_cart() -> dict[str, Any]:
    session.setdefault("cart", {"items": []})["items"].append(request.form["item"])
    return view()


@app.post("/login")
def login() -> dict[str, Any]:
    user = request.form["user"]
    if user not in USERS:  # or the password is wrong: examples/lab checks one
        abort(403)
    session.login(user)
    return view()


@app.post("/logout")
def logout() -> dict[str, Any]:
    session.invalidate()
    return view()
