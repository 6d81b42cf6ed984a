"""Tokens: random, of one form, and never what the store keeps."""

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

from session_middleware import ConfigurationError, MemoryStore, Send, SessionManager
from session_middleware.testing import FaultyStore
from session_middleware.tokens import (
    Names,
    Token,
    family_function,
    id_of_alias,
    id_of_mark,
    new_id,
    proof_function,
    well_formed,
    well_formed_id,
)
from tests.gates import full

COUNT = full(100_000, 1_000_000)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

names = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)
texts_of_tokens = st.text("ABab01-_", min_size=40, max_size=40)


def decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text)


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


class TestNew:
    def test_it_is_30_bytes_in_40_characters(self) -> None:
        """Promise 11: an id of 9 and a secret of 21 bytes; there is no padding."""
        for token in (Token.new() for _ in range(1000)):
            text = token.reveal()

            assert len(text) == 40
            assert len(decoded(text[:12])) == 9
            assert len(decoded(text[12:])) == 21
            assert base64.urlsafe_b64encode(decoded(text)).decode() == text
            assert token.id == text[:12]
            assert well_formed(text)
            assert well_formed_id(token.id)

    def test_every_bit_is_random(self) -> None:
        """Promise 11, OWASP ASVS 7.2.3: no two are the same, and each of the 240 bits is set in half of them, within 6
        sigma."""
        issued = [Token.new().reveal() for _ in range(COUNT)]
        counts = counts_of_bits([int.from_bytes(decoded(text), "big") for text in issued], 240)
        sigma = math.sqrt(COUNT) / 2

        assert len({text[:12] for text in issued}) == len({text[12:] for text in issued}) == COUNT
        assert all(abs(count - COUNT / 2) < 6 * sigma for count in counts)

    def test_a_session_keeps_its_id_and_gets_another_secret(self) -> None:
        """Promise 17: what is new is unguessable, to the one who has the old one, too."""
        before = Token.new()
        after = [Token.new(before.id) for _ in range(1000)]

        assert {token.id for token in after} == {before.id}
        assert all(well_formed(token.reveal()) for token in after)
        assert len({token.reveal()[12:] for token in (before, *after)}) == 1001

    def test_ids_are_of_the_same_kind(self) -> None:
        """Promise 17: 72 random bits."""
        issued = [new_id() for _ in range(10_000)]

        assert len(set(issued)) == 10_000
        assert all(map(well_formed_id, issued))

    def test_forked_processes_issue_different_ones(self) -> None:
        """Promise 11: no state is shared by the workers of a preloaded application."""
        program = """
import os, sys
from session_middleware.tokens import Token
before = [Token.new().reveal() for _ in range(100)]
sys.stdout.write("\\n".join(before) + "\\n")
sys.stdout.flush()
children = []
for _ in range(4):
    child = os.fork()
    if child == 0:
        issued = "".join(Token.new().reveal() + "\\n" for _ in range(25_000)).encode()
        while issued:
            issued = issued[os.write(1, issued[:4092 // 41 * 41]):]
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""
        issued = printed_by(program).split()

        assert len(issued) == len({text[:12] for text in issued}) == len({text[12:] for text in issued}) == 100_100
        assert all(map(well_formed, issued))

    def test_the_source_of_randomness_is_the_system(self) -> None:
        """Promise 11: a seeded generator changes nothing."""
        program = "import random; random.seed(1); from session_middleware.tokens import Token; print(Token.new().reveal())"
        issued = {printed_by(program) for _ in range(2)}

        assert len(issued) == 2
        assert all(re.fullmatch(r"[A-Za-z0-9_-]{40}\n", line) for line in issued)


def printed_by(program: str) -> str:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=True,
        timeout=600,
    ).stdout


NO_TOKENS = [
    "",
    "A" * 39,
    "A" * 41,
    "A" * 43,
    "A" * 40 + "\n",
    "\n" + "A" * 40,
    "A" * 39 + "\n",
    "A" * 39 + "=",
    "A" * 40 + "=",
    "A" * 39 + "+",
    "A" * 39 + "/",
    "A" * 39 + " ",
    "A" * 39 + ".",
    "A" * 39 + "\0",
    "A" * 39 + "é",
    "A" * 39 + "\uff21",
    "A" * 39 + "\u0661",
    "A" * 40 + "," + "A" * 40,
    "A" * 100_000,
]


class TestForm:
    @pytest.mark.parametrize("text", NO_TOKENS, ids=lambda text: repr(text)[:60])
    def test_what_has_not_the_form_is_none(self, text: str) -> None:
        """Promise 11: the whole text, and these characters alone."""
        assert not well_formed(text)
        assert Token.read(text) is None

    @pytest.mark.parametrize(
        "other", [None, b"A" * 40, 5, ["A"] * 40, str, object()], ids=lambda other: type(other).__name__
    )
    def test_what_is_no_text_is_none(self, other: object) -> None:
        """Promise 11: whoever calls the manager may have found nothing, or anything."""
        assert Token.read(other) is None
        assert not well_formed_id(other)

    @given(st.text(max_size=50) | st.text("AZaz09-_+/=\n", min_size=39, max_size=41))
    def test_it_is_40_characters_of_the_alphabet(self, text: str) -> None:
        """Promise 11."""
        assert well_formed(text) == (len(text) == 40 and set(text) <= set(ALPHABET))
        assert (Token.read(text) is not None) == well_formed(text)

    @given(st.text(max_size=20) | st.text("AZaz09-_+/=\n", min_size=11, max_size=13))
    def test_an_id_is_12_characters_of_the_alphabet(self, text: str) -> None:
        """Promise 17."""
        assert well_formed_id(text) == (len(text) == 12 and set(text) <= set(ALPHABET))

    @given(texts_of_tokens)
    def test_what_was_revealed_is_read(self, text: str) -> None:
        """The browser brings back what it was sent."""
        token = Token.read(text)

        assert token is not None
        assert token.reveal() == text
        assert token.id == text[:12]

    @given(texts_of_tokens, texts_of_tokens)
    def test_equal_ones_are_the_same(self, one: str, other: str) -> None:
        """One cookie sent many times is one candidate; and a token is no text, so neither passes for the other."""
        assert (Token(one) == Token(other)) == (one == other)
        assert len({Token(one), Token(other), Token(one)}) == len({one, other})
        assert Token(one) != one
        assert hash(Token(one)) == hash(Token(one))


class TestDerived:
    def test_it_is_always_the_same(self) -> None:
        """Parallel requests with one old cookie all mean the same session, and so does the next version of the package."""
        token = Token.derived("session", "carried over", "secret")

        assert token == Token.derived("session", "carried over", "secret")
        assert token.reveal() == "hXY0UfOZqKinEDMirayijGGEXSoK6LM-o3wGMIcg"

    @given(st.lists(names, min_size=1, max_size=4))
    def test_it_is_a_digest_of_its_parts(self, parts: list[str]) -> None:
        """Promise 11: of 240 bits, domain-separated, in the form of a token."""
        digest = hashlib.sha256("\0".join(["session_middleware", *parts]).encode()).digest()
        text = Token.derived(*parts).reveal()

        assert well_formed(text)
        assert text == base64.urlsafe_b64encode(digest[:30]).decode()

    @given(st.lists(names, min_size=1, max_size=4), st.lists(names, min_size=1, max_size=4))
    def test_other_parts_make_another_token(self, ones: list[str], others: list[str]) -> None:
        """Promise 11: no part runs into the next."""
        assert (Token.derived(*ones) == Token.derived(*others)) == (ones == others)


class TestProof:
    def test_it_is_a_digest_of_the_secret_bound_to_its_record(self) -> None:
        """Promises 11 and 25: the equation in the docstring of the module."""
        token = Token.new()
        key, secret = token.reveal()[:12].encode(), token.reveal()[12:].encode()

        digest = hashlib.sha256(b"session_middleware\0shop\0" + key + b"\0" + secret).digest()

        assert proof_function("shop")(token) == digest[:16]

    def test_that_of_a_known_token_never_changes(self) -> None:
        """A new version of the package must find the sessions of the old one."""
        assert proof_function("session")(Token("A" * 40)).hex() == "3be7398991e1abb3e052c525157c9f32"

    @given(names, names, st.text("AB", min_size=12, max_size=12), st.text("AB", min_size=12, max_size=12))
    def test_it_differs_by_namespace_and_id(self, one: str, other: str, key: str, another: str) -> None:
        """Promise 11: a copied record, or another site's, takes no token of ours."""
        secret = "s" * 28
        same = (one, key) == (other, another)

        assert (proof_function(one)(Token(key + secret)) == proof_function(other)(Token(another + secret))) == same

    @given(texts_of_tokens, texts_of_tokens)
    def test_it_differs_by_the_secret(self, one: str, other: str) -> None:
        """Promise 11."""
        proof_of = proof_function("session")

        assert (proof_of(Token(one)) == proof_of(Token(other))) == (one == other)

    def test_no_two_of_many_are_the_same(self) -> None:
        """Promise 11."""
        proof_of = proof_function("session")
        key = new_id()

        assert len({proof_of(Token.new(key)) for _ in range(10_000)}) == 10_000

    @pytest.mark.parametrize("namespace", ["", "a\0b", "\0", "a\nb", "\ud800", None, 5, b"shop"])
    def test_a_namespace_that_could_pass_for_another_does_not_start(self, namespace: object) -> None:
        """Promises 11 and 15: nor does one that cannot be encoded."""
        with pytest.raises(ConfigurationError, match=r"namespace=.*: write a text"):
            SessionManager(MemoryStore(), namespace=namespace)  # type: ignore[arg-type]  # the point of it


