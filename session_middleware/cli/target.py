"""Which sessions a command is about: those of a URL, of an application, or of the framework whose command line it is in."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from session_middleware.cli.applications import manager_named, the_manager_in
from session_middleware.clock import system_clock
from session_middleware.codecs import Codec, JSONCodec, MsgpackCodec
from session_middleware.events import Observer
from session_middleware.exceptions import ConfigurationError
from session_middleware.lifetime import Lifetime
from session_middleware.manager import SessionManager
from session_middleware.record import MORE
from session_middleware.stores import open_store
from session_middleware.stores.base import Store

if TYPE_CHECKING:
    from session_middleware.seal import Seal

META: Final = "session_middleware"
VARIABLE: Final = "SESSION_STORE"

# Of what a site allows to be longer than usual, nothing is to look damaged here (bytes).
_LONGEST: Final = 2**30


class Given(NamedTuple):
    """What was written, and what a framework has given: a function that returns a manager, or Flask's ``ScriptInfo``."""

    store: str | None
    app: str | None
    namespace: str | None
    codec: str | None
    framework: Any


def the_manager() -> SessionManager:
    """Return the manager of the sessions that the current command is about.

    Raise ``click.UsageError`` if nobody has said which sessions, :exc:`ConfigurationError` for what cannot work.
    """
    context = click.get_current_context()
    given: Given = context.meta[META]
    if given.store:
        return _manager_of(open_store(given.store), given)
    if given.app:
        return _like(manager_named(given.app, given.namespace))
    if callable(getattr(given.framework, "load_app", None)):
        return _like(the_manager_in(given.framework.load_app(), given.namespace))
    if callable(given.framework):
        return _like(given.framework())
    if url := os.environ.get(VARIABLE):
        return _manager_of(open_store(url), given)
    raise click.UsageError(f"which sessions? Write --store URL or --app MODULE:NAME, or set {VARIABLE}")


def _manager_of(store: Store, given: Given) -> SessionManager:
    is_there(store)
    codec = JSONCodec() if given.codec == "json" else MsgpackCodec()
    return _made(store, Lifetime.AAL2, codec, given.namespace or "session", system_clock, [])


def is_there(store: Store) -> None:
    """Raise :exc:`ConfigurationError` if the file of *store* is not there, which a slip is not to make."""
    for inner in (getattr(store, name, None) for name in ("inner", "new", "old")):
        if inner is not None:
            is_there(inner)
    path: Path | None = getattr(store, "path", None)
    if path is not None and not path.exists():
        raise ConfigurationError(f"{path}: there is no such file")


def _like(manager: SessionManager) -> SessionManager:
    observers = [] if manager.teller is None else [*manager.teller.observers]
    given = manager.store, manager.lifetime, manager.codec, manager.namespace, manager.now
    return _made(*given, observers, manager.seal)


def _made(
    store: Store,
    lifetime: Lifetime,
    codec: Codec,
    namespace: str,
    clock: Callable[[], float],
    observers: Sequence[Observer],
    seal: "Seal | None" = None,
) -> SessionManager:
    longest: int | None = getattr(store, "max_value", None)
    return SessionManager(
        store,
        lifetime=lifetime,
        codec=codec,
        namespace=namespace,
        max_bytes=_LONGEST if longest is None else max(1024, longest - MORE - (0 if seal is None else seal.more)),
        clock=clock,
        observer=observers or None,
        seal=seal,
    )
