"""The part that is written with Pyramid. Its security policy makes ``remember`` and ``forget`` those of all parts."""

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.security import forget, remember

from examples.shared.users import USERS, seen


class SecurityPolicy:
    """Who is signed in, the session knows, whichever application did it."""

    def identity(self, request: Request) -> str | None:
        user = request.session.user_id
        return user if user in USERS else None

    def authenticated_userid(self, request: Request) -> str | None:
        return self.identity(request)

    def remember(self, request: Request, userid: str) -> list[tuple[str, str]]:
        request.session.login(userid)
        return []

    def forget(self, request: Request) -> list[tuple[str, str]]:
        request.session.invalidate()
        return []


def home(request: Request) -> dict[str, Any]:
    return seen(request.session, request.authenticated_userid, "pyramid")


def login(request: Request) -> dict[str, Any]:
    user = request.POST.get("user")
    if user not in USERS:  # or the password is wrong: examples/demo checks one
        raise HTTPForbidden
    remember(request, user)
    return home(request)


def logout(request: Request) -> dict[str, Any]:
    forget(request)
    return {"framework": "pyramid", "user": request.authenticated_userid}


with Configurator() as config:
    config.include("session_middleware.integrations.pyramid")
    config.set_security_policy(SecurityPolicy())
    for path, method, handler in (("/", "GET", home), ("/login", "POST", login), ("/logout", "POST", logout)):
        config.add_route(path, path, request_method=method)
        config.add_view(handler, route_name=path, renderer="json")
    app = config.make_wsgi_app()
