"""Sessions in a Django application, here of one file: ``request.session`` is kept on the server.

Serve it, and use it:

    gunicorn examples.django_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

import secrets
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

USERS = {"alice", "bob"}

settings.configure(
    SESSION_ENGINE="session_middleware.integrations.django",
    MIDDLEWARE=["session_middleware.integrations.django.SessionMiddleware"],  # in place of Django's own
    SESSION_COOKIE_NAME="session",
    SESSION_EXPIRE_AT_BROWSER_CLOSE=True,
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),
)


def view(session: Any) -> JsonResponse:
    cart = session.get("cart", {"items": []})
    return JsonResponse({"user": session.user_id, "visits": session.get("visits", 0), "cart": cart["items"]})


@require_GET
def home(request: HttpRequest) -> JsonResponse:
    request.session["visits"] = request.session.get("visits", 0) + 1
    return view(request.session)


@require_POST
def add_to_cart(request: HttpRequest) -> JsonResponse:
    request.session.setdefault("cart", {"items": []})["items"].append(request.POST.get("item", ""))
    return view(request.session)


@require_POST
def login(request: HttpRequest) -> JsonResponse:
    user = request.POST.get("user")
    if user not in USERS:  # or the password is wrong: examples/lab checks one
        raise PermissionDenied
    request.session.login(user)  # django.contrib.auth.login() does it by itself
    return view(request.session)


@require_POST
def logout(request: HttpRequest) -> JsonResponse:
    request.session.flush()  # django.contrib.auth.logout() does it by itself
    return view(request.session)


urlpatterns = [path("", home), path("cart", add_to_cart), path("login", login), path("logout", logout)]

application = get_wsgi_application()