class TestRenewed:
    """The token that takes the place of another as time passes."""

    def test_120_bits_of_it_are_new(self) -> None:
        """Promise 11: id and family stay, so that it is known what it comes from; it has the form of every token."""
        token = Token.new()
        successors = {token.successor().reveal() for _ in range(4000)}

        assert len({text[20:] for text in successors}) == 4000
        assert {text[:20] for text in successors} == {token.reveal()[:20]}
        assert all(map(well_formed, successors))
        assert len({text[20] for text in successors}) == len({text[39] for text in successors}) == 64

    def test_its_family_is_a_digest_bound_to_its_record(self) -> None:
        """Promises 11 and 25: the equation in the docstring of the module."""
        token = Token.new()
        key, family = token.reveal()[:12].encode(), token.reveal()[12:20].encode()
        digest = hashlib.sha256(b"session_middleware\0shop\0" + key + b"\0family\0" + family).digest()

        assert family_function("shop")(token) == family_function("shop")(token.successor()) == digest[:6]

    def test_tokens_of_two_families_have_nothing_in_common(self) -> None:
        """What is made up is told from what was issued once; and so is what another site has issued."""
        token = Token.new()

        assert family_function("shop")(token) != family_function("shop")(Token.new(token.id))
        assert family_function("shop")(token) != family_function("session")(token)


