"""The cookies of a session that is bound to a device, stolen.

By http no browser binds, and nobody waits for ten minutes. So the device and the thief are played here, in the process, on a
site of two pages by https, whose clock is put forward by hand; its session lies in the store of the lab.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from werkzeug.test import Client

from examples.lab.shortened import short_cookies
from examples.lab.trial import Result, Trial, result
from session_middleware import SessionMiddleware, get_session
from session_middleware.binding import DeviceBinding
from session_middleware.testing import FakeClock, FakeDevice

if TYPE_CHECKING:
    from collections.abc import Iterable
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_URL = "https://localhost"
_SOON = timedelta(seconds=30)
_BINDING = DeviceBinding()


def steal(trial: Trial) -> Result:
    """Sign in with a device, and send its cookies without it, as ``curl`` does."""
    user, clock = trial.victim[0], FakeClock()
    site = SessionMiddleware(
        _site_of(user), trial.manager.store, device_binding=_BINDING, clock=clock, namespace=trial.manager.namespace
    )
    browser = Client(site)
    device = FakeDevice(browser, base_url=_URL)

    def sent(cookies: str) -> str:
        return Client(site, use_cookies=False).get("/", base_url=_URL, headers={"Cookie": cookies}).text

    answer = browser.post("/sign-in", base_url=_URL)
    offer = answer.headers["Secure-Session-Registration"].partition(";challenge=")[0]
    is_bound = device.register(answer) == 200
    one = f"{site.https.name}={_value(browser, site.https.name)}"
    proof = f"{device.cookie}={_value(browser, device.cookie)}"
    both = f"{one}; {proof}"
    clock.advance(_SOON)
    alone, copied = sent(one), sent(both)
    clock.advance(_BINDING.cookie_age)
    late = sent(both)
    is_refreshed = device.refresh() == 200
    here = browser.get("/", base_url=_URL).text
    browser.post("/sign-out", base_url=_URL)

    shown = {"one": short_cookies(one, site.https.name)}
    shown["both"] = f"{shown['one']}; {proof[: proof.index('=') + 5]}…"
    minutes = {"minutes": int(_BINDING.cookie_age / 60)}
    return result(
        is_bound and is_refreshed and (alone, copied, late, here) == ("-", user, "-", user),
        ("offered", {"user": user, "offer": offer}),
        is_bound and ("bound", {"cookies": shown["both"], **minutes}),
        ("alone", {"cookies": shown["one"], "who": alone}),
        ("copied_both", {"cookies": shown["both"], "who": copied, **minutes}),
        ("too_late", {"cookies": shown["both"], "who": late, **minutes}),
        is_refreshed and ("device", {"user": here}),
    )


def _site_of(user: str) -> "WSGIApplication":
    def site(environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        session = get_session(environ)
        if environ["PATH_INFO"] == "/sign-in":
            session.login(user)
        elif environ["PATH_INFO"] == "/sign-out":
            session.invalidate()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [(session.user_id or "-").encode()]

    return site


def _value(browser: Client, name: str | None) -> str:
    found = browser.get_cookie(name or "")
    return found.value if found else ""
