"""Cookies and tokens as the lab shows and keeps them: one can tell them apart, and they open nothing."""

import re
from typing import NamedTuple

from session_middleware import tokens

_SECRET = 4
_SHORT_TOKEN = re.compile(r"(?<![\w-])([A-Za-z0-9_-]{12})([A-Za-z0-9_-]{4}…)")


class Part(NamedTuple):
    """*style* is ``id`` or ``secret`` for these parts of a token, and empty for anything else."""

    text: str
    style: str


def short_token(token: str) -> str:
    """Return the id, which is public, and the beginning of the secret; of what is no token, its beginning."""
    found = tokens.Token.read(token)
    return _short(token, _SECRET) if found is None else _short(token, len(found.id) + _SECRET)


def id_of(token: str) -> str:
    """Return the id in a token; empty if it is none."""
    found = tokens.Token.read(token)
    return "" if found is None else found.id


def parts(text: str) -> list[Part]:
    """Return *text* in pieces, so that the id and the secret of a shortened token stand by themselves."""
    pieces = [Part(piece, ("", "id", "secret")[number % 3]) for number, piece in enumerate(_SHORT_TOKEN.split(text))]
    return [piece for piece in pieces if piece.text]


def short_cookies(header: str, name: str) -> str:
    """Return a ``Cookie`` header in which no value is whole; the lab's own cookie is left out, that called *name* has
    tokens."""
    pairs = [pair.strip(" \t") for pair in header.split(";")]
    shown = [_short_pair(pair, name) for pair in pairs if not re.match("(__Host-)?lab=", pair)]
    return "; ".join(shown[:4] + (["…"] if len(shown) > 4 else []))


def short_set_cookie(header: str, name: str) -> str:
    """Return a ``Set-Cookie`` with its attributes as they are, and a value that is not whole."""
    pair, separator, attributes = header.partition(";")
    return _short_pair(pair, name) + separator + attributes


def short_path(path: str) -> str:
    return _short(re.sub(r"[\w-]{24,}", lambda found: _short(found[0], _SECRET), path), 60)


def _short_pair(pair: str, session: str) -> str:
    name, separator, value = pair.partition("=")
    return _short(name, 16) + separator + (short_token(value) if name == session else _short(value, _SECRET))


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[:length] + "…"
