"""From a trace to a sequence drawing: which arrow goes where, and what stands on it. It knows no SVG and no HTML."""

import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, TypeAlias
from unicodedata import east_asian_width

from markupsafe import Markup

from examples.lab.shortened import Part, parts
from examples.lab.texts import Texts

Entry: TypeAlias = Mapping[str, Any]
"""A trace as the notebook returns it."""

BROWSER, MIDDLEWARE, APPLICATION, STORE = range(4)
ACTORS = ("browser", "middleware", "application", "store")
PLACES = (7.0, 36.0, 64.0, 93.0)

_LINE = 16
_GAP = 15
_TOP = 4
_MOST_CALLS = 6
_STEPS = {"create": 3, "login": 3, "joined": 3, "regenerate": 3, "opens_session": 6, "load_one": 6}

# What fits between two lifelines on a screen of 1280 pixels: so many letters, half as many of those that are twice as wide.
_WIDEST = 20
_WIDEST_SOFT = 23

# Where a label may go on in the next line: after a blank, within a path, and before the long value of a cookie.
_BREAK = re.compile(r"(?<= )|(?<=\w)(?=/)|(?<==)(?=\S{12})")


class Label(NamedTuple):
    parts: list[Part]
    y: int
    style: str


@dataclass(slots=True)
class Row:
    """One arrow, or a note on one lifeline if it goes nowhere. *step* is that of the lesson, 1 to 6."""

    source: int
    target: int
    lines: Sequence[tuple[str, str]]
    """Text and style."""
    step: int | None = None
    style: str = ""
    y: int = 0
    """Where the arrow is."""

    @property
    def x1(self) -> float:
        return PLACES[self.source]

    @property
    def x2(self) -> float:
        return PLACES[self.target]

    @property
    def labels(self) -> list[Label]:
        drawn = [(line, style) for text, style in self.lines for line in _fitting(text, style)]
        first = self.y - 7 - _LINE * (len(drawn) - 1)
        return [Label(parts(line), first + _LINE * number, style) for number, (line, style) in enumerate(drawn)]

    @property
    def anchor(self) -> str:
        """Which end of the labels is fixed: where they are longer than the arrow they do not leave the drawing."""
        to_application = self.target == APPLICATION and self.source != APPLICATION
        return "start" if BROWSER in (self.source, self.target) or to_application else "end"

    @property
    def label_x(self) -> float:
        ends = (self.x1, self.x2)
        return min(ends) if self.anchor == "start" else max(ends)

    @property
    def step_y(self) -> int:
        """Where the number of the step is: on the arrow, or beside the note."""
        return self.y if self.source != self.target else self.y - 11

    @property
    def tip(self) -> str:
        """Which tip the arrow has; one that ends at a number stops before it."""
        ends_at_number = self.step is not None and self.label_x == self.x2
        return f"{self.style or 'plain'}{'-step' if ends_at_number else ''}"

    @property
    def in_words(self) -> str:
        return "; ".join(text for text, _ in self.lines)


@dataclass(slots=True)
class Band:
    """One request, or several files in one."""

    title: str
    kind: str
    entry: Entry
    rows: Sequence[Row]
    height: int
    steps: frozenset[int]
    ago: Markup
    files: int = 0


def bands(entries: Iterable[Entry], t: Texts, *, most: int) -> list[Band]:
    """Return a drawing of each request, in the order given; files that were asked for in a row are one."""
    found: list[Band] = []
    for static, group in groupby(entries, key=lambda entry: str(entry["path"]).startswith("/static/")):
        requests = list(group)
        found += [_files(requests, t)] if static else [_band(entry, t) for entry in requests]
    return found[:most]


def _files(entries: Sequence[Entry], t: Texts) -> Band:
    names = ", ".join(reversed([str(entry["path"]).rpartition("/")[2] for entry in entries]))
    return Band(names, "untouched", entries[0], [], 0, frozenset(), _ago(entries[0], t), len(entries))


def _band(entry: Entry, t: Texts) -> Band:
    rows = list(_rows(entry, t))
    y = _TOP
    for row in rows:
        y += _GAP + _LINE * len(row.labels)
        row.y = y
    steps = frozenset(row.step for row in rows if row.step is not None)
    return Band(f"{entry['method']} {entry['path']}", entry["kind"], entry, rows, y + 14, steps, _ago(entry, t))


