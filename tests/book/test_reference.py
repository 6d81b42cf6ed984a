"""Every public name has its place in the reference. That each entry leads somewhere, ``make docs`` shows."""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

import session_middleware
from session_middleware import capacity, events, testing
from session_middleware.stores import base
from tests.book.pages import DOCS

_ENTRY = re.compile(r"^\.\. (py:currentmodule|auto(?:class|function|exception)|py:data):: ([\w.]+)", re.MULTILINE)


def entries() -> Iterator[str]:
    """Yield the full name of everything that a page of the reference describes."""
    for page in sorted((DOCS / "reference").glob("*.md")):
        module = ""
        for directive, name in _ENTRY.findall(page.read_text()):
            if directive == "py:currentmodule":
                module = name
            else:
                yield name if name.startswith("session_middleware.") else f"{module}.{name}"


def own(module: ModuleType) -> set[str]:
    """Return the classes and functions that a module defines for others, or what it says that it does."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    found = {name for name, value in vars(module).items() if inspect.isclass(value) or inspect.isfunction(value)}
    return {name for name in found if name[0] != "_" and getattr(module, name).__module__ == module.__name__}


def test_every_name_of_the_package_has_an_entry() -> None:
    """None is missing, and none is there twice."""
    found = [name.removeprefix("session_middleware.") for name in entries()]

    assert set(session_middleware.__all__) <= set(found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("name", ["beaker", "bottle", "django", "flask", "moving", "paste", "pyramid", "webob"])
def test_every_name_of_an_integration_has_an_entry(name: str) -> None:
    """Its classes and functions."""
    module = import_module(f"session_middleware.integrations.{name}")

    assert {f"{module.__name__}.{one}" for one in own(module)} <= set(entries())


def test_every_store_has_an_entry() -> None:
    """Those that come with the package, and all that a store may offer."""
    folder = Path(session_middleware.__file__).parent / "stores"
    stores = {
        f"{'' if name == 'memory' or name == 'sqlite' else f'stores.{name}.'}{one}"
        for name in ("memory", *(path.parent.name for path in folder.glob("*/__init__.py")))
        for one in own(import_module(f"session_middleware.stores.{name}"))
        if one.endswith("Store")
    }
    offered = {name if name in session_middleware.__all__ else f"stores.base.{name}" for name in own(base)}

    assert len(stores) == 5
    assert {f"session_middleware.{name}" for name in stores | offered} <= set(entries())


def test_every_event_has_an_entry() -> None:
    """And who is told of them."""
    assert {f"session_middleware.events.{name}" for name in own(events)} <= set(entries())


def test_every_help_for_tests_has_an_entry() -> None:
    """But for what tells type checkers what a store can do."""
    kinds = {"BatchedStore", "CheckableStore", "CopyableStore", "ScannableStore", "SweepableStore", "UserIndexedStore"}

    assert {f"session_middleware.testing.{name}" for name in set(testing.__all__) - kinds} <= set(entries())


def test_what_the_entries_describe_is_there() -> None:
    """Under the names that the reference gives it."""
    places = [name.rpartition(".")[::2] for name in entries()]

    assert not [f"{module}.{last}" for module, last in places if not hasattr(import_module(module), last)]


def test_every_name_of_the_plan_of_capacity_has_an_entry() -> None:
    """As the package lists them."""
    assert {f"session_middleware.capacity.{name}" for name in capacity.__all__} <= set(entries())
