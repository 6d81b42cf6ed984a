"""What the readers of all libraries share: finding the cookie, and carrying a session over. It knows no library."""

import logging
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from session_middleware.carrying import Carried
from session_middleware.cookies import SessionCookie
from session_middleware.exceptions import ConfigurationError
from session_middleware.integrations.moving.places import Place, checked_size
from session_middleware.session import checked_user_id

log = logging.getLogger("session_middleware")

_LONGEST_HEADER: Final = 64 * 1024
_MOST_VALUES: Final = 3
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
        return None if found is None else self.reader.carried(checked_size(found), now)

    def remove(self) -> None:
        self.reader.place.remove(self.reader.key_of(self.old_id))


class Reader(ABC):
    """Finds one library's sessions by its cookie: a :class:`~session_middleware.carrying.CarryOver`.

    *form* is a regular expression for the value of the cookie; *user_key* is where the data say who has signed in.
    """

    library: str

    def __init__(self, place: Place, *, name: str, path: str, domain: str | None, form: str, user_key: str | None) -> None:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigurationError(f"cookie_name={name!r}: write the name of the old cookie")
        if any(not isinstance(text, str) or ";" in text for text in (path, domain or "")):
            raise ConfigurationError(f"cookie_path={path!r}, cookie_domain={domain!r}: write those of the old cookie")
        self.place = place
        self.name, self.path, self.domain = name, path, domain
        self._user_key = user_key
        # As for our own cookie: a semicolon always ends a pair, and only space and tab may surround a name or a value.
        self._values = re.compile(rf'(?:^|;)[ \t]*{re.escape(name)}[ \t]*=[ \t]*"?({form})"?[ \t]*(?=[;,]|\Z)').findall
        secure = "; Secure" if name.lower().startswith(("__host-", "__secure-")) else ""
        self._cookie = SessionCookie(name, f"; Path={path}{'; Domain=' + domain if domain else ''}{secure}")

    def find(self, header: object) -> _Old | None:
        if not isinstance(header, str) or len(header) > _LONGEST_HEADER:
            return None
        values = list(dict.fromkeys(self._values(header)))[: _MOST_VALUES + 1]
        found = [_Old(self, old_id, value) for value in values if (old_id := self.unsigned(value)) is not None]
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
