"""Server-side sessions for any WSGI application."""

from typing import TYPE_CHECKING, Any

from session_middleware.codecs import Codec, JSONCodec, MsgpackCodec
from session_middleware.cookies import CookiePolicy
from session_middleware.directory import SessionInfo
from session_middleware.exceptions import (
    ConfigurationError,
    ConflictError,
    HeadersAlreadySent,
    PayloadError,
    SessionError,
    SessionTooLarge,
    StoreError,
    StoreUnavailable,
    StoreUnusable,
    TooManySessions,
)
from session_middleware.lifetime import Lifetime
from session_middleware.manager import Forget, Send, SessionManager
from session_middleware.middleware import SessionMiddleware, get_session
from session_middleware.session import Session
from session_middleware.state import Ended
from session_middleware.stores import open_store
from session_middleware.stores.base import (
    Batched,
    Checkable,
    Copyable,
    Finding,
    Health,
    Record,
    Scannable,
    Store,
    Stored,
    Sweepable,
    UserIndexed,
)
from session_middleware.stores.memory import MemoryStore

if TYPE_CHECKING:
    from session_middleware.stores.sqlite import SQLiteStore

__version__ = "0.1.0"

__all__ = [
    "Batched",
    "Checkable",
    "Codec",
    "ConfigurationError",
    "ConflictError",
    "CookiePolicy",
    "Copyable",
    "Ended",
    "Finding",
    "Forget",
    "HeadersAlreadySent",
    "Health",
    "JSONCodec",
    "Lifetime",
    "MemoryStore",
    "MsgpackCodec",
    "PayloadError",
    "Record",
    "SQLiteStore",
    "Scannable",
    "Send",
    "Session",
    "SessionError",
    "SessionInfo",
    "SessionManager",
    "SessionMiddleware",
    "SessionTooLarge",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "StoreUnusable",
    "Stored",
    "Sweepable",
    "TooManySessions",
    "UserIndexed",
    "get_session",
    "open_store",
]


def __getattr__(name: str) -> Any:
    """Import the store that needs a driver when it is asked for."""
    if name == "SQLiteStore":
        from session_middleware.stores.sqlite import SQLiteStore

        return SQLiteStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
