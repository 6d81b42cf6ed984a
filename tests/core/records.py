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
from session_middleware.notes import Alias, Mark, Tombstone, pack_alias, pack_mark, pack_tombstone
from session_middleware.record import Binding, Envelope, Kind, Previous, pack, pack_values
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

SOME_IDS = b"".join(b"id-number-%02d" % number for number in range(60))

moments = st.floats(0, END_OF_TIME, exclude_max=True)

ids = st.text("AZaz09-_", min_size=12, max_size=12)


durations = st.floats(0, END_OF_TIME, exclude_min=True, exclude_max=True)
proofs = st.binary(min_size=16, max_size=16)

user_ids = st.one_of(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=255).map(
        lambda text: text.encode()[:255].decode(errors="ignore")
    ),
    st.sampled_from(["a", "a" * 255, "é" * 127, "語" * 85, "\U0001f36a" * 63, "\0", "0", " ", "\u202e", "a\0b"]),
)
encodings = st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=10), st.binary(max_size=30), max_size=5)
envelopes = st.builds(
    Envelope,
    user_id=st.none() | user_ids,
    created_at=moments,
    signed_in_at=moments,
    last_seen_at=moments,
    idle=st.none() | durations,
    absolute=durations,
    persistent=st.booleans(),
    era=st.integers(0, 2**32 - 1),
    current=st.lists(proofs, max_size=4).map(tuple),
    issued_at=moments,
    previous=st.lists(st.builds(Previous, proofs, st.sampled_from(Kind), st.none() | moments), max_size=3).map(tuple),
    mark=st.none() | ids,
    snapshot=st.just(b"") | encodings.map(pack_values),
    carried=st.booleans(),
    aliases=st.lists(ids, max_size=8, unique=True).map(tuple),
    not_after=st.none() | moments,
    device=st.none() | st.text(min_size=1, max_size=50),
    family=st.none() | st.binary(min_size=6, max_size=6).filter(any),
    binding=st.none() | st.builds(Binding, st.binary(min_size=32, max_size=32), moments, st.binary(max_size=600)),
)


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


def a_more(
    a: int = 0,
    d: int = 0,
    k: int = 0,
    *,
    mark: bytes = b"." * 12,
    not_after: float = -1.0,
    family: bytes = bytes(6),
    rest: bytes = b"",
) -> bytes:
    """Return what stands behind the user id of a session that has more."""
    return bytes((a, d)) + k.to_bytes(2, "big") + mark + struct.pack(">d", not_after) + family + rest


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
        pack_tombstone(),
        pack_mark(Mark(((new_id(), None), (new_id(), KEY)), time.time() + 99)),
        pack_alias(Alias((new_id(), KEY), None, time.time() + 99)),
        pack(an_envelope("mia", aliases=(new_id(), new_id())), packed({"a": 1})),
        pack(an_envelope("kim", not_after=time.time() + 99, device="Firefox on Ubuntu", family=b"family"), packed({"a": 1})),
        pack(an_envelope("lou", binding=Binding(b"s" * 32, time.time(), b"k" * 91)), packed({"a": 1})),
        pack_tombstone(Tombstone("revoked", time.time(), (PROOF, b"a" * 16))),
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
