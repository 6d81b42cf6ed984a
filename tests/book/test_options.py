"""The page of options names every option, with its type, its default, and what it refuses in what words."""

import importlib
import re
import time
from collections.abc import Callable, Iterable
from configparser import ConfigParser
from datetime import timedelta
from inspect import Parameter, signature
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, Union, get_args, get_origin

import pytest

from session_middleware import (
    ConfigurationError,
    CookiePolicy,
    JSONCodec,
    Lifetime,
    MemoryStore,
    SessionMiddleware,
    SQLiteStore,
    open_store,
)
from session_middleware.clock import system_clock
from session_middleware.integrations.beaker import BeakerMiddleware
from session_middleware.integrations.bottle import SessionPlugin
from session_middleware.integrations.flask import Sessions
from session_middleware.integrations.moving import FromBeaker, FromDjango, FromFlaskSession, RedisPlace
from session_middleware.stores.memcached import MemcachedStore
from session_middleware.stores.redis import RedisStore
from session_middleware.stores.sqlalchemy import SQLAlchemyStore
from tests.book.pages import Block, Page

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

PAGE = Page("reference/options").text

_ENTRY = re.compile(r"^`(\w+)`: `([^`]+)`(?:, default `([^`]+)`)?$", re.MULTILINE)
_REFUSED = re.compile(r"Refused: (`(\w+)=([^`]*)`[^\n]*(?:\n  \S[^\n]*)*)")
_NAMES = {
    "CookiePolicy": CookiePolicy,
    "Lifetime": Lifetime,
    "time": SimpleNamespace(time=system_clock),
    "timedelta": timedelta,
}


def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
    start_response("204 No Content", [])
    return []


def make_middleware(**options: Any) -> object:
    return SessionMiddleware(answer, **{"store": "memory:", **options})


def make_for_django(**options: Any) -> object:
    return FromDjango(RedisPlace("redis://localhost"), **{"secret_key": "k", **options})


class Subject(NamedTuple):
    """What a heading of the page is about: the callable that has the options, and how to make one with some of them."""

    described: Callable[..., object]
    make: Callable[..., object]


SUBJECTS = {
    "SessionMiddleware": Subject(SessionMiddleware, make_middleware),
    "CookiePolicy": Subject(CookiePolicy, CookiePolicy),
    "Lifetime": Subject(Lifetime, Lifetime),
    "MemoryStore": Subject(MemoryStore, MemoryStore),
    "SQLiteStore": Subject(SQLiteStore, lambda **options: SQLiteStore("sessions.sqlite3", **options)),
    "RedisStore": Subject(RedisStore, lambda **options: RedisStore("redis://localhost", **options)),
    "SQLAlchemyStore": Subject(SQLAlchemyStore, lambda **options: SQLAlchemyStore("postgresql://host/database", **options)),
    "MemcachedStore": Subject(MemcachedStore, lambda **options: MemcachedStore("localhost:11211", **options)),
    "FromBeaker": Subject(FromBeaker, lambda **options: FromBeaker("redis://localhost", **options)),
    "FromFlaskSession": Subject(FromFlaskSession, lambda **options: FromFlaskSession("redis://localhost", **options)),
    "FromDjango": Subject(FromDjango, make_for_django),
    "Bottle": Subject(SessionPlugin, lambda **options: SessionPlugin("memory:", **options)),
    "Beaker": Subject(BeakerMiddleware, lambda **options: BeakerMiddleware(SessionMiddleware(answer, "memory:"), **options)),
}
STORES = ("MemoryStore", "SQLiteStore", "RedisStore", "SQLAlchemyStore", "MemcachedStore")


