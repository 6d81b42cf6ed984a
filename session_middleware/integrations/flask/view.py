"""What ``flask.session`` is: a view of the request's session. It stores nothing itself."""

import sys
from collections.abc import Mapping
from typing import Any, Final, cast

import flask
from flask.sessions import SessionMixin
from markupsafe import Markup

from session_middleware.integrations.view import SessionView
from session_middleware.session import Session

FLASHES: Final = "_flashes"


class FlaskSession(SessionView, SessionMixin):
    """``flask.session``: a view of the request's :class:`Session`, with what Flask documents for its own.

    Attributes that it lacks are those of the session: ``id``, ``user_id``, ``regenerate()``, ``transact()`` and so on.
    """

    _special = frozenset({FLASHES})

    def __init__(self, underlying: Session, app: flask.Flask) -> None:
        super().__init__(underlying)
        self._app = app

    def __getitem__(self, key: str) -> Any:
        value = super().__getitem__(key)
        return _with_markup(value) if key == FLASHES else value

    def __setitem__(self, key: str, value: Any) -> None:
        if key == FLASHES:
            _keep_markup(value)
        super().__setitem__(key, value)

    def clear(self) -> None:
        """Remove all data; if somebody is signed in, that is how applications sign out, so the session ends."""
        if self.underlying.user_id is None:
            self.underlying.clear()
        else:
            self.invalidate()

    def popitem(self) -> tuple[str, Any]:
        key, value = super().popitem()
        return key, _with_markup(value) if key == FLASHES else value

    def __ior__(self, other: Mapping[str, Any]) -> "FlaskSession":
        self.update(other)
        return self

    @property
    def permanent(self) -> bool:
        """Whether the cookie outlives the browser.

        ``True`` ends the session when it is not used for ``PERMANENT_SESSION_LIFETIME``, and in any case after that time
        or the absolute timeout of the options, whichever is longer. ``False`` brings the timeouts of the options back.
        """
        return self.underlying.persistent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        usual = self.underlying.keeper.new()
        if value:
            idle = self._app.permanent_session_lifetime.total_seconds()
            self.underlying.set_lifetime(persistent=True, idle=idle, absolute=max(idle, usual.absolute))
        elif self.underlying.persistent:
            self.underlying.set_lifetime(persistent=False, idle=usual.idle, absolute=usual.absolute)

    @property
    def new(self) -> bool:  # type: ignore[override]  # an attribute in the mixin
        """Whether the store holds no such session (yet)."""
        return self.underlying.is_new

    @property
    def modified(self) -> bool:
        """Whether there is anything to store. Nested changes count, so assigning it is not needed, and does nothing."""
        return self.underlying.modified

    @modified.setter
    def modified(self, value: bool) -> None: ...

    @property
    def accessed(self) -> bool:
        """Whether this request has used the session in any way, so that the response says ``Vary: Cookie``.

        Assigning does nothing: Flask, from 3.1.3 on, does it when someone merely names ``flask.session``.
        """
        return self.underlying.accessed

    @accessed.setter
    def accessed(self, value: bool) -> None: ...

    @property
    def sid(self) -> str:
        """The same as ``id``, under the name that Flask-Session has for it."""
        return self.underlying.id

    def _began_anew(self) -> None:
        """Let the next form make a token of its own if the other half of the one in ``flask.g``, from Flask-WTF, is gone."""
        name = self._app.config.get("WTF_CSRF_FIELD_NAME", "csrf_token")
        if "flask_wtf" in sys.modules and flask.has_app_context() and name not in self.underlying:
            flask.g.pop(name, None)


session = cast("FlaskSession", flask.session)
"""``flask.session`` itself, with the type that it has under :class:`Sessions`."""


# Flashed messages. A codec keeps Markup as str, and the template would escape it; so a pair with Markup is kept as a
# triple, which flash() never makes of what it is given.


def _keep_markup(flashes: object) -> None:
    if isinstance(flashes, list):
        for index, flash in enumerate(flashes):
            match flash:
                case (category, Markup() as message):
                    flashes[index] = (category, str.__str__(message), "markup")


def _with_markup(flashes: object) -> object:
    if isinstance(flashes, list) and any(_is_marked(flash) for flash in flashes):
        return [(flash[0], Markup(flash[1])) if _is_marked(flash) else flash for flash in flashes]  # noqa: S704  # it was
    return flashes


def _is_marked(flash: object) -> bool:
    match flash:
        case (_, str(), "markup"):
            return True
    return False
