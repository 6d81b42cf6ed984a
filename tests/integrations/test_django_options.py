"""What ``SESSION_MIDDLEWARE`` says beside the store: who answers when that fails, and how the cookie was before."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests import sealing
from tests.integrations import django_site  # it configures Django

# isort: split

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template import engines
from django.template.response import SimpleTemplateResponse
from django.test import override_settings

from session_middleware import CookiePolicy, MemoryStore
from session_middleware.integrations import django as ours
from session_middleware.integrations.django.checks import check_settings
from session_middleware.testing import FaultyStore
from tests.apps import Gateway, visit
from tests.integrations.django_site import DJANGOS, OURS, UNAVAILABLE

HERE = "tests.integrations.test_django_options"
DEFAULT = b"The service is unavailable for a moment. Please try again.\n"


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore())


def page(request: HttpRequest, error: Exception) -> HttpResponse:
    """What a site has in place of the text of ours."""
    return JsonResponse({"path": request.path, "error": type(error).__name__}, status=503)


def template(request: HttpRequest, error: Exception) -> HttpResponse:
    return SimpleTemplateResponse(engines["django"].from_string("closed"), status=503)


async def coroutine(request: HttpRequest, error: Exception) -> HttpResponse:
    raise AssertionError


def get(path: str, cookie: str | None = None, scheme: str = "http") -> Gateway:
    return visit(WSGIHandler(), path, cookie=cookie, scheme=scheme, QUERY_STRING="key=a&value=1")


@pytest.fixture(params=["middleware", "engine"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """Our middleware, or our engine under that of Django."""
    names = [OURS] if request.param == "middleware" else [UNAVAILABLE, DJANGOS]
    with override_settings(MIDDLEWARE=django_site.middleware(*names)):
        yield request.param


class TestAPageOfItsOwn:
    @pytest.mark.parametrize("view", [page, f"{HERE}.page"])
    def test_it_answers_when_the_store_fails(self, way: str, store: FaultyStore, view: Any) -> None:
        """Promise 6: it gets the request and the error; no cache keeps it."""
        with override_settings(SESSION_MIDDLEWARE={"store": store, "unavailable": view}):
            cookie = get("/act/put").cookie
            store.fail("load")
            answer = get("/act/show", cookie)

        assert (answer.status, answer.values("Cache-Control")) == ("503 Service Unavailable", ["private, no-store"])
        assert answer.body == b'{"path": "/act/show", "error": "StoreUnavailable"}'
        assert answer.set_cookies == []

    def test_it_may_be_a_template(self, way: str, store: FaultyStore) -> None:
        """As any view of Django."""
        with override_settings(SESSION_MIDDLEWARE={"store": store, "unavailable": template}):
            cookie = get("/act/put").cookie
            store.fail("load")

            assert get("/act/show", cookie).body == b"closed"

    def test_without_one_there_is_a_short_text(self, way: str, store: FaultyStore) -> None:
        """Promise 6: as without Django."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            cookie = get("/act/put").cookie
            store.fail("load")

            assert get("/act/show", cookie).body == DEFAULT


def attributes(set_cookie: str) -> set[str]:
    """Return the parts of a ``Set-Cookie``, whatever their order, with an empty value as it may be written."""
    return {part.strip().lower() for part in set_cookie.replace('=""', "=").split(";")}