class TestMark:
    @given(names, names, names, names)
    def test_its_id_is_that_of_one_user_of_one_site(self, one: str, other: str, user: str, another: str) -> None:
        """Promise 19: a sign-in looks where the revocation wrote; users who differ share nothing."""
        assert well_formed_id(id_of_mark(one, user))
        assert (id_of_mark(one, user) == id_of_mark(other, another)) == ((one, user) == (other, another))

    def test_that_of_a_known_user_never_changes(self) -> None:
        """Workers of two versions of the package serve one site while it is updated."""
        assert id_of_mark("session", "alice") == "Q-h24eedyYmV"

    def test_an_alias_is_looked_for_where_no_mark_is(self) -> None:
        """Promise 19: whatever an identity provider sends as a name; it never changes either."""
        assert id_of_alias("session", "alice") == "U6SdzviSWnX3"
        assert id_of_alias("session", "alice") != id_of_alias("shop", "alice") != id_of_mark("shop", "alice")
        assert Names("session").aliases("alice") == ("U6SdzviSWnX3",)

    @given(names, names)
    def test_it_is_the_id_of_no_token_that_is_made_of_something(self, namespace: str, user: str) -> None:
        """Promise 19: who chooses the secret of an old session, or a user id, does not meet a mark."""
        assert Token.derived(namespace, "carried over", user).id != id_of_mark(namespace, user)
        assert Token.derived(namespace, user).id != id_of_mark(namespace, user)

    def test_whoever_knows_it_opens_and_ends_nothing(self) -> None:
        """Promises 11 and 19: it is no secret, for it is made of the user's name."""
        store = FaultyStore(MemoryStore())
        manager = SessionManager(store, namespace="shop")
        manager.revoke_all("alice")
        key = id_of_mark("shop", "alice")
        before = store.load(key)
        assert before is not None

        for secret in ("A" * 28, "." * 28, key + "A" * 16):
            session = manager.open(key + secret)
            assert dict(session) == {}
            assert session.is_new
            assert session.id != key
            session["name"] = "value"
            session.login("alice")
            assert isinstance(manager.commit(session), Send)
        assert manager.find(key) is None
        assert not manager.revoke(key)
        assert store.load(key) == before

    def test_a_session_never_takes_its_place(self) -> None:
        """Promise 19: were the id of a new session that of a mark, the session would get another one."""
        manager = SessionManager(MemoryStore(), namespace="shop")
        manager.revoke_all("alice")
        session = manager.open()
        session["name"] = "value"
        assert session.state is not None
        session.state.token = Token.new(id_of_mark("shop", "alice"))
        verdict = manager.commit(session)

        assert isinstance(verdict, Send)
        assert verdict.token.id != id_of_mark("shop", "alice")
        assert manager.open(verdict.token)["name"] == "value"


class TestInTheStore:
    def test_what_is_stored_opens_nothing(self) -> None:
        """Promises 11 and 25: who can read the store, or has the id from a log, has no token."""
        store = MemoryStore()
        manager = SessionManager(store)
        session = manager.open()
        session["name"] = "alice"
        verdict = manager.commit(session)
        assert isinstance(verdict, Send)
        text = verdict.token.reveal()
        found = store.load(session.id)
        assert found is not None

        assert list(store.keys()) == [session.id] == [text[:12]]
        assert text[12:].encode() not in found.value
        assert base64.urlsafe_b64decode(text[12:]) not in found.value
        assert dict(manager.open(text)) == dict(manager.open(verdict.token)) == {"name": "alice"}
        for guess in (session.id, session.id + "A" * 28, session.id * 3 + session.id[:4], text[:-1] + "~", text.swapcase()):
            assert dict(manager.open(guess)) == {}
        assert dict(SessionManager(store, namespace="other").open(verdict.token)) == {}

    def test_a_user_is_listed_by_their_one_name_each_session_once(self) -> None:
        """As the index has it: what is written while it is read may stand there twice."""
        index = {"alice": ["first", "second", "first"]}

        assert list(Names("session").listed("alice", index.__getitem__)) == ["first", "second"]
