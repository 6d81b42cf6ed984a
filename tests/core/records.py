"""Records, good ones, damaged ones and hostile ones, and what hypothesis makes of them."""

import struct
import time
from collections.abc import Iterator, Mapping
from itertools import chain
from random import Random
from types import MappingProxyType
from typing import Any
from zlib import crc32

from hypothesis import strategies as st

from session_middleware import MemoryStore, MsgpackCodec, Record, Send, SessionManager, Stored
from session_middleware.record import (
    Alias,
    Envelope,
    Kind,
    Mark,
    Previous,
    pack,
    pack_alias,
    pack_ended,
    pack_mark,
    pack_values,
)
from session_middleware.stores.base import Version
from session_middleware.tokens import Token, new_id, proof_function
from session_middleware.values import encoded
from tests.values import EVERYTHING, flipped, mutated, truncated

TOKEN = Token("id-of-12-chr" + "SECRET-" * 4)
KEY = TOKEN.id

CODEC = MsgpackCodec()
PROOF = proof_function("session")(TOKEN)
BEGAN = 1_700_000_000.0
TIMES = dict.fromkeys(("created", "signed_in", "seen", "issued"), BEGAN) | {"idle": 3600.0, "absolute": 86400.0}
END_OF_TIME = 5e11

moments = st.floats(0, END_OF_TIME, exclude_max=True)

ids = st.text("AZaz09-_", min_size=12, max_size=12)


def an_envelope(user_id: str | None = None, *, idle: float | None = 3600.0, **fields: Any) -> Envelope:
    now = time.time()
    era = 0 if user_id is None else 1
    return Envelope(user_id, now, now, now, idle, 86400.0, False, era, (PROOF,), now)._replace(**fields)


def sealed(body: bytes, form: int = 1) -> bytes:
    """Return a value with a check that matches, as somebody who can write to the store could make it."""
    return struct.pack(">BI", form, crc32(body)) + body


def resealed(value: bytes) -> bytes:
    return sealed(value[5:])


def a_body(
    times: Mapping[str, float] = MappingProxyType({}),
    *,
    kind: int = 1,
    flags: int = 0,
    era: int = 0,
    current: int = 1,
    previous: int = 0,
    user: int = 0,
    snapshot: int = 0,
    rest: bytes = PROOF + b"\x80",
) -> bytes:
    """Return the body of a session, put together by hand from the equation in the docstring of the module."""
    numbers = b"".join(struct.pack(">d", number) for number in {**TIMES, **times}.values())
    counts = era.to_bytes(4, "big") + bytes((current, previous, user)) + snapshot.to_bytes(4, "big")
    return bytes((kind, flags)) + numbers + counts + rest


def a_previous(proof: bytes = b"p" * 16, kind: int = 1, at: float = -1) -> bytes:
    return proof + bytes((kind,)) + struct.pack(">d", at)


def the_values() -> list[bytes]:
    """Return what a store may hold under the key, of every shape."""
    signed_in = (
        Previous(b"a" * 16, Kind.RENEWED, None),
        Previous(b"b" * 16, Kind.SIGNED_IN, time.time()),
        Previous(PROOF, Kind.REPLACED, time.time()),
    )
    return [
        pack(an_envelope(), packed({"visits": 1})),
        pack(an_envelope("alice", persistent=True, mark=new_id()), packed(EVERYTHING)),
        pack(an_envelope("zoë", idle=None, carried=True), packed({})),
        pack(an_envelope("bob", current=(b"c" * 16, PROOF), previous=signed_in[:2]), packed({"a": [1]})),
        pack(an_envelope("eve", current=(b"c" * 16,), previous=signed_in, snapshot=packed({"b": 2})), packed({"a": 1})),
        pack_ended(),
        pack_mark(Mark(((new_id(), None), (new_id(), KEY)), time.time() + 99)),
        pack_alias(Alias((new_id(), KEY), None, time.time() + 99)),
        pack(an_envelope("mia", aliases=(new_id(), new_id())), packed({"a": 1})),
    ]


def packed(data: dict[str, Any]) -> bytes:
    return pack_values(encoded(data, CODEC))


def damaged_values() -> Iterator[bytes]:
    """Yield values that are not what was written: first the systematic damage, then more of it at random, without end."""
    whole = the_values()
    systematic = chain.from_iterable(chain(truncated(value), flipped(value)) for value in whole)
    return (value for value in chain(systematic, mutated(whole, Random(4))) if value not in whole)


class Watched(MemoryStore):
    """A store that notes the calls that write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def create(self, key: str, record: Record) -> bool:
        self.writes.append("create")
        return super().create(key, record)

    def update(self, key: str, record: Record, *, version: Version) -> bool:
        self.writes.append("update")
        return super().update(key, record, version=version)

    def delete(self, key: str) -> bool:
        self.writes.append("delete")
        return super().delete(key)


def plant(store: Watched, value: bytes) -> Stored:
    assert MemoryStore.create(store, KEY, Record(value, int(time.time()) + 9999, None))
    found = store.load(KEY)
    assert found is not None
    return found


def token_of(verdict: object) -> Token:
    assert isinstance(verdict, Send)
    return verdict.token


def stored(manager: SessionManager, data: dict[str, Any]) -> Send:
    session = manager.open()
    session.update(data)
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)
    return verdict
