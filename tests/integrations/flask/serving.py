"""What the tests of Flask do with an application."""

from collections.abc import Callable
from typing import Any

from flask import Flask

from session_middleware import SessionManager
from session_middleware.testing import FaultyStore


def manager_of(app: Flask) -> SessionManager:
    manager: SessionManager = app.extensions["session_middleware"].manager
    return manager


def serve(app: Flask, view: Callable[[], Any], path: str = "/") -> None:
    app.add_url_rule(path, f"{view.__name__}{len(app.view_functions)}", lambda: view() or "", methods=["GET", "POST"])


def verbs(store: FaultyStore) -> list[str]:
    return [verb for verb, _ in store.calls if verb != "sweep"]
