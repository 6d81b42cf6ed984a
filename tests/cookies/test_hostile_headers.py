"""Headers by chance and of malice are read as the rules say, and in linear time: K-20 to K-32."""

import itertools
import random
import timeit
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_middleware import CookiePolicy
from tests.cookies.headers import (
    JUNK,
    LONGEST,
    LOOKALIKES,
    NASTY,
    OF_NO_USE,
    OTHER,
    PLAIN,
    SECURE,
    TOKEN,
    pairs,
    read,
    tokens,
)
from tests.gates import full

ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


def oracle(name: str, header: str) -> tuple[str, ...]:
    """Read a Cookie header as RFC 6265bis, 5.8.3 writes one, slowly: pair by pair, character by character."""
    found: list[str] = []
    for pair in header.split(";"):
        if "=" not in pair:
            continue
        left, right = pair[: pair.index("=")], trimmed(pair[pair.index("=") + 1 :])
        token, rest = right[:40], trimmed(right[40:])
        if trimmed(left) == name and len(token) == 40 and set(token) <= ALPHABET and rest[:1] in ("", ","):
            found.append(token)
    distinct = [token for number, token in enumerate(found) if token not in found[:number]]
    return tuple(distinct[:8]) if len(header) <= LONGEST else ()


def trimmed(text: str) -> str:
    while text and text[0] in " \t":
        text = text[1:]
    while text and text[-1] in " \t":
        text = text[:-1]
    return text


class TestFuzz:
    @pytest.mark.parametrize("count", [30_000, pytest.param(full(1_000_000, 100_000_000), marks=pytest.mark.soak)])
    def test_random_headers_are_read_as_the_oracle_reads_them(self, count: int) -> None:
        """G-1: no exception, no disagreement; half of the headers hold our cookie somewhere."""
        chance = random.Random(6265)
        found = 0
        for header in itertools.islice(mutations(chance), count):
            candidates = read(PLAIN, header)
            found += candidates != ()

            assert candidates == oracle("session", header), repr(header)
        assert found > count / 5

    @given(st.text(max_size=200) | st.text(st.characters(max_codepoint=0xFF), max_size=200))
    @settings(max_examples=300)
    def test_any_text_is_read_without_an_exception(self, header: str) -> None:
        """G-1: Hypothesis looks for what chance does not find."""
        assert read(PLAIN, header) == oracle("session", header)

    @given(
        st.lists(
            st.sampled_from(["session", TOKEN, OTHER, "=", ";", ",", " ", "\t", "\xa0", '"', "\n", "__Host-", "x", "$"]),
            max_size=40,
        )
    )
    @settings(max_examples=500)
    def test_any_sequence_of_parts_is_read_as_the_oracle_reads_it(self, parts: list[str]) -> None:
        """G-1: of the parts that matter to the parser."""
        header = "".join(parts)

        assert read(PLAIN, header) == oracle("session", header)
        assert read(SECURE, header) == oracle("__Host-session", header)


# Cookies' names that may stand in a token, in each other, or in what browsers and servers write around them.
NAMES: Final = ["session", "__Host-session", "s", "-", "_", "0", "Aa", "session-session", "a.b", "HttpOnly"]


@st.composite
def adversarial_headers(draw: st.DrawFn, name: str) -> str:
    """Return a header of parts that are ours, almost ours, or in the way."""
    token = st.sampled_from([TOKEN, OTHER, "0" * 40, "-" * 40, (name * 40)[:40], *tokens(*range(12))])
    almost = st.sampled_from(OF_NO_USE[:3] + OF_NO_USE[5:])
    around = st.sampled_from(["", "", "", " ", "\t", " \t ", "\xa0", "\r\n", '"', "'", "\x00"])
    names = st.sampled_from(
        [name, name, name, f"x{name}", f"{name}x", f" {name}", name.swapcase(), f"{name}={name}", f";{name}"]
    )
    value = st.one_of(
        token, token, almost, st.text(max_size=4), st.sampled_from([name, f"{name}={TOKEN}", f"{name};{name}"])
    )
    pair = st.tuples(around, names, around, st.just("="), around, value, around).map("".join)
    clean = st.tuples(st.just(f"{name}="), token).map("".join)
    part = st.one_of(clean, clean, pair, st.sampled_from(JUNK), st.sampled_from([name, f"{name}=", f"={TOKEN}", TOKEN]))
    separator = st.sampled_from(["; ", "; ", "; ", ";", ",", ", ", " ; ", ";;", ";\t", "", "\n"])
    parts = draw(st.lists(st.tuples(part, separator).map("".join), max_size=12))
    header = "".join(parts)
    return header.rstrip("; ") if draw(st.booleans()) else header


