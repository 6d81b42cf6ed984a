"""The application's callable is asked once a request at most, and trusted with nothing."""

import logging
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from session_middleware.describing import Describer, readable
from session_middleware.record import LONGEST_DEVICE
from tests.apps import an_environ


class Callable:
    """Returns what it is told to, and counts."""

    def __init__(self, result: Any) -> None:
        self.result, self.environs = result, list[dict[str, Any]]()

    def __call__(self, environ: dict[str, Any]) -> Any:
        self.environs.append(environ)
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


def described(result: Any, before: str | None = "as before") -> str | None:
    return Describer(Callable(result)).description(an_environ())(before)


# With surrogates, which no encoding has: some servers decode headers so.
@given(st.text(st.characters()))
@example("\ud800")
@example("a" * 199 + "é")
@example("é" * 150)
@example("\N{RIGHT-TO-LEFT OVERRIDE}" * 300)
@example("x" * 100_000)
def test_any_text_is_cut_and_made_readable(text: str) -> None:
    """At most 200 bytes, cut between characters, and nothing that a terminal obeys; the rest is as it was."""
    kept = described(text)
    shown = "".join(character if character.isprintable() else "?" for character in text)

    assert (kept or "") == readable(text, LONGEST_DEVICE)
    assert shown.startswith(kept or "")
    assert len((kept or "").encode()) <= 200
    assert len(shown.encode()) <= 200 or len((kept or "").encode()) > 196


@pytest.mark.parametrize("nothing", [None, ""])
def test_nothing_is_nothing(nothing: str | None) -> None:
    """What was known until now is not any more."""
    assert described(nothing) is None


def test_a_text_of_another_class_is_kept_as_text() -> None:
    """As for user ids: what a subclass does is nothing to us."""

    class Loud(str):
        __slots__ = ()

        def __str__(self) -> str:
            return self.upper()

    kept = described(Loud("quiet"))
    assert type(kept) is str
    assert kept == "quiet"


@pytest.mark.parametrize("result", [ValueError("no"), b"bytes", 5, KeyError("HTTP_USER_AGENT"), RecursionError()])
def test_what_fails_leaves_what_was_there(result: object, caplog: pytest.LogCaptureFixture) -> None:
    """Also what is no text: the log tells which error it was."""
    assert described(result) == "as before"

    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    kind = type(result).__name__ if isinstance(result, Exception) else "TypeError"
    assert record.getMessage() == f"describe failed, and the session keeps what it had: {kind}"


def test_a_failure_is_told_once_a_minute(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests there are."""
    times = iter([100.0, 100.1, 159.9, 160.0, 219.9, 220.0])
    monkeypatch.setattr("session_middleware.describing.steady_clock", lambda: next(times))
    describer = Describer(Callable(ValueError()))
    told = []
    for _ in range(6):
        describer.description(an_environ())(None)
        told.append(len(caplog.records))

    assert told == [1, 1, 1, 2, 2, 3]


def test_what_ends_the_thread_is_let_through() -> None:
    """As a server's own timeout may be."""
    with pytest.raises(SystemExit):
        described(SystemExit())


def test_it_is_asked_once_and_only_if_somebody_wants_to_know() -> None:
    """The answer stays the same for the whole request, whatever is there meanwhile."""
    callable_ = Callable("a phone")
    description = Describer(callable_).description(an_environ())
    assert callable_.environs == []
    assert [description(before) for before in (None, "a laptop", "a phone")] == ["a phone"] * 3

    assert len(callable_.environs) == 1


def test_after_a_failure_it_is_not_asked_again() -> None:
    """What others have written meanwhile stays."""
    callable_ = Callable(ValueError())
    description = Describer(callable_).description(an_environ())
    assert [description("a laptop"), description("a phone"), description(None)] == ["a laptop", "a phone", None]

    assert len(callable_.environs) == 1


def test_it_sees_the_request_as_it_came_and_no_cookies() -> None:
    """Promise 11: where its failure is shown with the locals of each frame, there is no token."""
    callable_ = Callable("a phone")
    environ = an_environ(cookie="session=" + "A" * 40, HTTP_USER_AGENT="Firefox")
    description = Describer(callable_).description(environ)
    environ["REMOTE_ADDR"] = "of a proxy"
    description(None)

    assert callable_.environs[0]["HTTP_USER_AGENT"] == "Firefox"
    assert callable_.environs[0].keys() == environ.keys() - {"HTTP_COOKIE", "REMOTE_ADDR"}
    assert "HTTP_COOKIE" in environ


def test_when_the_request_is_over_nobody_is_asked() -> None:
    """Its environ may belong to a server that goes on."""
    callable_ = Callable("a phone")
    description = Describer(callable_).description(an_environ())
    description.forget()

    assert description("a laptop") == "a laptop"
    assert callable_.environs == []
