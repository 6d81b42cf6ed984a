"""Options written as text, as in an ini file, to those of :class:`SessionMiddleware`. It opens no store."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any

from session_middleware.codecs import JSONCodec, MsgpackCodec
from session_middleware.cookies import CookiePolicy
from session_middleware.exceptions import ConfigurationError
from session_middleware.lifetime import Lifetime

_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_CODECS = {"msgpack": MsgpackCodec, "json": JSONCodec}


def _boolean(text: str) -> bool:
    return _BOOLEANS[text.lower()]


def _secure(text: str) -> object:
    return "auto" if text.lower() == "auto" else _boolean(text)


def _idle(text: str) -> float | None:
    return None if text.lower() == "none" else float(text)


def _limit(text: str) -> int | None:
    return None if text.lower() == "none" else int(text)


def _named(text: str) -> Any:
    from pkgutil import resolve_name  # few name anything

    return resolve_name(text)


# Option: (where it goes, how its text is read, what to write).
_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "store": ("", str, "a URL"),
    "codec": ("", lambda text: _CODECS[text.lower()](), "msgpack or json"),
    "max_bytes": ("", int, "a whole number"),
    "namespace": ("", str, "a text"),
    "environ_key": ("", str, "a text"),
    "check_store": ("", _boolean, "true or false"),
    "unavailable": ("", _named, "the name of a WSGI application, such as shop.pages:unavailable"),
    "max_per_user": ("", _limit, "a whole number, or none"),
    "at_limit": ("", str.lower, "end_oldest or refuse"),
    "observer": ("", _named, "the name of an observer, such as shop.pages:observer"),
    "describe": ("", _named, "the name of a function, such as session_middleware.devices:browser_and_network"),
    "seal": ("", _named, "the name of a seal, such as shop.keys:seal"),
    "device_binding": ("", _named, "the name of a binding, such as shop.keys:binding"),
    "lifetime.idle": ("lifetime", _idle, "seconds, or none"),
    "lifetime.absolute": ("lifetime", float, "seconds"),
    "lifetime.persistent": ("lifetime", _boolean, "true or false"),
    "lifetime.renew": ("lifetime", float, "seconds"),
    "lifetime.on_replay": ("lifetime", str.lower, "refuse or end"),
    "lifetime.keep_ended": ("lifetime", float, "seconds"),
    "cookie.name": ("cookie", str, "a text"),
    "cookie.secure": ("cookie", _secure, "auto, true or false"),
    "cookie.samesite": ("cookie", str.capitalize, "Lax, Strict or None"),
    "cookie.path": ("cookie", str, "a path"),
    "cookie.domain": ("cookie", str, "a host name"),
    "cookie.partitioned": ("cookie", _boolean, "true or false"),
}
_OPTIONS |= {
    name.replace("cookie.", "cookie.former."): ("former", *how[1:]) for name, how in _OPTIONS.items() if how[0] == "cookie"
}


def options(mapping: Mapping[str, str], prefix: str) -> dict[str, Any]:
    """Return the keyword arguments that the keys of *mapping* under *prefix* stand for.

    Raise :exc:`ConfigurationError` for a key that is no option, naming the nearest one, and for unreadable text.
    """
    groups: dict[str, dict[str, Any]] = {"": {}, "lifetime": {}, "cookie": {}, "former": {}}
    for key, text in mapping.items():
        if not key.startswith(prefix):
            continue
        name = key[len(prefix) :]
        if name not in _OPTIONS:
            near = difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=0)[0]
            raise ConfigurationError(f"{key}: there is no such option; did you mean {prefix}{near}?")
        group, read, wanted = _OPTIONS[name]
        try:
            groups[group][name.rpartition(".")[2]] = read(text)
        except (KeyError, ValueError, TypeError, AttributeError, ImportError) as error:
            if name == "seal":
                raise ConfigurationError(f"{key}: write {wanted}") from None  # whatever it is, it may be a key
            if not isinstance(error, ImportError):
                raise ConfigurationError(f"{key}={text!r}: write {wanted}") from None
            raise ConfigurationError(f"{key}={text!r}: write {wanted} ({error})") from error
    arguments = groups[""]
    if groups["lifetime"]:
        arguments["lifetime"] = Lifetime(**groups["lifetime"])
    if groups["former"]:
        groups["cookie"]["former"] = (CookiePolicy(**groups["former"]),)
    if groups["cookie"]:
        arguments["cookie"] = CookiePolicy(**groups["cookie"])
    return arguments