class TestTheFastWay:
    """Most headers are read without the pattern. Nobody can tell."""

    @given(st.data())
    @settings(max_examples=200)
    def test_it_finds_what_the_pattern_finds(self, data: st.DataObject) -> None:
        """K-20 to K-32: whatever the name, and whatever is around it."""
        name = data.draw(st.sampled_from(NAMES))
        cookie = CookiePolicy(name="x").for_scheme("http").named(name)
        header = data.draw(adversarial_headers(name))
        by_pattern = tuple(dict.fromkeys(cookie._tokens(header)))[:8]

        assert read(cookie, header) == by_pattern == oracle(name, header)

    @pytest.mark.parametrize("name", NAMES)
    def test_it_looks_at_both_ends(self, name: str) -> None:
        """K-22 to K-29: one token, with every neighbour that is one and that is none."""
        cookie = CookiePolicy(name="x").for_scheme("http").named(name)
        befores = ["", "a=b; ", "a=b;", "a=b;  ", "a=b;\t", "a=b, ", "a=b ", "a", " ", "; ", ";", "=", '"', "\n"]
        afters = ["", ";", "; ", "; a=b", " ", "\t", ",", ", a=b", "=", '"', "x", f"; {name}", f"; x{name}=", "\n"]
        for before, token, after in itertools.product(befores, (TOKEN, "-" * 40), afters):
            header = f"{before}{name}={token}{after}"

            assert read(cookie, header) == tuple(dict.fromkeys(cookie._tokens(header))) == oracle(name, header)

    def test_it_is_taken(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else it could as well go: where browsers write the header, the pattern is not asked."""
        cookie = CookiePolicy().for_scheme("http")
        monkeypatch.setattr(cookie, "_tokens", lambda header: pytest.fail(f"{header} went the long way"))

        for header in (f"session={TOKEN}", f"a=b; session={TOKEN}", f"session={TOKEN}; a=b", f"a=b; session={TOKEN}; c=d"):
            assert read(cookie, header) == (TOKEN,)
        assert read(cookie, "a=b; c=d") == ()


def mutations(chance: random.Random) -> Iterator[str]:
    """Yield headers put together of what section K has, with some characters changed."""
    ours = [*(pairs("session", token) for token in tokens(1, 2, 3, 4)), f" session\t= {TOKEN} ", f"session={TOKEN}"]
    odd = [lookalike.format(name="session", token=TOKEN) for lookalike in LOOKALIKES]
    corpus = [*ours, *ours, *ours, *odd, *JUNK, *(f"session={value[:60]}" for value in OF_NO_USE)]
    characters = "".join(map(chr, range(256))) + '=;, \t\n"session' * 20
    separators = ["; ", ";", "; ", " ;\t", ",", ", ", ""]
    while True:
        header = chance.choice(separators).join(chance.choices(corpus, k=chance.randrange(1, 7)))
        if chance.random() < 0.5:
            at = chance.randrange(len(header) + 1)
            header = header[:at] + chance.choice(characters) + header[at + chance.randrange(3) :]
        yield header


class TestSpeed:
    @pytest.mark.timed
    @pytest.mark.parametrize("kind", NASTY)
    def test_a_hostile_header_takes_linear_time(self, kind: str) -> None:
        """K-30, G-25: 64 KiB of it at most 10 ms, and twice as much at most 2.5 times as long."""
        half, whole = (NASTY[kind](LONGEST // 2)[: LONGEST // 2], NASTY[kind](LONGEST)[:LONGEST])
        shorter = longer = float("inf")
        for _ in range(50):
            shorter, longer = min(shorter, time_of(half)), min(longer, time_of(whole))
            if longer <= 0.010 and longer <= 2.5 * shorter:
                break

        assert longer <= 0.010
        assert longer <= 2.5 * shorter


def time_of(header: str) -> float:
    """Return how long it takes to read a header, at best (seconds)."""
    return min(timeit.repeat(lambda: read(PLAIN, header), number=1, repeat=5))
