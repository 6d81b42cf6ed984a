"""What the lab says, in both languages."""

import re
from pathlib import Path
from string import Formatter

import pytest
from webob import Request

from examples.lab.site import MOST_LINES
from examples.lab.texts import LANGUAGES, TEXTS, preferred

HERE = Path(__file__).parents[2] / "examples" / "lab"


def names_in(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_say_the_same_things() -> None:
    """No text is missing, and each names the same values and the same code."""
    english, korean = TEXTS["en"].all, TEXTS["ko"].all

    assert english.keys() == korean.keys()
    assert {key for key in english if names_in(english[key]) != names_in(korean[key])} == set()
    assert all(english.values())
    assert all(korean.values())
    for key in english:
        assert sorted(re.findall("</?[a-z]+>", english[key])) == sorted(re.findall("</?[a-z]+>", korean[key])), key


def test_korean_is_korean() -> None:
    """What is the same in both is a word of code."""
    same = {key for key, text in TEXTS["en"].all.items() if text == TEXTS["ko"].all[key]}

    assert same <= {"server.id", "browser.max_age"}


def test_every_text_is_said_somewhere() -> None:
    """A text that nobody uses is left over."""
    sources = "\n".join(path.read_text() for kind in ("*.py", "templates/*.html") for path in HERE.glob(kind))
    left_over = {key for key in TEXTS["en"].all if key not in sources and f'.{key.partition(".")[2]}"' not in sources}
    families = ("time.", "steps.s", "draw.", "lifetime.s", "server.", "secrets.", *EXPERIMENTS)

    assert {key for key in left_over if not key.startswith(families)} == set()


EXPERIMENTS = (
    *("parallel.", "writers.", "double-click.", "break.", "stream."),
    *("planted.", "before-sign-in.", "after-sign-out.", "thief.", "damaged.", "two-cookies.", "bound."),
)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        (None, "en"),
        ("ko", "ko"),
        ("ko-KR,ko;q=0.9,en;q=0.8", "ko"),
        ("en-GB,ko;q=0.5", "en"),
        ("fr, ko;q=0.1", "ko"),
        ("de", "en"),
        ("*", "en"),
        ("ko;q=0", "en"),
        ("\xff;;q=x", "en"),
    ],
)
def test_the_language_that_the_browser_asks_for(header: str | None, language: str) -> None:
    """RFC 9110, 12.5.4; English where the lab does not speak any of them, or cannot read the wish."""
    request = Request.blank("/", headers={} if header is None else {"Accept-Language": header})

    assert preferred(request) == language


def test_what_is_put_into_a_text_is_escaped() -> None:
    """The texts may be HTML, what visitors write may not."""
    assert TEXTS["en"]("signin.in", user="<b>") == (
        "You are <strong>&lt;b&gt;</strong>. Signing out ends the session on the server, at once."
    )


@pytest.mark.parametrize(
    ("seconds", "english", "korean"),
    [
        (0, "0 seconds", "0초"),
        (1, "1 second", "1초"),
        (60, "1 minute", "1분"),
        (119, "119 seconds", "119초"),
        (3600, "1 hour", "1시간"),
        (86400 * 30, "30 days", "30일"),
    ],
)
def test_time_spans_are_read_easily(seconds: float, english: str, korean: str) -> None:
    """In the largest unit that says enough."""
    assert TEXTS["en"].duration(seconds) == english
    assert TEXTS["ko"].duration(seconds) == korean


def test_the_bound_of_the_cart_is_the_one_that_is_named() -> None:
    """The error message is true."""
    assert all(str(MOST_LINES) in TEXTS[language].all["error.cart_full"] for language in LANGUAGES)
