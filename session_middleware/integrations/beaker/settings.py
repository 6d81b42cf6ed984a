"""Beaker's settings to ours; it opens no store. What has no counterpart is an error that says what to write instead."""

import difflib
import warnings
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from session_middleware.cookies import CookiePolicy
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.moving import FromBeaker
from session_middleware.lifetime import Lifetime

_PREFIXES: Final = ("beaker.session.", "session.")
_TRUE: Final = ("true", "yes", "on", "y", "t", "1")
_FALSE: Final = ("false", "no", "off", "n", "f", "0")

_MAPPED: Final = {
    *("type", "url", "data_dir", "key", "timeout", "cookie_expires", "cookie_domain", "cookie_path", "secure", "httponly"),
    *("samesite", "secret", "data_serializer"),
}

# Setting: why it does nothing any more.
_NEEDLESS: Final = {
    "auto": "changes are always stored",
    "save_accessed_time": "the time of the last use is noted at most once a minute",
    "invalidate_corrupt": "a damaged session is always an empty one and a line in the log",
    "lock_dir": "there are no lock files",
    "log_file": "use the logger session_middleware",
    "memcache_module": "the store brings its own client",
}

# Setting: what to write instead.
_REFUSED: Final = {
    "encrypt_key": "encrypted sessions cannot be carried over, and data stay on the server; leave it out",
    "encrypt_nonce_bits": "encrypted sessions cannot be carried over; leave it out",
    "crypto_type": "encrypted sessions cannot be carried over; leave it out",
    "validate_key": "it is for sessions kept in the cookie, which cannot be carried over; leave it out",
    "use_cookies": "the token is always in a cookie; for other ways write SessionManager.open(token)",
    "id": "ids are not given from outside; for other ways write SessionManager.open(token)",
    "session_class": "there is one class; leave it out",
    "namespace_class": "write store=... with a store of your own",
    "webtest_varname": "write manager = application.manager in the test",
    "table_name": "write carry_over=False and a SessionMiddleware with FromBeaker(TablePlace(...))",
    "schema_name": "write carry_over=False and a SessionMiddleware with FromBeaker(TablePlace(...))",
    "sa_opts": "write store=... with the URL",
}

_READABLE: Final = ("file", "ext:redis", "ext:database")


class Settings:
    """The settings of Beaker's session in a mapping, whatever else is in it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._found: dict[str, Any] = {}
        for key, value in config.items():
            prefix = next((prefix for prefix in _PREFIXES if key.startswith(prefix)), None)
            if prefix is not None:
                self._add(key, key.removeprefix(prefix), value)
        self.type: str = self._found.get("type") or ("file" if "data_dir" in self._found else "memory")

    def _add(self, key: str, name: str, value: Any) -> None:
        if name in _REFUSED:
            raise ConfigurationError(f"{key}: {_REFUSED[name]}")
        if name in _NEEDLESS:
            warnings.warn(f"{key} does nothing any more: {_NEEDLESS[name]}", DeprecationWarning, stacklevel=4)
        elif name in _MAPPED:
            self._found[name] = value
        else:
            near = difflib.get_close_matches(name, sorted(_MAPPED), n=1, cutoff=0)[0]
            raise ConfigurationError(f"{key}: there is no such setting; did you mean {key.removesuffix(name)}{near}?")

    def store(self) -> str:
        """Return the URL of the store that keeps sessions where Beaker kept its own; make its directory, as Beaker does."""
        match self.type:
            case "memory":
                return "memory:"
            case "file":
                directory = Path(self._needed("data_dir"))
                try:
                    directory.mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise ConfigurationError(f"session.data_dir={str(directory)!r} cannot be made: {error}") from error
                return f"sqlite:///{directory / 'sessions.sqlite3'}"
            case "ext:database" if self._needed("url").startswith("sqlite"):
                raise ConfigurationError("session.url: write store=... with an SQLite file of its own for the sessions")
            case "ext:redis" | "ext:database":
                return self._needed("url")
            case "ext:memcached":
                return "memcached://" + ",".join(self._needed("url").split(";"))
            case "cookie":
                raise ConfigurationError(
                    "session.type=cookie: data stay on the server; leave it out, and give a store. Sessions kept in the"
                    " cookie are not carried over: a copy of the cookie would open them again after a sign-out"
                )
        raise ConfigurationError(f"session.type={self.type}: write store=... with the URL of a store")

    def lifetime(self) -> Lifetime:
        """Return ``timeout`` as idle timeout; the absolute one is a day, or as long as ``cookie_expires`` says.

        With that, the cookie outlives the browser, as Beaker's did.
        """
        timeout, expires = self._seconds("timeout"), self._found.get("cookie_expires", True)
        if isinstance(expires, str) and expires.lower() in _TRUE + _FALSE and expires not in ("0", "1"):
            expires = expires.lower() in _TRUE
        if expires is True:
            return Lifetime(idle=timeout, absolute=max(timeout or 0.0, Lifetime.AAL2.absolute))
        span = None if expires is False else self._seconds("cookie_expires")
        if span is None:
            raise ConfigurationError(
                f"session.cookie_expires={expires!r}: leave it out, and write session.set_lifetime(persistent=True,"
                " absolute=timedelta(days=...)) where someone signs in"
            )
        return Lifetime(idle=None if timeout is None else min(timeout, span), absolute=span, persistent=True)

    def cookie(self) -> CookiePolicy:
        if "httponly" in self._found and not self._boolean("httponly"):
            raise ConfigurationError("session.httponly=false: the cookie is always HttpOnly; leave it out")
        return CookiePolicy(
            name=self._name(),
            secure=self._boolean("secure") if "secure" in self._found else "auto",
            samesite=self._found.get("samesite") or "Lax",
            path=self._path(),
            domain=self._domain(),
        )

    def carry_over(
        self, user_key: str | None, *, plain_pickles: bool, carry_over_until: date | None = None
    ) -> FromBeaker | None:
        """Return what opens Beaker's sessions; ``None`` if they end with the process or it cannot read them."""
        if self.type not in _READABLE:
            return None
        place = self._needed("data_dir" if self.type == "file" else "url")
        if self.type == "file" and not Path(place, "container_file").is_dir():
            return None
        return FromBeaker(
            place,
            secret=self._found.get("secret") or None,
            timeout=self._seconds("timeout"),
            cookie_name=self._name(),
            cookie_path=self._path(),
            cookie_domain=self._domain(),
            user_key=user_key,
            plain_pickles=plain_pickles,
            carry_over_until=carry_over_until,
        )

    def _name(self) -> str:
        return str(self._found.get("key") or "beaker.session.id")

    def _path(self) -> str:
        return str(self._found.get("cookie_path") or "/")

    def _domain(self) -> str | None:
        return self._found.get("cookie_domain") or None

    def _needed(self, name: str) -> str:
        value = self._found.get(name)
        if not value:
            raise ConfigurationError(f"session.type={self.type} needs session.{name}")
        return str(value)

    def _boolean(self, name: str) -> bool:
        text = str(self._found[name]).lower()
        if text not in _TRUE + _FALSE:
            raise ConfigurationError(f"session.{name}={self._found[name]!r}: write true or false")
        return text in _TRUE

    def _seconds(self, name: str) -> float | None:
        value = self._found.get(name)
        if isinstance(value, timedelta):
            return value.total_seconds()
        if value in (None, ""):
            return None
        try:
            return float(str(value))
        except ValueError:
            raise ConfigurationError(f"session.{name}={value!r}: write seconds") from None
