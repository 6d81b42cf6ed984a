"""Every integration hands the seal on."""

import traceback
from typing import Any

import pytest

from tests.integrations import django_site  # it configures Django

# isort: split

from django.core.exceptions import ImproperlyConfigured
from django.core.handlers.wsgi import WSGIHandler
from django.test import override_settings

from session_middleware import ConfigurationError, MemoryStore, SessionMiddleware
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.django import engine
from session_middleware.integrations.django import settings as configured
from session_middleware.record import Closed, unpack
from session_middleware.seal import Seal
from tests.apps import visit
from tests.integrations.django_site import OURS
from tests.integrations.optioned import EVERYWHERE, Option, in_beaker, plain

SEAL = Seal(bytes(range(32)))
NAME = "tests.integrations.test_sealing:SEAL"
SEALED = Option("seal", SEAL, NAME)


def is_sealed(store: MemoryStore) -> bool:
    (key,) = store.keys()
    stored = store.load(key)
    assert stored is not None
    found = unpack(stored.value)
    return isinstance(found, tuple) and isinstance(found[1], Closed)


@pytest.mark.parametrize("make", EVERYWHERE)
def test_each_integration_seals(make: Any) -> None:
    store = MemoryStore()
    visit(make(store, SEALED), "/act/login", QUERY_STRING="user=alice")
    assert is_sealed(store)


def test_an_ini_file_names_a_seal() -> None:
    site = SessionMiddleware.from_config(plain, {"session.store": "memory:", "session.seal": NAME})
    assert site.manager.seal is SEAL
    for name, said in (("session_middleware:MemoryStore", "seal"), ("nowhere:seal", "the name of a seal")):
        with pytest.raises(ConfigurationError, match=said):
            SessionMiddleware.from_config(plain, {"session.store": "memory:", "session.seal": name})


@pytest.mark.parametrize("sep", [":", ".", ""])
def test_a_key_in_place_of_a_seal_is_quoted_nowhere(sep: str) -> None:
    """Who takes the option for the key itself finds no key in the log."""
    key = Seal.new_key()
    name = key[:9] + sep + key[9:]
    with pytest.raises(ConfigurationError, match=r"session\.seal: write the name of a seal") as refused:
        SessionMiddleware.from_config(plain, {"session.store": "memory:", "session.seal": name})
    django = override_settings(SESSION_MIDDLEWARE={"store": MemoryStore(), "seal": name})
    with django, pytest.raises(ImproperlyConfigured, match="seal") as improper:
        configured.manager()
    for error in (refused.value, improper.value):
        shown = "".join(traceback.format_exception(error))
        assert key[:9] not in shown
        assert key[9:] not in shown


def test_beakers_sessions_are_not_opened_by_their_id() -> None:
    """Promise 15: nobody opens them so."""
    site = in_beaker(MemoryStore(), SEALED)
    with pytest.raises(ConfigurationError, match="get_by_id=False"):
        BeakerMiddleware(site.middleware, get_by_id=True)


@pytest.mark.parametrize("seal", [SEAL, NAME.replace(":", ".")], ids=["it", "name"])
def test_django_seals(seal: object) -> None:
    store = MemoryStore()
    options = {"store": store, "seal": seal}
    with override_settings(MIDDLEWARE=django_site.middleware(OURS), SESSION_MIDDLEWARE=options):
        assert visit(WSGIHandler(), "/act/put", QUERY_STRING="key=a&value=1").status == "200 OK"
    assert is_sealed(store)


def test_djangos_sessions_are_not_opened_by_their_id() -> None:
    """Nor is one that is still to be sealed. It can be ended."""
    store = MemoryStore()
    for options in ({"store": store}, {"store": store, "seal": SEAL}):
        with override_settings(SESSION_MIDDLEWARE=options):
            manager = configured.manager()
            session = manager.open()
            session["a"] = 1
            manager.commit(session)
            key = session.id
        with override_settings(SESSION_MIDDLEWARE={"store": store, "seal": SEAL}):
            other = engine.SessionStore(key)
            assert other.get("a") is None
            other["b"] = 2
            other.delete(key)
            assert not engine.SessionStore().exists(key)
