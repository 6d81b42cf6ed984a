"""Sessions that are bound to the device that has signed in: how a site asks for them. Experimental, as what it rests on is.

A browser that knows W3C's Device Bound Session Credentials makes a key that does not leave the device, and proves every few
minutes that it has it; a cookie that was copied is soon worth nothing elsewhere. Other browsers notice nothing.
"""

import re
from datetime import timedelta

from session_middleware.cookies import CookiePolicy
from session_middleware.exceptions import ConfigurationError
from session_middleware.frozen import Frozen
from session_middleware.lifetime import Duration, seconds

# RFC 3986, 3.3: segments; it stands in a quoted text of a header.
_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+/")
_SHORTEST = 300.0
_LONGEST = 86400.0
_LONGEST_GRACE = 300.0


class DeviceBinding(Frozen):
    """Binds sessions to the device that has signed in, where the browser can.

    ``cookie_age``: so long one proof counts; so long, and five seconds more, a copy of both cookies works elsewhere. At
    least five minutes, for browsers sign only so often. ``grace``: so long after a session was bound a request may come
    without the cookie that proves it, for it may have been on its way; 0 for not at all. ``path``: what is under it, the
    middleware answers itself.
    ``report_only``: what would be refused is told (:class:`~session_middleware.events.Unproven`), and is not.
    ``accept_unproven``: nothing is offered any more, and bound sessions need no proof: for the day on which a browser
    changes.

    Time spans are given as ``timedelta`` or seconds, and are kept as seconds (``float``). Raise :exc:`ConfigurationError`
    for what cannot work.
    """

    cookie_age: float
    grace: float
    path: str
    report_only: bool
    accept_unproven: bool

    def __init__(
        self,
        *,
        cookie_age: Duration = timedelta(minutes=10),
        grace: Duration = timedelta(seconds=10),
        path: str = "/.session/",
        report_only: bool = False,
        accept_unproven: bool = False,
    ) -> None:
        cookie_age = seconds("cookie_age", cookie_age)
        if not _SHORTEST <= cookie_age <= _LONGEST:
            raise ConfigurationError(f"cookie_age={cookie_age:g}: write at least 5 minutes (300), and at most a day")
        grace = 0.0 if grace in (0, timedelta(0)) else seconds("grace", grace)
        if grace > _LONGEST_GRACE:
            raise ConfigurationError(f"grace={grace:g}: write some seconds, at most 300: a copied cookie works so long")
        if not isinstance(path, str) or len(path) > 200 or not _PATH.fullmatch(path) or "/./" in path or "/../" in path:
            raise ConfigurationError(f'path={path!r}: write one that begins and ends with "/", such as "/.session/"')
        for name, flag in (("report_only", report_only), ("accept_unproven", accept_unproven)):
            if not isinstance(flag, bool):
                raise ConfigurationError(f"{name}={flag!r}: write True or False")
        vars(self).update(cookie_age=cookie_age, grace=grace, path=path)
        vars(self).update(report_only=report_only, accept_unproven=accept_unproven)

    def refuse(self, cookie: CookiePolicy) -> None:
        """Raise :exc:`ConfigurationError` for a cookie that other sites could set, or that a browser binds to nothing."""
        for wrong, why in (
            (cookie.secure is False, "secure=False: a browser binds sessions on https only; write secure='auto' or True"),
            (cookie.domain is not None, f"domain={cookie.domain!r}: a session is bound to one host; leave it out"),
            (cookie.path != "/", f"path={cookie.path!r}: the browser proves it for the whole host; write path='/'"),
            (cookie.partitioned, "partitioned=True: browsers bind no partitioned cookies; leave it out"),
        ):
            if wrong:
                raise ConfigurationError(f"device_binding: {why}")
