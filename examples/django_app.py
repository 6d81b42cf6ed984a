"""Sessions in a Django application, here of one file. ``django.contrib.sessions`` is not used.

Serve it, and use it:

    gunicorn examples.django_app:application
    curl -b jar -c jar localhost:8000/
    curl -b jar -c jar localhost:8000/cart -d item=tea
    curl -b jar -c jar localhost:8000/login -d user=alice
    curl -b jar -c jar localhost:8000/logout -X POST
"""

import secrets

from django.conf import settings
from django.core.exceptions import PermissionDenied
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path
from django.views.decorators.http import require_GET, require_POST

from session_middleware import Session, SessionMiddleware, get_session

USERS = {"alice", "bob"}

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1", "localhost"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=secrets.token_urlsafe(),
)


def view(session: Session) -> JsonResponse:
    cart = session.get("cart", {"items": []})
    return JsonResponse({"user": session.user_id, "visits": session.get("visits", 0), "cart": cart["items"]})


@require_GET
def home(request: WSGIRequest) -> JsonResponse:
    session = get_session(request.environ)
    session["visits"] = session.get("visits", 0) + 1
    return view(session)


@require_POST
def add_to_cart(request: WSGIRequest) -> JsonResponse:
    session = get_session(request.environ)
    session.setdefault("cart", {"items": []})["items"].append(request.POST.get("item", ""))
    return view(session)


@require_POST
def login(request: WSGIRequest) -> JsonResponse:
    session = get_session(request.environ)
    user = request.POST.get("user")
    if user not in USERS:  # or the password is wrong: examples/demo checks one
        raise PermissionDenied
    session.login(user)
    return view(session)


@require_POST
def logout(request: WSGIRequest) -> JsonResponse:
    session = get_session(request.environ)
    session.invalidate()
    return view(session)


urlpatterns = [path("", home), path("cart", add_to_cart), path("login", login), path("logout", logout)]

application = SessionMiddleware(get_wsgi_application())
