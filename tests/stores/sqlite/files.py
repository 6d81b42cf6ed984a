"""What the tests of SQLiteStore do with its file, and look for in it."""

from hashlib import sha256

from session_middleware import SQLiteStore


def look_now(store: SQLiteStore) -> None:
    """Let the store look at once whether its files are still there, as it does every second."""
    for cursor in store._connections.idle:
        cursor.connection.look_at = 0.0


KEYS = [f"{number:02}".ljust(12, "k") for number in range(60)]


def value_of(key: str) -> bytes:
    """Return a value that shows what was done to it, as those of sessions do."""
    text = key.encode() * 50
    return sha256(text).digest() + text
