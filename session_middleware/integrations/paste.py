"""PasteDeploy: the middleware as a filter in an ini file. It imports nothing of Paste."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from session_middleware.middleware import SessionMiddleware

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication


def filter_app_factory(app: "WSGIApplication", global_conf: Mapping[str, str], **local_conf: str) -> SessionMiddleware:
    """The ``paste.filter_app_factory`` entry point: the options of an ini section, without a prefix."""
    return SessionMiddleware.from_config(app, local_conf, prefix="")
