"""Tokens: random, of one form, and never what the store knows a session by."""

import base64
import hashlib
import math
import os
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from session_middleware import MemoryStore, Send, SessionManager
from session_middleware.tokens import key_function, new, well_formed

COUNT = 100_000
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def decoded(token: str) -> bytes:
    return base64.urlsafe_b64decode(token + "=")


def counts_of_bits(numbers: list[int], bits: int) -> list[int]:
    """Return how often each bit is set, by adding the numbers up in columns."""
    columns: list[int] = []
    for number in numbers:
        carry, place = number, 0
        while carry:
            if place == len(columns):
                columns.append(0)
            columns[place], carry = columns[place] ^ carry, columns[place] & carry
            place += 1
    return [sum((column >> bit & 1) << place for place, column in enumerate(columns)) for bit in range(bits)]


def test_a_token_is_32_bytes_in_43_characters() -> None:
    """Promise 11."""
    for token in (new() for _ in range(1000)):
        assert len(token) == 43
        assert len(decoded(token)) == 32
        assert base64.urlsafe_b64encode(decoded(token)).decode() == token + "="
        assert well_formed(token)


def test_every_bit_of_a_token_is_random() -> None:
    """Promise 11, OWASP ASVS 7.2.3: no two are the same, and each of the 256 bits is set in half of them, within 6 sigma."""
    issued = [new() for _ in range(COUNT)]
    counts = counts_of_bits([int.from_bytes(decoded(token), "big") for token in issued], 256)
    sigma = math.sqrt(COUNT) / 2

    assert len(set(issued)) == COUNT
    assert all(abs(count - COUNT / 2) < 6 * sigma for count in counts)


def test_forked_processes_issue_different_tokens() -> None:
    """Promise 11: no state is shared by the workers of a preloaded application."""
    program = """
import os, sys
from session_middleware.tokens import new
before = [new() for _ in range(100)]
sys.stdout.write("\\n".join(before) + "\\n")
sys.stdout.flush()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        issued = "".join(new() + "\\n" for _ in range(25_000)).encode()
        while issued:
            issued = issued[os.write(1, issued[:4092 // 44 * 44]):]
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    issued = done.stdout.split()

    assert len(issued) == len(set(issued)) == 100_100
    assert all(map(well_formed, issued))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * 42,
        "A" * 44,
        "A" * 43 + "\n",
        "\n" + "A" * 43,
        "A" * 42 + "\n",
        "A" * 42 + "=",
        "A" * 43 + "=",
        "A" * 42 + "+",
        "A" * 42 + "/",
        "A" * 42 + " ",
        "A" * 42 + "\0",
        "A" * 42 + "é",
        "A" * 42 + "\uff21",
        "A" * 42 + "\u0661",
        "A" * 43 + "," + "A" * 43,
        "A" * 100_000,
    ],
    ids=repr,
)
def test_what_has_not_the_form_of_a_token_is_none(text: str) -> None:
    """Promise 11: the whole text, and these characters alone."""
    assert not well_formed(text)


@given(st.text(max_size=50) | st.text("AZaz09-_+/=\n", min_size=42, max_size=44))
def test_the_form_is_that_of_43_characters_of_the_alphabet(text: str) -> None:
    """Promise 11."""
    assert well_formed(text) == (len(text) == 43 and set(text) <= set(ALPHABET))


def test_the_key_is_a_digest_of_the_token_and_the_namespace() -> None:
    """Promise 11: domain-separated, in the form of a token."""
    token = new()
    digest = hashlib.sha256(b"session_middleware\0shop\0" + token.encode()).digest()

    assert key_function("shop")(token) == base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert well_formed(key_function("shop")(token))


def test_the_key_of_a_known_token_never_changes() -> None:
    """A new version of the package must find the sessions of the old one."""
    assert key_function("session")("A" * 43) == "nMNbpAXXNG-U-Dh3Bs0yw9vnIF8rkX8YKYyYSJxBSbM"


@given(st.text("ABab-_", min_size=43, max_size=43), st.text(max_size=5), st.text(max_size=5))
def test_installations_do_not_share_keys(token: str, one: str, other: str) -> None:
    """Promise 11: one token gives another key in each namespace."""
    assert (key_function(one)(token) == key_function(other)(token)) == (one == other)


def test_different_tokens_have_different_keys() -> None:
    """Promise 11."""
    key_of = key_function("session")
    issued = [new() for _ in range(10_000)]

    assert len({key_of(token) for token in issued}) == 10_000
    assert {key_of(token) for token in issued}.isdisjoint(issued)


def test_a_key_opens_nothing() -> None:
    """Promise 11: who can read the store, or has the id from a log, has no token."""
    store = MemoryStore()
    manager = SessionManager(store)
    session = manager.open()
    session["name"] = "alice"
    verdict = manager.commit(session)
    assert isinstance(verdict, Send)

    assert manager.open(verdict.token)["name"] == "alice"
    assert well_formed(session.id)
    assert dict(manager.open(session.id)) == {}
    assert list(store.keys()) == [session.id]
    found = store.load(session.id)
    assert found is not None
    assert verdict.token.encode() not in found.value
    assert dict(SessionManager(store, namespace="other").open(verdict.token)) == {}


def test_the_source_of_randomness_is_the_system() -> None:
    """Promise 11: a seeded generator changes nothing."""
    program = "import random; random.seed(1); from session_middleware.tokens import new; print(new())"
    issued = {
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env={**os.environ, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout
        for _ in range(2)
    }

    assert len(issued) == 2
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}\n", line) for line in issued)
