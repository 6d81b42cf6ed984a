"""Sealed records that nobody has written."""

import logging
from random import Random

import pytest

from session_middleware import MemoryStore, SessionManager
from session_middleware.notes import BODY, checked
from session_middleware.record import LEAST
from session_middleware.seal import Seal
from session_middleware.state import Found
from session_middleware.tokens import Token
from tests.core.test_seal import NEW, OLD, sent
from tests.gates import full


def written(store: MemoryStore, seal: Seal) -> list[tuple[Token, bytes]]:
    """Return the bodies of records of sessions in several states, with the token that opens each."""
    manager = SessionManager(store, seal=seal)
    found = []
    for number in range(4):
        token = sent(manager, None, lambda session, number=number: session.update(a=number))
        found.append(token)
        sent(manager, token, lambda session: session.update(b="b" * 40))
    found = [sent(manager, token, lambda session: session.login("alice", alias="sid")) for token in found[:2]] + found[2:]
    return [(token, stored.value[BODY:]) for token in found if (stored := store.load(token.id)) is not None]


def changed(random: Random, body: bytes, others: list[bytes]) -> bytes:
    at, other = random.randrange(len(body)), random.choice(others)
    match random.randrange(5):
        case 0:
            return body[:at] + bytes((body[at] ^ (1 << random.randrange(8)),)) + body[at + 1 :]
        case 1:
            return body[:at]
        case 2:
            return body[:at] + other[at:]
        case 3:
            return other
        case _:
            return body[:at] + random.randbytes(random.randrange(1, 20)) + body[at + random.randrange(20) :]


@pytest.mark.parametrize("number", [5_000, pytest.param(full(100_000, 1_000_000), marks=pytest.mark.soak)])
def test_no_record_opens_that_was_damaged_swapped_cut_or_sealed_with_another_key(number: int) -> None:
    """Promise 10: and none raises anything."""
    store, elsewhere, random = MemoryStore(), MemoryStore(), Random(number)
    ours, theirs = written(store, Seal(OLD)), written(elsewhere, Seal(NEW))
    others = [body for _, body in ours + theirs]
    manager = SessionManager(store, seal=Seal(OLD, require=True))
    log = logging.getLogger("session_middleware")
    before, opened, looked_at = log.level, 0, 0
    log.setLevel(logging.CRITICAL)
    try:
        for _ in range(number):
            token, body = random.choice(ours)
            if (wrong := changed(random, body, others)) == body:
                continue
            read = manager._sessions._read(token.id, (checked(wrong), 1))  # type: ignore[arg-type]
            looked_at += isinstance(read, Found)
            state = manager._judged(token, read) if isinstance(read, Found) else None
            opened += state is not None and not hasattr(state, "reason")
    finally:
        log.setLevel(before)
    assert opened == 0
    assert looked_at > number / 4
    assert len(ours[0][1]) > LEAST
    assert {manager.open(token).user_id for token, _ in ours} == {"alice", None}
    assert [manager.open(token)["a"] for token, _ in ours] == [0, 1, 2, 3]
