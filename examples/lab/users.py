"""Who may sign in: names and salted password hashes in a SQLite table. It knows nothing of sessions."""

import hashlib
import hmac
import secrets
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

_NOBODY = (bytes(16), bytes(32))


class Users:
    """The users in the file *path*, which only its owner can read; it is made if it is not there.

    So are those of *initial* (name: password).
    """

    def __init__(self, path: Path, initial: Mapping[str, str]) -> None:
        self._path = path
        path.touch(0o600)
        path.chmod(0o600)
        with closing(self._connect()) as connection:
            connection.execute(
                "CREATE TABLE IF NOT EXISTS users (name TEXT PRIMARY KEY, salt BLOB NOT NULL, hash BLOB NOT NULL)"
            )
            known = {name for (name,) in connection.execute("SELECT name FROM users")}
            for name in initial.keys() - known:
                _insert(connection, name, initial[name])

    def check(self, name: str, password: str) -> bool:
        """Tell whether this is the user's password; for a name that is not known that takes just as long."""
        with closing(self._connect()) as connection:
            found = connection.execute("SELECT salt, hash FROM users WHERE name = ?", (name,)).fetchone()
        salt, expected = found or _NOBODY
        return hmac.compare_digest(_hash(password, salt), expected) and found is not None

    @contextmanager
    def guest(self) -> Iterator[tuple[str, str]]:
        """Let a user in whom nobody else is, for as long as the block runs; their name and password."""
        name, password = f"guest-{secrets.token_hex(4)}", secrets.token_urlsafe()
        with closing(self._connect()) as connection:
            _insert(connection, name, password)
        try:
            yield name, password
        finally:
            with closing(self._connect()) as connection:
                connection.execute("DELETE FROM users WHERE name = ?", (name,))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, isolation_level=None)


def _insert(connection: sqlite3.Connection, name: str, password: str) -> None:
    """Add a user, unless another process was faster. Hashing takes long, so it locks nothing."""
    salt = secrets.token_bytes(16)
    connection.execute("INSERT OR IGNORE INTO users VALUES (?, ?, ?)", (name, salt, _hash(password, salt)))


def _hash(password: str, salt: bytes) -> bytes:
    """Hash with the work that the OWASP Password Storage Cheat Sheet asks of scrypt, in its 16 MiB variant."""
    return hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5, dklen=32)
