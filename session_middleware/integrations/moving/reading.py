"""What the readers of all libraries share: finding the cookie, and carrying a session over. It knows no library."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, Final

from session_middleware.carry_over import Carried
from session_middleware.clock import system_clock
from session_middleware.cookies import CookiePolicy, SessionCookie, is_readable, values_in
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.moving.places import Place, checked_size
from session_middleware.state import checked_user_id
from session_middleware.tokens import well_formed

log = logging.getLogger("session_middleware")

_MOST_VALUES: Final = 3
_TELLING: Final = 20
"""So many in a row are no chance."""
_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


@dataclass(frozen=True, slots=True)
class _Old:
    """A session that a cookie names; *value* is that of the cookie."""

    reader: "Reader"
    old_id: str = field(repr=False)
    value: str = field(repr=False)

    @property
    def secret(self) -> str:
        # The value and not the id: where the cookie is signed, who has seen the ids in the other store has no cookie.
        return f"{self.reader.library}\0{self.value}"

    def read(self, now: float) -> Carried | None:
        found = self.reader.place.get(self.reader.key_of(self.old_id), now)
        carried = None if found is None else self.reader.carried(checked_size(found), now)
        self.reader.watch.note(self.value, carried)
        return carried

    def remove(self) -> None:
        self.reader.place.remove(self.reader.key_of(self.old_id))


class _Watch:
    """Says in one line each that the first old cookies open nothing, and that the first sessions say of no user."""

    def __init__(self, name: str, library: str, user_key: str | None, look_at: str) -> None:
        self._name, self._library, self._user_key, self._look_at = name, library, user_key, look_at
        self._in_vain: set[int] = set()
        self._of_nobody = 0
        self.is_on = True
        """Whether no session has been carried over yet, and nothing has been said."""

    def note(self, value: str, carried: Carried | None) -> None:
        """The cookie with that *value* has opened what was *carried*, or nothing. It is not kept, and not shown."""
        if carried is None:
            # Where both cookies have one name, ours is not to be taken for an old one.
            if not well_formed(value):
                self._note_none(hash(value))
            return
        self.is_on = False
        if carried.user_id is not None:
            self._of_nobody = -1
        elif self._of_nobody >= 0:
            self._of_nobody += 1
            if self._of_nobody == _TELLING:
                log.warning(
                    "none of the first %d sessions of %s says who has signed in: if users sign in, give user_key= (it is"
                    " %r); without it they are not listed, and not signed out everywhere",
                    _TELLING,
                    self._library,
                    self._user_key,
                )

    def _note_none(self, value: int) -> None:
        if not self.is_on:
            return
        self._in_vain.add(value)
        if len(self._in_vain) >= _TELLING:
            self.is_on = False
            self._in_vain.clear()
            log.warning(
                "none of the first %d cookies named %s opens a session of %s: look at the place, at cookie_name and at %s",
                _TELLING,
                self._name,
                self._library,
                self._look_at,
            )


class Reader(ABC):
    """Finds one library's sessions by its cookie: a :class:`~session_middleware.carry_over.CarryOver`.

    *form* is a regular expression for the value of the cookie; *user_key* is where the data say who has signed in. From
    *carry_over_until* on (a date, by UTC, or a ``datetime`` with a zone) it finds none any more. *look_at* names the options
    by which sessions are found.
    """

    library: str

    def __init__(
        self,
        place: Place,
        *,
        name: str,
        path: str,
        domain: str | None,
        form: str,
        user_key: str | None,
        carry_over_until: date | None,
        look_at: str,
    ) -> None:
        if isinstance(place, type) or not (hasattr(place, "get") and hasattr(place, "remove")):
            raise ConfigurationError(f"place={place!r}: write where the old sessions are, such as RedisPlace(url)")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"cookie_name={name!r}: write the name of the old cookie")
        try:
            CookiePolicy(path=path, domain=domain)
        except ConfigurationError as error:
            raise ConfigurationError(f"cookie_{error}; that of the old cookie") from None
        if user_key is not None:
            checked_text("user_key", user_key)
        self.place = place
        self.name, self.path, self.domain = name, path, domain
        self.watch = _Watch(name, self.library, user_key, look_at)
        self._user_key = user_key
        self._until = None if carry_over_until is None else _moment(carry_over_until)
        self._any_value = re.compile(rf"(?:^|;)[ \t]*{re.escape(name)}[ \t]*=[ \t]*([^;]+)").findall
        self._values = values_in((name,), f'"?({form})"?')
        secure = "; Secure" if name.lower().startswith(("__host-", "__secure-")) else ""
        self._cookie = SessionCookie(name, f"; Path={path}{'; Domain=' + domain if domain else ''}{secure}")

    def find(self, header: object) -> _Old | None:
        if not is_readable(header):
            return None
        if self._until is not None and system_clock() >= self._until:
            return None
        values = list(dict.fromkeys(self._values(header)))[: _MOST_VALUES + 1]
        found = [_Old(self, old_id, value) for value in values if (old_id := self.unsigned(value)) is not None]
        if not found and self.watch.is_on:
            for value in self._any_value(header)[:_MOST_VALUES]:
                self.watch.note(value, None)
        if len(found) > 1:
            log.info("%d cookies named %s in a request: none of them is used", len(found), self.name)
        return found[0] if len(found) == 1 else None

    def deletion_header(self) -> str:
        return self._cookie.deletion_header()

    def user_of(self, data: Mapping[str, Any]) -> str | None:
        """Return who has signed in, if the data say so in a way that can be kept."""
        user = data.get(self._user_key) if self._user_key is not None else None
        if user is None or isinstance(user, bool) or not isinstance(user, str | int):
            return None
        try:
            return checked_user_id(str(user))
        except ValueError:
            return None

    def unsigned(self, value: str) -> str | None:
        """Return the id in the value of a cookie; ``None`` if it is not signed as it should be."""
        return value

    @abstractmethod
    def key_of(self, old_id: str) -> str:
        """Return the key under which the session is in its place."""

    @abstractmethod
    def carried(self, found: bytes, now: float) -> Carried | None:
        """Return what the bytes from the place hold; ``None`` if that has timed out, or is nothing.

        Raise :exc:`PayloadError` if it cannot be carried over.
        """


def checked_text(name: str, text: object) -> str:
    """Return *text*; raise :exc:`ConfigurationError`, naming *name*, unless it is ``str`` and not empty."""
    if not isinstance(text, str) or not text:
        raise ConfigurationError(f"{name}={text!r}: write a text, or leave it out")
    return text


def checked_secret(name: str, secret: object) -> str | bytes:
    """Return *secret*; raise :exc:`ConfigurationError`, naming *name* and not showing it, unless it is a key."""
    if not isinstance(secret, str | bytes) or not secret:
        raise ConfigurationError(f"{name} is empty, or no text: everybody could sign with it; write the old one")
    return secret


def checked_choice(name: str, value: object) -> bool:
    """Return *value*; raise :exc:`ConfigurationError`, naming *name*, unless it is ``True`` or ``False``."""
    if not isinstance(value, bool):
        raise ConfigurationError(f"{name}={value!r}: write True or False")
    return value


def _moment(until: object) -> float:
    if isinstance(until, datetime):
        if until.tzinfo is not None:
            return until.timestamp()
    elif isinstance(until, date):
        return datetime.combine(until, time(), UTC).timestamp()
    raise ConfigurationError(f"carry_over_until={until!r}: write a date, or a datetime with a time zone")
