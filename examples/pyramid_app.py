"""Sessions in a Pyramid application, with Pyramid's own ``remember`` and ``forget``.

Serve it, and use it:

    gunicorn examples.pyramid_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

from typing import Any

from pyramid.authentication import SessionAuthenticationHelper
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.security import forget, remember

USERS = {"alice", "bob"}


class SecurityPolicy:
    """Who signed in is in the session, where Pyramid's helper keeps it."""

    def __init__(self) -> None:
        helper = SessionAuthenticationHelper()
        self.remember, self.forget, self.authenticated_userid = helper.remember, helper.forget, helper.authenticated_userid

    def identity(self, request: Request) -> str | None:
        user = self.authenticated_userid(request)
        return user if user in USERS else None


def view(request: Request) -> dict[str, Any]:
    session = request.session
    cart = session.get("cart", {"items": []})
    return {"user": request.identity, "visits": session.get("visits", 0), "cart": cart["items"]}


def home(request: Request) -> dict[str, Any]:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return view(request)


def add_to_cart(request: Request) -> dict[str, Any]:
    request.session.setdefault("cart", {"items": []})["items"].append(request.POST.get("item", ""))
    return view(request)


def login(request: Request) -> dict[str, Any]:
    user = request.POST.get("user")
    if user not in USERS:  # or the password is wrong: examples/lab checks one
        raise HTTPForbidden
    remember(request, user)
    return view(request)


def logout(request: Request) -> dict[str, Any]:
    forget(request)
    return view(request)


with Configurator() as config:
    config.include("session_middleware.integrations.pyramid")
    config.set_security_policy(SecurityPolicy())
    for path, method, handler in (
        ("/", "GET", home),
        ("/cart", "POST", add_to_cart),
        ("/login", "POST", login),
        ("/logout", "POST", logout),
    ):
        config.add_route(path, path, request_method=method)
        config.add_view(handler, route_name=path, renderer="json")
    application = config.make_wsgi_app()
