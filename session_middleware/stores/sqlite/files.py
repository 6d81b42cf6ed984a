"""The files of one SQLite database as the operating system sees them. It never opens the database."""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

from session_middleware.exceptions import StoreUnusable

Identity: TypeAlias = tuple[tuple[int, int], ...]
"""Device and inode of the file and of its companions; zeros for one that is not there."""

PAGE_SIZE: Final = 4096
"""Bytes; a file is a whole number of pages."""

_NONE: Final = (0, 0)

# SQLite gives the companions the mode of the file.
_COMPANIONS: Final = ("-wal", "-shm")


class DatabaseFiles:
    """The file at *path*, its ``-wal`` and its ``-shm``; of others, or open to others, only if that is *shared*."""

    def __init__(self, path: Path, shared: bool) -> None:
        self._path = path
        self._shared = shared
        self._names = (os.fspath(path), *(f"{path}{companion}" for companion in _COMPANIONS))

    def identity(self) -> Identity:
        """Return what tells these files from others that come to stand at the same path."""
        found = []
        for name in self._names:
            try:
                status = os.stat(name)
                found.append((status.st_dev, status.st_ino))
            except OSError:
                found.append(_NONE)
        return tuple(found)

    def is_empty(self) -> bool:
        """Tell whether there is a file, but nothing in it; to SQLite a file of one byte is empty, too."""
        try:
            return os.stat(self._path).st_size <= 1
        except OSError:
            return False

    def make(self) -> None:
        """Make the file with mode 0600, whatever the umask, if there is none.

        Raise :exc:`StoreUnusable` if there is one that may not be written, that another user made or can open, or that
        has lost its contents, but not its ``-wal``; or something else than a file, as a pipe or a device.
        """
        # In this order: whoever makes the database just now writes into the file first and then into the -wal.
        wal_size, left_over = self._wal_size(), self.identity()
        try:
            status = os.stat(self._path)
        except FileNotFoundError:
            self.discard_companions(left_over)
            self._refuse_others()
            self._make()
            return
        if not stat.S_ISREG(status.st_mode):
            raise StoreUnusable(f"{self._path} is no file to keep anything in: write the path of a file, or of none yet")
        if status.st_size <= 1 and wal_size:
            raise StoreUnusable(
                f"{self._path}: the file is empty, but its -wal file is not: restore the file, or remove both"
            )
        # SQLite would take what is missing of the last page for zeros, and so for rows that are not there. With a -wal, a
        # full disk may have left part of a page in the file, and the whole of it in there.
        if status.st_size > 1 and status.st_size % PAGE_SIZE and not wal_size:
            raise StoreUnusable(f"{self._path}: file is not a database, or was cut")
        if not os.access(self._path, os.R_OK | os.W_OK):
            # SQLite would open it for reading, with companions that could not be written later either.
            raise StoreUnusable(f"{self._path}: the file may not be read and written by this process")
        self._refuse_others()

    def _refuse_others(self) -> None:
        """Raise unless the file and its companions, as far as they are there, are this user's alone.

        Who can write them signs in as anybody, and who made them can open them again whatever their mode is now.
        """
        if self._shared or not hasattr(os, "geteuid"):
            return
        for name in self._names:
            try:
                status = os.stat(name)
            except FileNotFoundError:
                continue
            if status.st_uid != os.geteuid():
                raise StoreUnusable(
                    f"{name} belongs to the user with the number {status.st_uid}, this process to {os.geteuid()}: run it as"
                    " that user, or remove the file, or write shared=True"
                )
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise StoreUnusable(
                    f"{name} is open to other users (mode {status.st_mode & 0o777:o}): chmod 600, if nobody but you has"
                    " been there, or write shared=True"
                )

    def discard_companions(self, of: Identity) -> None:
        """Remove those companions in *of* that are still at the path: the database that they belong to is not.

        Left there they would be taken for those of the next database at the path.
        """
        for name, was, now in list(zip(self._names, of, self.identity(), strict=True))[1:]:
            if was == now != _NONE:
                with suppress(OSError):
                    Path(name).unlink()

    def _wal_size(self) -> int:
        try:
            return os.stat(self._names[1]).st_size
        except FileNotFoundError:
            return 0

    def _make(self) -> None:
        # Under a name of its own first: closing a file drops the locks that this process holds on it
        # (sqlite.org/howtocorrupt.html, section 2.2), so it must not be the database yet.
        fresh = self._path.with_name(f".{self._path.name}.{secrets.token_hex(8)}")
        self._create(fresh)
        try:
            os.link(fresh, self._path)
        except FileExistsError:
            pass
        except OSError:
            # A file system without hard links. Who calls lets no other thread open the database meanwhile.
            with suppress(FileExistsError):
                self._create(self._path)
        finally:
            fresh.unlink()

    @staticmethod
    def _create(path: Path) -> None:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
