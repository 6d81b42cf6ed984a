"""Finds the sessions of an application as its users have it, and puts another store under them for a while."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

from session_middleware.exceptions import ConfigurationError
from session_middleware.manager import SessionManager
from session_middleware.middleware import SessionMiddleware
from session_middleware.stores.base import Store
from session_middleware.testing.faults import FaultyStore

S = TypeVar("S", bound=Store)

# Where test clients, middlewares and frameworks keep what they wrap or call.
_INSIDE = ("app", "wsgi_app", "application", "middleware", "wsgi", "handler", "execution_policy", "_middleware")


def manager_of(application: object) -> SessionManager:
    """Return the manager of an application's sessions.

    *application*: a :class:`SessionMiddleware`, or what is around one; a Flask, Bottle or Pyramid application that has its
    integration; a test client of WebTest, Flask, Werkzeug or Django; a manager. Where one session middleware is inside
    another it is the outer one's. Raise :exc:`ConfigurationError` if there is none.
    """
    if isinstance(application, SessionManager):
        return application
    middleware = middleware_of(application)
    return _manager_of_django(application) if middleware is None else middleware.manager


def middleware_of(application: object) -> SessionMiddleware | None:
    """Return the outermost session middleware of an application; ``None`` if it has none, as under Django alone."""
    return next((layer for layer in layers_of(application) if isinstance(layer, SessionMiddleware)), None)


def layers_of(application: object) -> Iterator[Any]:
    """Yield an application, or a test client of one, and what is inside, from the outside in, as far as attributes tell."""
    ahead, seen = [application], set[int]()
    while ahead:
        layer = ahead.pop(0)
        if id(layer) not in seen:
            seen.add(id(layer))
            yield layer
            found = getattr(layer, "__dict__", {})
            ahead += [found[name] for name in _INSIDE if found.get(name) is not None]
            ahead += layer.args if isinstance(layer, partial) else ()


def is_served_by_django(application: object) -> bool:
    """Tell whether it is a Django application, or a client of one, with no session middleware around it."""
    handlers = sys.modules.get("django.core.handlers.base")
    return (
        handlers is not None
        and middleware_of(application) is None
        and any(isinstance(layer, handlers.BaseHandler) for layer in layers_of(application))
    )


def _manager_of_django(application: object) -> SessionManager:
    if not is_served_by_django(application):
        raise ConfigurationError(f"{application!r}: no SessionMiddleware is found in it; give the SessionMiddleware itself")
    from session_middleware.integrations import django

    return django.manager()


@contextmanager
def faulty_store(application: object) -> Iterator[FaultyStore]:
    """Put a :class:`FaultyStore` around the store of an application, in this process, until the block ends.

    *application*: see :func:`manager_of`. ::

        with faulty_store(app) as store:
            store.fail(times=None)
            assert client.get("/").status_code == 503
            store.heal()
            assert client.get("/").status_code == 200
    """
    manager = manager_of(application)
    with kept_in(manager, FaultyStore(manager.store)) as store:
        yield store


@contextmanager
def store_calls(application: object) -> Iterator[list[tuple[str, str]]]:
    """Note the calls of an application's store while the block runs: ``(verb, key)``, see :class:`FaultyStore`.

    *application*: see :func:`manager_of`. The list grows as calls are made. ::

        with store_calls(app) as calls:
            client.get("/about")
        assert calls == []
    """
    with faulty_store(application) as store:
        yield store.calls


@contextmanager
def kept_in(manager: SessionManager, store: S) -> Iterator[S]:
    """Let a manager keep its sessions in another store until the block ends."""
    before = manager.store
    keep_in(manager, store)
    try:
        yield store
    finally:
        keep_in(manager, before)


def keep_in(manager: SessionManager, store: Store) -> None:
    """Let a manager keep its sessions in another store from now on."""
    asked = store if manager.teller is None else manager.teller.around(store)
    # No site changes its store, so nobody else may.
    manager.store, manager._asked, manager._sessions._store = store, asked, asked  # noqa: SLF001
