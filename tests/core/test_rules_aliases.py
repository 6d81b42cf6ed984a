"""Aliases: what a sign-in adds, and what ends it meanwhile. What is left of a session: who is told why it has ended."""

import pytest

from session_middleware import rules
from session_middleware.notes import Alias, Tombstone
from session_middleware.record import MOST_ALIASES
from tests.core.eras import NOW, an_envelope, p

NONCE, ANOTHER = "n" * 12, "o" * 12
KEY, OTHER = "k" * 12, "l" * 12


def aliases(letters: str) -> tuple[str, ...]:
    return tuple([letter * 12 for letter in letters])


class TestAliases:
    @pytest.mark.parametrize(
        ("before", "came", "after"),
        [
            ("", "a", "a"),
            ("a", "b", "ab"),
            ("ab", "cd", "abcd"),
            ("abc", "b", "acb"),
            ("abc", "ab", "cab"),
            ("abcdefgh", "i", "bcdefghi"),
            ("abcdefgh", "a", "bcdefgha"),
            ("abcdefgh", "ij", "cdefghij"),
            ("abc", "", "abc"),
        ],
    )
    def test_those_of_a_sign_in_are_the_newest(self, before: str, came: str, after: str) -> None:
        """A session has each of them once, and at most eight; of more, the oldest go. Nothing else changes."""
        assert MOST_ALIASES == 8
        envelope = an_envelope(aliases=aliases(before))
        assert rules.named(envelope, aliases(came)) == envelope._replace(aliases=aliases(after))

    @pytest.mark.parametrize(
        ("alias", "may"),
        [
            (None, False),
            (Alias((KEY,), NONCE, NOW), True),
            (Alias((OTHER, KEY), NONCE, NOW), True),
            (Alias((OTHER,), NONCE, NOW), False),
            (Alias((), NONCE, NOW), False),
            (Alias((KEY,), ANOTHER, NOW), False),
            (Alias((KEY,), None, NOW), False),
            (Alias((OTHER,), ANOTHER, NOW), False),
        ],
    )
    def test_a_sign_in_goes_on_if_they_name_it_and_were_not_ended(self, alias: Alias | None, may: bool) -> None:
        """Whoever ends all sessions of an alias ends those that are being signed in to, too."""
        assert rules.names_still(alias, NONCE, KEY) == may

    def test_an_alias_that_was_never_ended_has_no_nonce(self) -> None:
        """A first end is one that came after a sign-in which has read of none."""
        assert rules.names_still(Alias((KEY,), None, NOW), None, KEY)
        assert not rules.names_still(Alias((KEY,), NONCE, NOW), None, KEY)


@pytest.mark.parametrize(
    ("current", "before", "told"),
    [
        ("c", "", "c"),
        ("cd", "", "cd"),
        ("c", "a:renewed b:renewed", "abc"),
        ("c", "a:renewed@-50 b:renewed@-5", "abc"),
        ("c", "a:signed-in@-5 b:renewed d:replaced@-5", "bc"),
    ],
)
def test_who_held_a_secret_of_an_ended_session_is_told_why(current: str, before: str, told: str) -> None:
    """Also one that time has renewed; none that a sign-in or regenerate() took out of service: it may be a thief's."""
    envelope = an_envelope(current, before, user_id="alice")
    assert rules.tombstone(envelope, "revoked", NOW) == Tombstone("revoked", NOW, tuple(map(p, told)))