class TestAFormerCookie:
    @pytest.mark.parametrize("scheme", ["http", "https"])
    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ({}, {"SESSION_COOKIE_DOMAIN": "example.com"}),
            ({}, {"SESSION_COOKIE_NAME": "other"}),
            ({"SESSION_COOKIE_PATH": "/act"}, {}),
        ],
    )
    def test_it_goes_on_opening_the_session_and_is_removed(
        self, store: FaultyStore, before: dict[str, Any], after: dict[str, Any], scheme: str
    ) -> None:
        """Promise 4: other settings sign nobody out, and leave no second cookie."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}, **before):
            cookie = get("/act/put", scheme=scheme).cookie
        old = CookiePolicy(path=before.get("SESSION_COOKIE_PATH", "/"))
        with override_settings(SESSION_MIDDLEWARE={"store": store, "former": (old,)}, **after):
            answer = get("/act/regenerate", cookie, scheme)
            assert answer.set_cookies, (cookie, answer.status, answer.body, store.calls)
            shown = get("/act/show", answer.set_cookies[0].strip().partition(";")[0], scheme)

        removed = old.for_scheme(scheme).deletion_header()
        assert [attributes(header) for header in answer.set_cookies[1:]] == [attributes(removed)]
        assert b'"a": "1"' in shown.body

    def test_the_test_client_reads_it_too(self, store: FaultyStore) -> None:
        """It knows the plain names alone."""
        with override_settings(SESSION_MIDDLEWARE={"store": store}):
            cookie = get("/act/put").cookie
        with override_settings(
            SESSION_MIDDLEWARE={"store": store, "former": (CookiePolicy(),)}, SESSION_COOKIE_NAME="other"
        ):
            assert b'"a": "1"' in get("/act/show", cookie).body


WRONG = {
    "environ_key": [7, "session", "wsgi.session"],
    "check_store": ["no", 0],
    "test_store": [7, "mongo://", MemoryStore],
    "unavailable": [7, "no.such.page", coroutine],
    "former": [CookiePolicy(), [CookiePolicy()], ("session",), ({},)],
    "carry_over": ["django", lambda: 7],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
class TestWhatCannotWork:
    def test_it_does_not_start(self, name: str, value: Any) -> None:
        """Promise 15: and not at the first request that needs it."""
        options = {"store": "memory:", name: value}
        with override_settings(SESSION_MIDDLEWARE=options), pytest.raises(ImproperlyConfigured) as caught:
            ours.SessionMiddleware(lambda request: HttpResponse())
        assert name in str(caught.value) or name == "test_store"

    def test_the_checks_tell(self, name: str, value: Any) -> None:
        """Promise 15: before it is deployed."""
        with override_settings(SESSION_MIDDLEWARE={"store": "memory:", name: value}):
            assert {message.id for message in check_settings()} == {"session_middleware.E006"}


def test_our_middleware_twice_is_told() -> None:
    """Promise 15: each request would have two sessions."""
    with override_settings(SESSION_MIDDLEWARE={"store": "memory:"}, MIDDLEWARE=[OURS, OURS]):
        assert [message.id for message in check_settings()] == ["session_middleware.E007"]


def foreign(get_response: Callable[..., Any]) -> Callable[..., Any]:
    """A middleware that others have written: it opens a session of its own by what a cookie holds."""

    def answer(request: HttpRequest) -> Any:
        request.found = dict(ours.SessionStore(request.COOKIES.get("own")))
        response = get_response(request)
        response["X-Found"] = ",".join(request.found)
        return response

    return answer


@pytest.mark.parametrize("names", [[f"{HERE}.foreign", OURS], [OURS, f"{HERE}.foreign"]])
@pytest.mark.parametrize("quoted", [False, True])
def test_a_public_id_in_a_cookie_opens_nothing(store: FaultyStore, names: list[str], quoted: bool) -> None:
    """Promise 17: an id is no secret, so what takes it from a browser gets nothing; trusted code gets the session."""
    with override_settings(SESSION_MIDDLEWARE={"store": store}, MIDDLEWARE=django_site.middleware(*names)):
        get("/act/put")
        (session_id,) = store.keys()
        sent = f'"\\{ord(session_id[0]):03o}{session_id[1:]}"' if quoted else session_id

        assert dict(ours.SessionStore(session_id)) == ({} if sealing.is_on else {"a": "1"})
        assert get("/untouched", f"own={sent}").values("X-Found") == [""]
