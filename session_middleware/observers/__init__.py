"""Observers that are ready to use. One that needs another library has a module of its own, and is imported from there."""

from session_middleware.observers.audit import Audit
from session_middleware.observers.queued import Queued

__all__ = ["Audit", "Queued"]
