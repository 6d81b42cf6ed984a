"""Very many users at once in one process: everyone sees their own session."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import Session, Store
from tests.backends.running import LATER, Backends, a_store, sizes
from tests.gates import full
from tests.servers.direct import Site, racers

pytestmark = pytest.mark.unmeasured

GREENLETS = """
from gevent import monkey
monkey.patch_all()
import sys
import gevent
from session_middleware import open_store
from tests.races.test_cross_talk import visits
from tests.servers.direct import Site

site = Site(open_store(sys.argv[1]))
tokens = [site.sign_in(f"user-{number}", mine=number) for number in range(1000)]
each = int(sys.argv[2])
jobs = [gevent.spawn(visits(site, tokens, seed, each)) for seed in range(1000)]
gevent.joinall(jobs, raise_error=True)
print("passed")
"""


@pytest.fixture(params=LATER)
def store(request: pytest.FixtureRequest, tmp_path: Path, backends: Backends) -> Iterator[Any]:
    with a_store(request.param, tmp_path, backends) as store:
        yield store


def visits(site: Site, tokens: list[str], seed: int, requests: int) -> Callable[[], None]:
    """Return what visits the site as one user after the other, and looks whose session that was."""

    def see(session: Session) -> Iterable[bytes]:
        return [f"{session.user_id} {session['mine']}".encode()]

    def change(session: Session) -> Iterable[bytes]:
        session[f"seen {seed}"] = session["mine"]
        return see(session)

    def visit() -> None:
        chance = random.Random(seed)
        for number in range(requests):
            user = chance.randrange(len(tokens))
            answer = site.visit(change if number % 8 == 0 else see, tokens[user])
            assert (answer.body, answer.token) == (f"user-{user} {user}".encode(), None)

    return visit


@sizes("requests", 1_280, full(64_000, 1_000_000), served=full(6_400, 1_000_000))
def test_sixty_four_threads_never_mix_up_users(store: Store, requests: int) -> None:
    """Promise 3, G-10: 256 users, each in whatever thread comes."""
    site = Site(store)
    tokens = [site.sign_in(f"user-{number}", mine=number) for number in range(256)]
    with racers(64) as crew:
        crew.run(*(visits(site, tokens, seed, requests // 64) for seed in range(64)))

    for number, token in enumerate(tokens):
        found = site.opened(token)
        assert (found.pop("user_id"), {*found.values()}) == (f"user-{number}", {number})


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_thousand_greenlets_never_mix_up_users(kind: str, tmp_path: Path, backends: Backends) -> None:
    """Promise 3, F-P6, G-10: all of them on one thread, changing wherever one waits."""
    url = f"sqlite:///{tmp_path}/sessions.sqlite3?timeout=30" if kind == "sqlite" else backends.url(kind)
    command = [sys.executable, "-c", GREENLETS, url, str(full(10, 1_000))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])

    assert done.stdout == "passed\n", done.stderr
