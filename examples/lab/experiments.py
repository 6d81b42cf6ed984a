"""Runs what is too much for one click: many requests at once, failures, attacks. Each is really sent to the server."""

from collections.abc import Callable
from threading import BoundedSemaphore

from webob import Request, Response
from webob.exc import HTTPBadRequest, HTTPServiceUnavailable

from examples.lab import web
from examples.lab.attacks import Attacks
from examples.lab.loopback import Loopback
from examples.lab.strains import Strains
from examples.lab.trace import untraced
from examples.lab.trial import Result, Trial
from session_middleware import CookiePolicy, Session

# An experiment holds a thread of the server while others answer it: two at a time leave enough of them.
_places = BoundedSemaphore(2)


class Experiments:
    """Runs an experiment for a visitor and keeps what came of it in the notebook, for the next page to show."""

    def __init__(self, trial: Trial, cookie: CookiePolicy) -> None:
        self._trial = trial
        self._cookie = cookie
        self._all: dict[str, Callable[[Loopback], Result]] = {**Strains(trial).all, **Attacks(trial).all}
        self.paths = {f"/try/{name}": name for name in self._all}

    def run(self, request: Request, session: Session) -> Response:
        name = self.paths[request.path_info]
        token = self._token(request)
        if not token:
            # The form came with a secret that has just been replaced, or somebody has ended the session meanwhile.
            raise HTTPBadRequest("error.csrf")
        loopback = Loopback(request, self._cookie, name, token)
        if not _places.acquire(blocking=False):
            raise HTTPServiceUnavailable("error.busy")
        try:
            with untraced():
                result = {"run": loopback.run, **self._all[name](loopback)}
        finally:
            _places.release()
        self._trial.notebook.keep_result(request.environ["lab.visitor"], name, result)
        if name == "writers":
            session.invalidate()
        return web.back(request, name)

    def _token(self, request: Request) -> str:
        """Return the token that opens the visitor's session; a browser may send others with it."""
        tokens = self._cookie.for_scheme(request.scheme).read(request.environ.get("HTTP_COOKIE"))
        with untraced():
            return next((token.reveal() for token in tokens if self._trial.state(token.reveal())), "")
