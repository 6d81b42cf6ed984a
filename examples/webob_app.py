"""Sessions in a WebOb application.

Serve it, and use it:

    gunicorn examples.webob_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

from webob import Response
from webob.dec import wsgify
from webob.exc import HTTPForbidden, HTTPNotFound

from session_middleware import SessionMiddleware
from session_middleware.integrations.webob import Request

USERS = {"alice", "bob"}


@wsgify(RequestClass=Request)
def app(request: Request) -> Response:
    session = request.session
    match request.method, request.environ["PATH_INFO"]:
        case "GET", "/":
            session["visits"] = session.get("visits", 0) + 1
        case "POST", "/cart":
            session.setdefault("cart", {"items": []})["items"].append(str(request.POST.get("item", "")))
        case "POST", "/login":
            user = request.POST.get("user")
            if user not in USERS:  # or the password is wrong: examples/lab checks one
                raise HTTPForbidden
            session.login(user)
        case "POST", "/logout":
            session.invalidate()
        case _:
            raise HTTPNotFound
    cart = session.get("cart", {"items": []})
    return Response(json={"user": session.user_id, "visits": session.get("visits", 0), "cart": cart["items"]})


application = SessionMiddleware(app)
