"""Managers that seal, though their tests know nothing of it: ``pytest --sealed``.

Who lists sessions sees their users and values all the same, for the tests ask for them: what seals them here keeps each key.
"""

import os
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from threading import Lock
from typing import Any

from session_middleware import SessionInfo, SessionManager
from session_middleware.directory import Directory
from session_middleware.record import Closed, Envelope, pack, unpack, unpack_values
from session_middleware.seal import Opened, Seal, Sealer
from session_middleware.state import Found
from session_middleware.tokens import Names, Token, proof_function

SEAL = Seal(bytes(range(32)))
is_on = False

DIFFERENT = {
    "one of its sessions has no seal": ("test_a_dump_of_every_store_tells_nothing",),
    "without its secret nobody opens a session that is sealed": (
        "test_trusted_code_opens_a_session_by_its_id",
        "test_who_opens_by_the_id_can_change_the_secret",
        "test_what_was_opened_by_the_id_and_has_ended_is_not_saved",
        "test_opening_by_the_id_does_not_use_a_secret_up",
        "test_it_is_off_unless_asked_for",
        "test_a_session_is_found_by_its_id",
        "test_it_can_be_ended",
        "test_it_can_be_ended_while_it_gets_a_new_cookie",
        "test_anything_else_is_none",
    ),
}
"""Tests that ask for what a seal changes, by what that is."""


_SEALED = "SESSION_MIDDLEWARE_TESTS_ARE_SEALED"

_written: dict[bytes, bytes] = {}
"""What has been sealed here, by what has become of it; the latest, so that what measures memory sees none of it."""

_REMEMBERED = 300
_lock = Lock()


def names() -> Names:
    """Return what makes the names in the stores of these tests."""
    return SEAL.of("session", proof_function("session")) if is_on else Names("session")


def user_there(user_id: str) -> str:
    """Return what stands in the stores of these tests for a user."""
    return names().users(user_id)[0]


def mark_there(user_id: str) -> str:
    """Return the id of a user's mark there."""
    return names().marks(user_id)[0]


def alias_there(alias: str) -> str:
    """Return the id of the record of an alias there."""
    return names().aliases(alias)[0]


def opened(envelope: Envelope, packed: bytes | Closed) -> tuple[Envelope, bytes]:
    """Return what stands in a session, as it was before it was sealed here."""
    if isinstance(packed, Closed):
        found = unpack(_written[packed.value[packed.at :]])
        assert isinstance(found, tuple)
        envelope, packed = found
    assert isinstance(packed, bytes)
    return envelope, packed


def seal_here_too() -> None:
    """Seal as the process does that has started this one, if it does."""
    if _SEALED in os.environ and not is_on:
        seal_all()


def seal_all() -> None:
    """Have each manager seal that is made without a seal from now on."""
    global is_on
    make, close, info = SessionManager.__init__, Sealer.close, Directory._info
    is_on = True
    os.environ[_SEALED] = "1"

    @wraps(make)
    def make_sealed(self: SessionManager, *args: Any, seal: Seal | None = None, **options: Any) -> None:
        make(self, *args, seal=seal or SEAL, **options)

    def close_and_remember(
        self: Sealer, envelope: Envelope, packed: bytes, opened: Opened, key: str, token: Token | None, now: float
    ) -> tuple[Callable[[bytes], bytes], str | None, Opened]:
        rest, blind, stored = close(self, envelope, packed, opened, key, token, now)

        def remembered(clear: bytes) -> bytes:
            tail = rest(clear)
            with _lock:
                _written[tail] = pack(envelope, packed)
                if len(_written) > _REMEMBERED:
                    del _written[next(iter(_written))]
            return tail

        return remembered, blind, stored

    def info_of_opened(self: Directory, found: Found) -> SessionInfo:
        if isinstance(found.seal, Closed):
            with suppress(KeyError):  # it is not known, as where its secrets are not
                envelope, packed = opened(found.envelope, found.seal)
                found = found._replace(envelope=envelope, values=unpack_values(packed), seal=None)
        return info(self, found)

    SessionManager.__init__ = make_sealed  # type: ignore[method-assign]
    Sealer.close = close_and_remember  # type: ignore[method-assign]
    Directory._info = info_of_opened  # type: ignore[method-assign]
