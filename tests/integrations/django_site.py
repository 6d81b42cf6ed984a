"""A Django project whose requests do with the session what a test asks. Also served by gunicorn."""

import os
import threading
from collections.abc import Iterable
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import django
from django.conf import settings

from session_middleware import Store

OURS = "session_middleware.integrations.django.SessionMiddleware"
UNAVAILABLE = "session_middleware.integrations.django.UnavailableMiddleware"
DJANGOS = "django.contrib.sessions.middleware.SessionMiddleware"


def middleware(*sessions: str) -> list[str]:
    return [
        *sessions,
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ]


# Threads share it, as long as none of them writes.
IN_MEMORY = "file:users?mode=memory&cache=shared"

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        AUTH_PASSWORD_VALIDATORS=[],
        CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ.get("SITE_DATABASE", IN_MEMORY)}},
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
        ],
        LOGGING_CONFIG=None,
        LOGIN_REDIRECT_URL="/act/show",
        MIDDLEWARE=middleware(*os.environ.get("SITE_SESSIONS", OURS).split()),
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF=__name__,
        SECRET_KEY="for these tests alone",
        SESSION_COOKIE_NAME="session",
        SESSION_ENGINE="session_middleware.integrations.django",
        STATIC_URL="/static/",
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        USE_TZ=True,
    )
    django.setup()

from django.contrib import admin, auth, messages  # noqa: E402
from django.contrib.auth.views import LoginView, LogoutView, PasswordChangeView  # noqa: E402
from django.core.exceptions import PermissionDenied  # noqa: E402
from django.core.handlers.wsgi import WSGIHandler  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse  # noqa: E402
from django.http import HttpResponseRedirect as Redirect  # noqa: E402
from django.middleware.csrf import get_token  # noqa: E402
from django.urls import path  # noqa: E402

from tests.integrations.acts import ACTS, WITHIN, blocks, fail  # noqa: E402

_BOTH = threading.Barrier(2)


def make(store: Store | str = "sqlite:///sessions.sqlite3", **others: Any) -> WSGIApplication:
    """Return the site with its sessions in *store*; *others*: what else ``SESSION_MIDDLEWARE`` says."""
    handler = WSGIHandler()
    options = {"store": store, **others}

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        settings.SESSION_MIDDLEWARE = options
        answer: Iterable[bytes] = handler(environ, start_response)
        return answer

    return application


def make_with_users() -> WSGIApplication:
    """Return the site with its sessions and its users in files of the working directory."""
    add_users()
    return make()


def add_users() -> None:
    from django.contrib.auth.models import Group, User

    call_command("migrate", verbosity=0, run_syncdb=True)
    User.objects.create_superuser("alice", password="wonder")
    User.objects.create_user("bob", password="builder")
    Group.objects.create(name="readers")


def untouched(request: HttpRequest) -> HttpResponse:
    return HttpResponse("untouched")


def act(request: HttpRequest, name: str) -> JsonResponse:
    return JsonResponse(ACTS[name](request.session, request.GET))


def failing(request: HttpRequest) -> HttpResponse:
    answer: HttpResponse = fail(request.session)
    return answer


def refuse(request: HttpRequest) -> HttpResponse:
    request.session["refused"] = "yes"
    raise PermissionDenied


def leave(request: HttpRequest) -> HttpResponse:
    request.session["left"] = "yes"
    return Redirect("/untouched")


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(blocks(request.session), content_type="text/plain")


def whoami(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"name": request.user.get_username(), "user": request.session.user_id})


def say(request: HttpRequest) -> HttpResponse:
    messages.success(request, request.GET["text"])
    return HttpResponse("said")


def said(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"messages": [str(message) for message in messages.get_messages(request)]})


def form(request: HttpRequest) -> HttpResponse:
    if request.method == "POST":
        request.session["posted"] = request.POST["text"]
        return HttpResponse("posted")
    return HttpResponse(f'<form><input name="csrfmiddlewaretoken" value="{get_token(request)}"></form>')


def sign_in_together(request: HttpRequest) -> HttpResponse:
    """Sign in when another request of the same browser does, before either is stored."""
    auth.login(request, auth.authenticate(request, username="alice", password="wonder"))
    request.session[request.GET["key"]] = "yes"
    _BOTH.wait(WITHIN)
    return HttpResponse("signed in")


def sign_in_and_fail(request: HttpRequest) -> HttpResponse:
    auth.login(request, auth.authenticate(request, username="alice", password="wonder"))
    raise RuntimeError("failed on purpose")


def sign_out_and_fail(request: HttpRequest) -> HttpResponse:
    auth.logout(request)
    raise RuntimeError("failed on purpose")


async def asynchronous(request: HttpRequest) -> JsonResponse:
    await request.session.aset("seen", await request.session.aget("seen", 0) + 1)
    return JsonResponse({"seen": await request.session.aget("seen")})


def cached(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"for {request.session.user_id}")


urlpatterns = [
    path("untouched", untouched),
    path("act/<name>", act),
    path("fail", failing),
    path("refuse", refuse),
    path("redirect", leave),
    path("stream", stream),
    path("login/", LoginView.as_view(template_name="admin/login.html"), name="login"),
    path("logout/", LogoutView.as_view(next_page="/untouched"), name="logout"),
    path("password/", PasswordChangeView.as_view(success_url="/whoami")),
    path("whoami", whoami),
    path("say", say),
    path("said", said),
    path("form", form),
    path("sign-in-together", sign_in_together),
    path("sign-in-and-fail", sign_in_and_fail),
    path("sign-out-and-fail", sign_out_and_fail),
    path("async", asynchronous),
    path("cached", cached),
    path("admin/", admin.site.urls),
]
