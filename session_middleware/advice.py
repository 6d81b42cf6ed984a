"""What is most often wrong around a session, each told once, with what to do. It changes nothing."""

import logging
import re
from collections.abc import Mapping
from typing import Any, Final

log = logging.getLogger("session_middleware")

_FORWARDED_HTTPS: Final = re.compile(r'(?:^|[;,\s])proto="?https\b', re.IGNORECASE)


class Advice:
    """What has not been told yet."""

    of_late_use = of_twin = True

    def __init__(self, *, of_proxy: bool, of_processes: bool) -> None:
        self.of_proxy = of_proxy
        """Whether the cookie depends on the scheme."""
        self.of_processes = of_processes
        """Whether the store keeps sessions in one process alone."""

    def processes(self) -> None:
        """The server runs several processes."""
        self.of_processes = False
        log.warning("the store keeps sessions in this process alone, and there are several: requests will miss them")

    def proxy(self) -> None:
        """A proxy has ended TLS and the server was not told: the cookie goes out without Secure."""
        if self.of_proxy:
            self.of_proxy = False
            log.warning(
                "a proxy says https, the server http, so the session cookie is not Secure: let the server trust the"
                " proxy (gunicorn: forwarded_allow_ips), or set CookiePolicy(secure=True)"
            )

    def order(self) -> None:
        """What corrects the scheme stands inside, for the cookie was chosen by then."""
        self.of_proxy = False
        log.warning(
            "the scheme became https inside of SessionMiddleware, so the session cookie is not Secure: wrap in the other"
            " order, so that ProxyFix, or what else reads the proxy's headers, is outside: ProxyFix(SessionMiddleware(app))"
        )

    def late_use(self) -> None:
        """A page depends on the session and cannot say so."""
        if self.of_late_use:
            self.of_late_use = False
            log.warning(
                "a session was used for the first time after its response had started: so that has no Vary: Cookie, and a"
                " cache may give it to others; use the session, if only by reading, before the first block"
            )

    def twin(self, name: str) -> None:
        """The application sets a cookie of our name."""
        if self.of_twin:
            self.of_twin = False
            log.warning(
                "the application sets a cookie named %s itself: beside the session's it is left out, and alone it takes its"
                " place and signs the user out; give it another name; if it is Flask's own session, write Sessions(app)",
                name,
            )


def was_https(environ: Mapping[str, Any]) -> bool:
    """Tell whether a proxy says that the request came to it by https (RFC 7239 and what was there before it)."""
    return (
        ("HTTP_X_FORWARDED_PROTO" in environ and "https" in str(environ["HTTP_X_FORWARDED_PROTO"]).lower())
        or ("HTTP_FORWARDED" in environ and _FORWARDED_HTTPS.search(str(environ["HTTP_FORWARDED"])) is not None)
        or ("HTTP_X_FORWARDED_SSL" in environ and str(environ["HTTP_X_FORWARDED_SSL"]).lower() == "on")
    )
