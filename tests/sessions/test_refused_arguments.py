"""What a session is asked for and cannot do is refused at the call, with what to write instead."""

from typing import Any

import pytest

from session_middleware import ConfigurationError, MemoryStore
from session_middleware.testing import FakeClock
from tests.sites import Site


@pytest.fixture
def site() -> Site:
    return Site(MemoryStore(), FakeClock())


@pytest.mark.parametrize("mark", ["", "a mark", 7])
def test_a_mark_is_what_mark_of_returned(site: Site, mark: Any) -> None:
    """Anything else could only be a mistake, and nobody is signed in by it."""
    session = site.open()

    with pytest.raises(ValueError, match=r"mark=.*: write what mark_of\(\) returned"):
        session.login("alice", mark=mark)
    assert session.user_id is None


def test_a_session_does_not_end_before_it_is_unused_for_too_long(site: Site) -> None:
    """An idle timeout longer than the absolute one would never come."""
    session = site.open(site.begin())

    with pytest.raises(ConfigurationError, match=r"idle=20 is longer than absolute=10 \(seconds\): write idle=None"):
        session.set_lifetime(idle=20, absolute=10)
    assert not session.modified


def test_persistent_is_true_or_false(site: Site) -> None:
    """A number of days would be taken for True."""
    session = site.open(site.begin())
    persistent: Any = 30

    with pytest.raises(ConfigurationError, match="persistent=30: write True or False"):
        session.set_lifetime(persistent=persistent)
    assert not session.persistent
