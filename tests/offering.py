"""Middlewares that offer to bind sessions to devices, though their tests know nothing of it: ``pytest --bound``.

By http as well, where a site would not: there most of the tests sign in. No client of theirs takes the offer.
"""

from functools import wraps
from itertools import count
from typing import Any

from session_middleware import ConfigurationError, CookiePolicy, SessionMiddleware
from session_middleware.binding import DeviceBinding
from session_middleware.binding.exchange import BoundExchange


class Offer(DeviceBinding):
    """One under a path of its own, for middlewares may be nested."""

    numbers = count(1)

    def __init__(self) -> None:
        super().__init__(path=f"/.session/{next(self.numbers)}/")


DIFFERENT: dict[str, tuple[str, ...]] = {
    "they know which headers there are, and the offer is one more": (
        "test_a_used_session_adds_three_headers_at_most",
        "test_head_has_the_headers_of_get",
    ),
}
"""Tests that ask for what an offer changes, by what that is."""


def offer_all() -> None:
    """Have each middleware offer that is made without a binding from now on, where its cookie can be bound."""
    make, begin = SessionMiddleware.__init__, BoundExchange.__init__

    @wraps(make)
    def make_offering(self: SessionMiddleware, *args: Any, **options: Any) -> None:
        if options.get("device_binding") is None and _can_be_bound(options.get("cookie", CookiePolicy())):
            options["device_binding"] = Offer()
        make(self, *args, **options)

    def begin_offering(self: BoundExchange, *args: Any) -> None:
        begin(self, *args)
        if isinstance(self._binder.options, Offer):
            self.offers = self._binder.new

    SessionMiddleware.__init__ = make_offering  # type: ignore[method-assign]
    BoundExchange.__init__ = begin_offering  # type: ignore[assignment, method-assign]


def _can_be_bound(cookie: object) -> bool:
    """Tell whether a session of that cookie can be bound; what is no policy is for the middleware to refuse."""
    if not isinstance(cookie, CookiePolicy):
        return False
    try:
        Offer().refuse(cookie)
    except ConfigurationError:
        return False
    return True
