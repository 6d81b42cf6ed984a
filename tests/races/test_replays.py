"""A cookie that was copied is sent again after its session has ended, or after it has got another secret."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Lifetime, Session, Store
from session_middleware.testing import FakeClock
from tests.backends.running import LATER, Backends, a_store
from tests.servers.direct import Site, regenerate

LIFETIME = Lifetime(idle=60, absolute=300)
End = Callable[[Site, FakeClock, str], object]


@pytest.fixture(params=LATER)
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    with a_store(request.param, tmp_path, backends) as store:
        yield store


def use(session: Session) -> Iterable[bytes]:
    return [str(session.user_id).encode()]


def invalidate(session: Session) -> Iterable[bytes]:
    session.invalidate()
    return [b"bye"]


def by_the_absolute_timeout(site: Site, clock: FakeClock, token: str) -> None:
    """Use it every 50 s until the end."""
    for _ in range(6):
        clock.advance(50)
        site.visit(use, token)


def by_regenerate(site: Site, clock: FakeClock, token: str) -> None:
    """Until the old one is no more than an unknown one."""
    site.visit(regenerate, token)
    clock.advance(10)


ENDS: dict[str, End] = {
    "logout": lambda site, clock, token: site.visit(invalidate, token),
    "idle timeout": lambda site, clock, token: clock.advance(60),
    "absolute timeout": by_the_absolute_timeout,
    "regenerate": by_regenerate,
    "revoke": lambda site, clock, token: site.manager.revoke(token[:12]),
    "revoke_all": lambda site, clock, token: site.manager.revoke_all("alice"),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_a_copied_cookie_opens_nothing_a_thousand_times(store: Store, end: End) -> None:
    """Promises 5, 12, 18 and 19, G-9: whatever ended it, however often it comes; no new cookie is sent for it."""
    clock = FakeClock()
    site = Site(store, clock=clock, lifetime=LIFETIME)
    token = site.sign_in("alice")
    assert site.visit(use, token).body == b"alice"
    end(site, clock, token)

    answers = {(answer.body, answer.token) for answer in (site.visit(use, token) for _ in range(1_000))}
    assert answers == {(b"None", None)}
