"""The worked example of the record format is what the package writes and reads."""

import re
from base64 import urlsafe_b64encode
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any
from uuid import UUID

import pytest
from msgpack import unpackb

from session_middleware import MsgpackCodec
from session_middleware.record import Envelope, Kind, Previous, pack, pack_values, unpack, unpack_values
from session_middleware.tokens import Token, id_of_alias, id_of_mark, proof_function
from tests.book.pages import Page

PAGE = Page("reference/record-format")
ROWS = [
    (int(at), bytes.fromhex(data), name, meaning)
    for at, data, name, meaning in re.findall(
        r"^\| (\d+) \| `([0-9a-f ]+)` \| ([^|]+) \| ([^|]+) \|$", PAGE.text, re.MULTILINE
    )
]
EXAMPLE = b"".join(data for _, data, _, _ in ROWS)
ENVELOPE = Envelope(
    user_id="alice",
    created_at=1790000000.0,
    signed_in_at=1790000060.0,
    last_seen_at=1790000060.0,
    idle=3600.0,
    absolute=86400.0,
    persistent=False,
    era=1,
    current=(bytes.fromhex("437cf5c9152bdb1e80b1a3247020a73d"),),
    issued_at=1790000060.0,
    previous=(Previous(bytes.fromhex("eaf375e1aad229528414330dff823cec"), Kind.SIGNED_IN, 1790000060.0),),
)


def test_the_rows_follow_each_other() -> None:
    """Each begins where the one before it ends."""
    at = 0
    for stated, data, _, _ in ROWS:
        assert stated == at
        at += len(data)

    assert f" {at} bytes:" in PAGE.text


def test_the_example_is_what_is_written() -> None:
    """Byte for byte."""
    assert pack(ENVELOPE, pack_values({"visits": MsgpackCodec().encode(3)})) == EXAMPLE


def test_the_example_is_what_is_read() -> None:
    """The envelope, and the values."""
    found = unpack(EXAMPLE)

    assert isinstance(found, tuple)
    assert found[0] == ENVELOPE
    assert {key: MsgpackCodec().decode(value) for key, value in unpack_values(found[1]).items()} == {"visits": 3}


def test_the_names_and_numbers_in_the_rows_are_those_of_the_envelope() -> None:
    """What a row says that its bytes mean."""
    said = {name: meaning for _, _, name, meaning in ROWS}
    times = {name: getattr(ENVELOPE, name) for name in Envelope._fields if said.get(name, "")[-2:] == ".0"}

    assert times.keys() == {"created_at", "signed_in_at", "last_seen_at", "issued_at", "idle", "absolute"}
    assert {name: float(said[name]) for name in times} == times


def test_the_code_on_the_page_reads_the_same_bytes() -> None:
    """Its assertions hold, and its token is the one that the proofs are of."""
    names = PAGE.run()
    token = Token(names["session_id"] + names["secret"])

    assert names["value"] == EXAMPLE
    assert proof_function("session")(token) == ENVELOPE.current[0]


def plain(value: object) -> Any:
    """Return what MessagePack itself makes of an encoded value; an extension is its code and its bytes."""
    return unpackb(MsgpackCodec().encode(value), ext_hook=lambda code, data: (code, data))


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        ("set, frozenset", {1}, b"\xdd\0\0\0\x01\x01"),
        ("int beyond 64 bits", 2**70, (2**70).to_bytes(9, "big")),
        ("date, time", date(2026, 11, 26), b"2026-11-26"),
        ("Decimal", Decimal("1.50"), b"1.50"),
        ("UUID", UUID(int=1), bytes(15) + b"\x01"),
    ],
)
def test_a_type_is_written_as_its_row_says(kind: str, value: object, data: bytes) -> None:
    """Its code, and its bytes."""
    code, found = plain(value)

    assert f"| {kind} | {code}" in PAGE.text
    assert found == data


@pytest.mark.parametrize(
    ("kind", "value", "parts"),
    [
        ("datetime", datetime(2026, 11, 26, 8, 30), ["2026-11-26T08:30:00", 0]),
        ("date, time", time(8, 30), ["08:30:00", 0]),
        ("timedelta", timedelta(days=1, seconds=2, microseconds=3), [1, 2, 3]),
    ],
)
def test_what_has_parts_is_an_array(kind: str, value: object, parts: list[object]) -> None:
    """Packed in its turn."""
    code, found = plain(value)

    assert re.search(rf"^\| {kind} \| (?:-\d, )?{code} \|", PAGE.text, re.MULTILINE)
    assert unpackb(found) == parts


def test_a_tuple_is_an_array_with_a_mark() -> None:
    """An extension without bytes."""
    assert plain((1,)) == [(-2, b""), 1]


def test_the_id_of_a_mark_is_made_of_the_user() -> None:
    """As the equation says."""
    text = "id of a mark = base64url(SHA-256("

    assert text in PAGE.text
    assert id_of_mark("session", "alice") == "Q-h24eedyYmV"


def test_the_id_of_an_alias_is_made_of_it() -> None:
    """As the equation says."""
    text = b"session_middleware\0session\0alias\0sid 5"

    assert 'id of an alias = base64url(SHA-256("session_middleware" 0 namespace 0 "alias" 0 alias)[:9])' in PAGE.text
    assert id_of_alias("session", "sid 5") == urlsafe_b64encode(sha256(text).digest()[:9]).decode()