def section(heading: str) -> str:
    """Return what stands under a heading, up to the next one."""
    found = re.search(rf"^##+ {heading}\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, heading
    return found[1]


def entries(text: str) -> dict[str, tuple[str, object]]:
    """Return the options that a text describes, each with its type and its default."""
    return {
        name: (kind, Parameter.empty if default is None else eval(default, dict(_NAMES)))
        for name, kind, default in (found.group(1, 2, 3) for found in _ENTRY.finditer(text))
    }


def options_of(described: Callable[..., object]) -> dict[str, tuple[str, object]]:
    """Return the options that a callable has, each with its type and its default."""
    return {
        name: (written(parameter.annotation), parameter.default)
        for name, parameter in signature(described).parameters.items()
        if parameter.kind is Parameter.KEYWORD_ONLY
    }


def written(annotation: object) -> str:
    """Return a type as the page has it: without modules, and a duration under its name."""
    if get_origin(annotation) is Union:
        return " | ".join(written(one) for one in get_args(annotation))
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", None) or str(annotation)
    if not isinstance(annotation, type):
        text = re.sub(r"\b[\w.]+\.(?=\w)", "", str(annotation))
    return text.replace("timedelta | float", "Duration").replace("'", '"')


@pytest.mark.parametrize("heading", sorted(SUBJECTS.keys() - {"SessionMiddleware", "Bottle", "Beaker"}))
def test_every_option_is_there_with_its_type_and_default(heading: str) -> None:
    """None is missing, and none is made up."""
    assert entries(section(heading)) == options_of(SUBJECTS[heading].described)


def test_every_option_of_the_middleware_is_there() -> None:
    """The store, too, which is no keyword."""
    found = entries(section("SessionMiddleware"))
    store = signature(SessionMiddleware).parameters["store"]

    assert found.pop("store") == (written(store.annotation), store.default)
    assert found == options_of(SessionMiddleware)


@pytest.mark.parametrize(("heading", "described"), [("Flask", Sessions), ("Bottle", SessionPlugin)])
def test_an_integration_has_the_options_of_the_middleware_but_for_those_that_are_named(
    heading: str, described: Callable[..., object]
) -> None:
    """With the same defaults."""
    assert options_of(described) == {**options_of(SessionMiddleware), **entries(section(heading))}


def test_the_options_for_applications_of_beaker_are_there() -> None:
    """Its own, and those that it takes over."""
    own, _, of_config = section("Beaker").partition("`BeakerMiddleware.from_config")
    borrowed = re.findall(r"`(\w+)`", of_config.partition(", and:")[0])
    known = options_of(FromBeaker) | options_of(SessionMiddleware)
    expected = entries(own) | {name: known[name] for name in borrowed} | entries(of_config)

    assert entries(own) == options_of(BeakerMiddleware)
    assert options_of(BeakerMiddleware.from_config) == expected


@pytest.mark.parametrize("heading", sorted(SUBJECTS))
def test_what_is_refused_is_refused_in_these_words(heading: str) -> None:
    """When the object is made."""
    for example, name, value in _REFUSED.findall(section(heading)):
        text = " ".join(example.split())
        with pytest.raises(ConfigurationError) as caught:
            SUBJECTS[heading].make(**{name: eval(value)})

        assert str(caught.value) in (text.replace("`", ""), text.partition("`: ")[2])


@pytest.mark.parametrize("heading", sorted(SUBJECTS))
def test_what_it_refuses_is_said_of_every_option(heading: str) -> None:
    """But of those that take anything, or are described elsewhere."""
    silent = {"check_store", "get_by_id", "store", "carry_over"} | {
        piece[1 : piece.index("`", 1)]
        for piece in re.split(r"\n\n(?=`)", section(heading))
        if "As of [" in piece or ": `SESSION_COOKIE_" in piece
    }
    refused = {name for _, name, _ in _REFUSED.findall(section(heading))}

    assert entries(section(heading)).keys() - silent <= refused


@pytest.mark.parametrize("heading", STORES)
def test_every_url_is_one_of_that_store(heading: str) -> None:
    """With all of the store's options in its query; nothing is connected."""
    schemes = "memory:|sqlite:/|rediss?[:+]|unix:|postgresql:|mariadb:|mysql:|memcached:"
    urls = re.findall(rf"`((?:{schemes})[^`]*)`", _ENTRY.split(section(heading), maxsplit=1)[0])
    options = {
        name: "authority" if default is None and kind.startswith("str") else 3 if default is None else default
        for name, (kind, default) in options_of(SUBJECTS[heading].described).items()
    }
    query = "&".join(f"{name}={str(value).lower()}" for name, value in options.items())

    assert urls
    for url in urls:
        if "var/lib" in url or "ssl_" in url:
            continue
        store: Any = open_store(f"{url}{'&' if '?' in url else '?'}{query}")
        assert type(store).__name__ == heading
        getattr(store, "close", lambda: None)()


def test_every_key_of_an_ini_file_is_there() -> None:
    """All options but those that are no text."""
    documented = set(re.findall(r"^\| `([\w.]+)` \|", section("From an ini file"), re.MULTILINE))
    assert "| `cookie.former.name` and so on | the same six," in section("From an ini file")
    documented |= {name.replace("cookie.", "cookie.former.") for name in documented if name.startswith("cookie.")}
    options = {
        *(name for name in signature(SessionMiddleware).parameters if name not in ("app", "lifetime", "cookie")),
        *(f"lifetime.{name}" for name in options_of(Lifetime)),
        *(f"cookie.{name}" for name in options_of(CookiePolicy) if name != "former"),
        *(f"cookie.former.{name}" for name in options_of(CookiePolicy)),
    }
    for name in sorted(options - documented):
        with pytest.raises(ConfigurationError, match="there is no such option"):
            SessionMiddleware.from_config(answer, {f"session.{name}": "1"})

    assert documented <= options
    assert options - documented == {"clock", "carry_over", "cookie.former.former"}
    assert len([name for name in documented if name.startswith("cookie.former.")]) == 6


def test_the_texts_of_an_ini_file_are_understood() -> None:
    """As the table has them."""
    texts = dict(re.findall(r"^\| `([\w.]+)` \| `(\w+)`", section("From an ini file"), re.MULTILINE))
    application = SessionMiddleware.from_config(
        answer,
        {
            **{f"session.{name}": text for name, text in texts.items()},
            "session.store": "memory:",
            "session.cookie.secure": "true",  # which a partitioned one needs
        },
    )

    assert {"codec", "lifetime.persistent", "cookie.secure", "cookie.samesite"} <= texts.keys()
    assert application.manager.lifetime.persistent


def test_a_slip_in_an_ini_file_is_refused_in_these_words() -> None:
    """With the nearest name."""
    with pytest.raises(ConfigurationError) as caught:
        SessionMiddleware.from_config(answer, {"session.stoer": "memory:"})

    assert f"Refused: `session.stoer`{str(caught.value).removeprefix('session.stoer')}\n" in section("From an ini file")


def test_the_ini_example_is_understood(claimed: list[Block]) -> None:
    """Every key of it is an option."""
    (example,) = claimed
    parser = ConfigParser()
    parser.read_string(example.text)
    found = {key: value for key, value in parser["filter:session"].items() if key != "use"}
    application = SessionMiddleware.from_config(answer, found, "")
    store: Any = application.manager.store
    store.close()

    assert "SameSite=Strict" in application.https.deletion_header()


@pytest.mark.parametrize("preset", ["AAL1", "AAL2", "AAL3"])
def test_the_table_of_presets_is_true(preset: str) -> None:
    """The numbers in words are those of the presets."""
    words = {None: "none", 900.0: "15 minutes", 3600.0: "1 hour", 43200.0: "12 hours", 86400.0: "24 hours"}
    lifetime = getattr(Lifetime, preset)

    row = f"| `Lifetime.{preset}` | {words[lifetime.idle]} | {words.get(lifetime.absolute, '30 days')} |"
    assert row in PAGE


def test_the_default_clock_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """So what replaces time.time in tests is heeded."""
    clock = SessionMiddleware(answer, "memory:").manager.now
    monkeypatch.setattr(time, "time", lambda: 7.0)

    assert clock() == 7.0


def test_the_json_codec_can_be_read_by_eye() -> None:
    """And refuses a tuple, which would come back as a list."""
    assert JSONCodec().encode({"a": [1]}) == b'{"a":[1]}'
    with pytest.raises(Exception, match="tuple cannot be kept"):
        JSONCodec().encode((1,))


def test_the_keys_of_the_setting_for_django_are_there() -> None:
    """All that it takes; another one is an error."""
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section("Django"), re.MULTILINE)
    documented = set(re.findall(r"\w+", " ".join(rows)))

    assert documented == set(importlib.import_module("session_middleware.integrations.django.settings")._OPTIONS)
