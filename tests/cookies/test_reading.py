"""Which tokens a ``Cookie`` header has, and which it only seems to have: K-20 to K-32."""

import itertools
import logging
import re

import pytest

from session_middleware import CookiePolicy
from session_middleware.carry_over import Carried
from session_middleware.cookies import SessionCookie, reader
from session_middleware.testing import FakeClock
from session_middleware.tokens import Token
from tests.cookies.headers import JUNK, LONGEST, LOOKALIKES, OF_NO_USE, OTHER, PLAIN, SECURE, TOKEN, pairs, read, tokens


class TestReading:
    @pytest.mark.parametrize("cookie", [PLAIN, SECURE])
    def test_the_token_is_found(self, cookie: SessionCookie) -> None:
        """K-23: with space and tab around name and value, and nothing else."""
        for before, inside, between, after in itertools.product(("", " ", "\t", " \t "), repeat=4):
            header = f"{before}{cookie.name}{inside}={between}{TOKEN}{after}"

            assert read(cookie, header) == (TOKEN,)
            assert read(cookie, f"a=b;{header};c=d") == (TOKEN,)

    @pytest.mark.parametrize("header", [None, "", ";;;", "   ", "\t", "; ; ;", "=", "=;=", "a=b", "Session=" + TOKEN])
    def test_no_cookie_is_no_token(self, header: str | None) -> None:
        """K-20: the name is compared as it is, case and all."""
        assert read(PLAIN, header) == ()

    @pytest.mark.parametrize("junk", JUNK)
    def test_junk_beside_it_is_of_no_matter(self, junk: str) -> None:
        """K-21: before, after, and on both sides."""
        for header in (f"{junk}; session={TOKEN}", f"session={TOKEN}; {junk}", f"{junk};session={TOKEN};{junk}"):
            assert read(PLAIN, header) == (TOKEN,)

    @pytest.mark.parametrize("lookalike", LOOKALIKES)
    def test_what_only_looks_like_it_is_not_ours(self, lookalike: str) -> None:
        """K-22, K-24, K-25, K-27, K-28, K-32: browsers may send these for another cookie, never for ours."""
        for cookie in (PLAIN, SECURE):
            evil = lookalike.format(name=cookie.name, token=OTHER)

            assert read(cookie, evil) == ()
            assert read(cookie, f"{evil}; {cookie.name}={TOKEN}") == (TOKEN,)
            assert read(cookie, f"{cookie.name}={TOKEN}; {evil}") == (TOKEN,)

    @pytest.mark.parametrize(("name", "other"), [("a.b", "axb"), ("a*", "aa"), ("a|session", "session"), ("a+", "aa")])
    def test_the_name_is_no_pattern(self, name: str, other: str) -> None:
        """K-1, K-25: the characters that a name may have are themselves and nothing else."""
        cookie = CookiePolicy(name=name).for_scheme("http")

        assert read(cookie, f"{name}={TOKEN}; {other}={OTHER}") == (TOKEN,)

    def test_a_prefix_in_another_case_is_another_cookie(self) -> None:
        """K-25: browsers let a page on http set ``__host-session`` nowhere, but not every browser has heard of that."""
        assert read(SECURE, f"__host-session={TOKEN}; __HOST-session={TOKEN}; session={TOKEN}") == ()

    def test_a_semicolon_ends_a_pair_quotes_or_not(self) -> None:
        """K-26: the quoted reading would hide our cookie, or another one's value, in quotes."""
        assert read(PLAIN, f'lang="b; session={TOKEN}; c=d"') == (TOKEN,)

    def test_what_begins_with_a_dollar_is_a_cookie_like_any_other(self) -> None:
        """K-28: RFC 2965 is gone."""
        assert read(PLAIN, f"$Version=1; session={TOKEN}; $Path=/") == (TOKEN,)

    def test_a_comma_may_follow_the_value_and_never_precedes_the_name(self) -> None:
        """K-13: servers join two Cookie lines with a comma; before a name it may belong to another cookie's value."""
        assert read(PLAIN, f"session={TOKEN}, a=b") == (TOKEN,)
        assert read(PLAIN, f"session={TOKEN} ,a=b; c=d") == (TOKEN,)
        assert read(PLAIN, f"a=b; c=d; session={TOKEN}") == (TOKEN,)
        assert read(PLAIN, f"a=b,session={TOKEN}") == ()

    @pytest.mark.parametrize("value", OF_NO_USE, ids=range(len(OF_NO_USE)))
    def test_a_value_that_is_no_token_is_nothing(self, value: str) -> None:
        """K-29, K-32: length and alphabet are those of what we issue, to the letter."""
        assert read(PLAIN, f"session={value}") == ()
        assert read(PLAIN, f"session={value}; session={TOKEN}") == (TOKEN,)

    def test_one_token_many_times_is_one(self) -> None:
        """K-12: browsers send a cookie once for each path that it was set for."""
        assert read(PLAIN, pairs("session", *[TOKEN] * 1000)) == (TOKEN,)

    def test_the_last_eight_tokens_are_candidates(self, caplog: pytest.LogCaptureFixture) -> None:
        """K-12: in their order; which one is meant, the store knows. That there are more is logged.

        What a neighbour tosses for longer paths comes first in the header (RFC 6265bis, 5.8.3), so the last are looked at.
        """
        caplog.set_level(logging.INFO)
        cookie = CookiePolicy().for_scheme("http")
        told: list[int] = []
        cookie.tell_of_many = told.append

        assert read(cookie, pairs("session", *tokens(1, 2, 1, 3, 2))) == tokens(1, 2, 3)
        assert read(cookie, pairs("session", *tokens(*range(8), *range(8)))) == tokens(*range(8))
        assert (caplog.records, told) == ([], [])
        assert read(cookie, pairs("session", *tokens(*range(9)))) == tokens(*range(1, 9))
        assert told == [9]
        assert caplog.messages == ["9 distinct cookies of one name in a request: 8 are looked at"]

    def test_a_flood_is_logged_once_a_minute(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """K-30: whoever sends it does not fill the disk."""
        clock, cookie = FakeClock(), CookiePolicy().for_scheme("http")
        monkeypatch.setattr("session_middleware.cookies.time.monotonic", clock)
        for seconds, logged in ((0, 1), (0, 1), (30, 1), (29.9, 1), (0.2, 2), (0, 2), (3600, 3)):
            clock.advance(seconds)
            for _ in range(10):
                assert len(cookie.read(pairs("session", *tokens(*range(100))))) == 8

            assert len(caplog.records) == logged

    @pytest.mark.parametrize("header", [b"session=" + TOKEN.encode(), 5, ["session=x"], "a" * LONGEST + "b"])
    def test_a_header_that_cannot_be_is_not_read(self, header: object, caplog: pytest.LogCaptureFixture) -> None:
        """K-30, K-31: of another type, or longer than servers let through; no exception, and one line in the log."""
        caplog.set_level(logging.INFO)

        assert read(PLAIN, header) == ()
        assert [record.message for record in caplog.records] == [
            "a Cookie header is too long, or is no text: it is not read"
        ]

    def test_the_longest_header_is_read(self) -> None:
        """K-30: of 64 KiB, wherever our cookie stands in it."""
        ours = f"session={TOKEN}"
        filler = ("a=b; " * LONGEST)[: LONGEST - len(ours) - 1]

        assert read(PLAIN, f"{ours};{filler}") == (TOKEN,)
        assert read(PLAIN, f"{filler};{ours}") == (TOKEN,)
        assert len(f"{filler};{ours}") == LONGEST

    @pytest.mark.parametrize("other", ["\u2603", "\U0001f36a", "\ud800", "\u0130"])
    def test_a_character_that_no_header_has_does_no_harm(self, other: str) -> None:
        """K-31: a broken server may decode other sites' cookies as it likes; ours is ASCII."""
        assert read(PLAIN, f"a={other}; session={TOKEN}") == (TOKEN,)
        assert read(PLAIN, f"session={TOKEN}{other}") == ()
        assert read(PLAIN, f"{other}session={TOKEN}") == ()

    def test_our_own_set_cookie_is_recognised(self) -> None:
        """K-3: by its name, as browsers take it."""
        assert PLAIN.is_set_by(PLAIN.header(Token(TOKEN)))
        assert PLAIN.is_set_by(" session\t=1")
        assert not PLAIN.is_set_by("sessions=1")
        assert not PLAIN.is_set_by("Session=1")
        assert not PLAIN.is_set_by("a=session=1")
        assert not any(PLAIN.is_set_by(f"{other}session=1") for other in map(chr, range(256)) if other not in " \t")


class Old:
    """A session of another library, which its cookie names."""

    def __init__(self, secret: str) -> None:
        self.secret = secret

    def read(self, now: float) -> Carried | None:
        raise AssertionError("nothing is looked up when a header is read")

    def remove(self) -> None:
        raise AssertionError("nothing is removed when a header is read")


class OldCookie:
    """Finds the sessions of another library: here, any value of 4 letters and more."""

    path, domain = "/", None

    def __init__(self, name: str) -> None:
        self.name = name

    def find(self, header: object) -> Old | None:
        found = re.search(rf"{self.name}=([A-Za-z0-9_-]{{4,}})", header) if isinstance(header, str) else None
        return None if found is None else Old(found[1])

    def deletion_header(self) -> str:
        return f"{self.name}=; Path=/; Max-Age=0"


class TestMovingFromAnotherLibrary:
    def candidates(self, name: str, header: object) -> list[str]:
        found = reader(PLAIN, OldCookie(name))(header)
        return [one.reveal() if isinstance(one, Token) else f"old {one.secret}" for one in found]

    def test_without_one_the_header_is_read_as_ever(self) -> None:
        """No call more than there has to be."""
        assert reader(PLAIN, None) == PLAIN.read

    @pytest.mark.parametrize("header", [None, "", "a=b", "old=", "session=x", f"session={TOKEN}", b"session=x", 5])
    def test_without_its_cookie_too(self, header: object) -> None:
        """K-20, K-31."""
        assert self.candidates("old", header) == list(read(PLAIN, header))

    def test_its_cookie_counts_where_ours_is_not_there(self) -> None:
        """A browser that has ours has been moved: what its other cookie named is there no more."""
        assert self.candidates("old", "old=abcd") == ["old abcd"]
        assert self.candidates("old", f"old=abcd; session={TOKEN}") == [TOKEN]
        assert self.candidates("old", f"old=abcd; {pairs('session', *tokens(1, 2))}") == [*tokens(1, 2)]

    def test_where_both_have_one_name_either_may_be_meant(self) -> None:
        """The old library's value may have the form of a token: the store tells."""
        assert self.candidates("session", "session=abcd") == ["old abcd"]
        assert self.candidates("session", f"session={TOKEN}") == [TOKEN, f"old {TOKEN}"]
        assert self.candidates("session", "session=") == []