def _rows(entry: Entry, t: Texts) -> Iterator[Row]:
    came = _cookies("Cookie", entry["cookie"]) if entry["cookie"] else [(t("draw.no_cookie"), "soft")]
    yield Row(BROWSER, MIDDLEWARE, [(f"{entry['method']} {entry['path']}", ""), *came], 5 if entry["has_token"] else 1)
    yield Row(MIDDLEWARE, APPLICATION, [(t("draw.handed_over"), "soft")])
    yield from _calls(entry, "application", APPLICATION, t)
    if entry["check_ms"] is not None:
        yield Row(APPLICATION, APPLICATION, [(t("draw.users", ms=_ms(entry["check_ms"])), "")], 2, "note")
    if not entry["status"]:
        return
    reply = t("draw.untouched") if entry["kind"] == "untouched" else t("draw.reply", status=entry["status"][:3])
    yield Row(APPLICATION, MIDDLEWARE, [(reply, "soft")], style="reply")
    yield from _calls(entry, "commit", MIDDLEWARE, t)
    sets_token = bool(entry["set_cookie"]) and not entry["set_cookie"].partition(";")[0].endswith("=")
    yield Row(MIDDLEWARE, BROWSER, [(entry["status"], ""), *_set_cookie(entry, t)], 4 if sets_token else None, "reply")
    yield from _calls(entry, "late", MIDDLEWARE, t)


def _set_cookie(entry: Entry, t: Texts) -> Iterator[tuple[str, str]]:
    if not entry["set_cookie"]:
        yield t("draw.no_set_cookie"), "soft"
        return
    pair, _, attributes = str(entry["set_cookie"]).partition("; ")
    yield from _cookies("Set-Cookie", pair)
    for part in attributes.split("; Max-Age")[:1]:
        yield part, "key"
    if "Max-Age" in attributes:
        yield "Max-Age" + attributes.partition("Max-Age")[2].partition(";")[0], "key"


def _cookies(header: str, text: str) -> list[tuple[str, str]]:
    """Return a line for each cookie."""
    first, *others = text.split("; ")
    return [(f"{header}: {first}", "key"), *((pair, "key") for pair in others)]


def _fitting(text: str, style: str) -> list[str]:
    """Return *text* in lines that fit between two lifelines, as far as there is where to break it."""
    widest = _WIDEST_SOFT if style == "soft" else _WIDEST
    lines = [""]
    for piece in _BREAK.split(text):
        longer = lines[-1] + piece
        if lines[-1] and _width(longer.rstrip()) > widest:
            lines.append(piece)
        else:
            lines[-1] = longer
    return [line.rstrip() for line in lines]


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _calls(entry: Entry, phase: str, source: int, t: Texts) -> Iterator[Row]:
    calls = [call for call in entry["calls"] if call[3] == phase]
    for call in calls[:_MOST_CALLS]:
        verb, ms, *_ = call
        style = "load" if verb in ("load", "keys_of") else "store"
        what = _what(entry, call)
        said = "late" if phase == "late" else what
        step = None if what == "load_one" and entry["opens"] == "nothing" else _STEPS.get(what)
        yield Row(source, STORE, [(f"{verb} · {_ms(ms)}", style), (t(f"draw.{said}"), "soft")], step, style)
    if len(calls) > _MOST_CALLS:
        yield Row(source, STORE, [(t("draw.more", number=len(calls) - _MOST_CALLS), "soft")], style="load")


def _what(entry: Entry, call: Sequence[Any]) -> str:
    """Return which text tells what a call of the store was about and what came of it."""
    verb, _, outcome, _, about = call
    if about == "mark":
        return f"{verb}_mark" if outcome else f"{verb}_mark_not"
    if not outcome:
        return f"{verb}_not"
    if verb == "load" and about == "own":
        first = next(each for each in entry["calls"] if (each[0], each[4]) == ("load", "own"))
        if len(entry["ids"]) > 1 or not entry["opens"]:
            return "load_one"
        return f"opens_{entry['opens']}" if call is first else "load_again"
    if verb == "update" and entry["act"]:
        return str(entry["act"])
    return "touch" if verb == "update" and entry["only_read"] else str(verb)


def _ms(ms: float) -> str:
    number = f"{ms:.2f}" if ms < 10 else f"{ms:.0f}"
    return f"{number}\N{NO-BREAK SPACE}ms"


def _ago(entry: Entry, t: Texts) -> Markup:
    return Markup(t.ago(time.time() - entry["at"]))  # noqa: S704 - our own text
