"""The part that is written with Django. ``django.contrib.auth`` could sign in here too: with the same user ids."""

import secrets
from typing import Any

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from examples.shared.users import USERS, seen

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    MIDDLEWARE=["session_middleware.integrations.django.SessionMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),
    SESSION_ENGINE="session_middleware.integrations.django",
)


@require_GET
def home(request: HttpRequest) -> JsonResponse:
    return view(request)


@require_POST
def login(request: HttpRequest) -> JsonResponse:
    user = request.POST.get("user")
    if user not in USERS:  # or the password is wrong: examples/demo checks one
        raise PermissionDenied
    request.session.login(user)
    return view(request)


@require_POST
def logout(request: HttpRequest) -> JsonResponse:
    request.session.flush()
    return JsonResponse({"framework": "django", "user": request.session.user_id})


def view(request: HttpRequest) -> JsonResponse:
    session: Any = request.session
    return JsonResponse(seen(session, session.user_id, "django"))


urlpatterns = [path("", home), path("login", login), path("logout", logout)]

app = get_wsgi_application()
