"""Finds the sessions of an application: a middleware anywhere inside it. It knows no framework by name but Django."""

import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import chain
from pathlib import Path
from pkgutil import resolve_name
from types import CellType, FunctionType, MethodType, ModuleType
from typing import Any, Final

from session_middleware.exceptions import ConfigurationError, SessionError
from session_middleware.manager import SessionManager
from session_middleware.middleware import SessionMiddleware

_USUAL_NAMES: Final = ("application", "app")
_DJANGO: Final = "session_middleware.integrations.django:manager"

# So many objects are looked at, one layer around the other, before it is given up.
_MOST: Final = 100_000
_PLAIN: Final = (str, bytes, int, float, bool, type(None), type, ModuleType)


def manager_named(name: str, namespace: str | None) -> SessionManager:
    """Return the manager of the application that ``module:name`` means, or ``module:name()`` returns.

    Without a name it is ``application`` or ``app``. Raise :exc:`ConfigurationError` if there is none, or not one alone.
    """
    return the_manager_in(_loaded(name), namespace)


def the_manager_in(application: object, namespace: str | None = None) -> SessionManager:
    """Return the manager of the sessions of *application*, which is that of the outermost middleware in it.

    *namespace* chooses among several. Raise :exc:`ConfigurationError` if there is none, or not one alone.
    """
    found = {id(manager): manager for manager in _managers_in(application)}
    chosen = [manager for manager in found.values() if namespace in (None, manager.namespace)]
    if len(chosen) == 1:
        return chosen[0]
    there = ", ".join(sorted(repr(manager.namespace) for manager in found.values()))
    if not found:
        raise ConfigurationError(f"there is no SessionMiddleware in {type(application).__qualname__}: write --store URL")
    raise ConfigurationError(f"the sessions in the application have the namespaces {there}: write one with --namespace")


def _loaded(name: str) -> object:
    directory = str(Path.cwd())
    if directory not in sys.path:
        sys.path.insert(0, directory)
    module, _, attribute = name.partition(":")
    try:
        found = resolve_name(f"{module}:")
        if not attribute:
            attribute = next((usual for usual in _USUAL_NAMES if hasattr(found, usual)), _USUAL_NAMES[0])
        thing = resolve_name(f"{module}:{attribute.removesuffix('()')}")
        return thing() if attribute.endswith("()") else thing
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"--app {name}: {error}; write module:name, as of shop.wsgi:application") from error
    except SessionError:
        raise
    except Exception as error:
        raise ConfigurationError(f"--app {name}: it fails: {type(error).__name__}: {error}") from error


def _managers_in(application: object) -> list[SessionManager]:
    """Return the managers in the outermost layer that has any."""
    layer, seen, has_django = [application], set[int](), False
    while layer and len(seen) < _MOST:
        found = [manager for thing in layer if (manager := _manager_of(thing))]
        if found:
            return found
        has_django = has_django or any(type(thing).__module__.startswith("django.") for thing in layer)
        seen.update(map(id, layer))
        inside = {id(thing): thing for thing in chain.from_iterable(map(_inside, layer))}
        layer = [thing for key, thing in inside.items() if key not in seen]
    return [resolve_name(_DJANGO)()] if has_django else []


def _manager_of(thing: Any) -> SessionManager | None:
    kind = type(thing)  # not isinstance(): what stands for another object may say that it is one, or fail
    found: SessionManager | None = thing if issubclass(kind, SessionManager) else None
    return thing.manager if issubclass(kind, SessionMiddleware) else found


def _inside(thing: Any) -> Iterator[object]:
    """Yield what an object holds: attributes, members, what a function was made with."""
    kind = type(thing)
    if issubclass(kind, _PLAIN):
        return
    held: list[object] = []
    if issubclass(kind, dict):
        held += thing.values()
    elif issubclass(kind, (list, tuple)):
        held += thing
    elif issubclass(kind, FunctionType):
        held += thing.__closure__ or ()
    elif issubclass(kind, CellType):
        held += _contents(thing)
    elif issubclass(kind, MethodType):
        held.append(thing.__self__)
    elif issubclass(kind, partial):
        held += (thing.func, *thing.args, *thing.keywords.values())
    with suppress(Exception):  # it has none, or stands for an object that is not there now
        held += vars(thing).values()
    yield from (one for one in held if not issubclass(type(one), _PLAIN))


def _contents(cell: Any) -> tuple[object, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()  # what it is for has not been made yet
