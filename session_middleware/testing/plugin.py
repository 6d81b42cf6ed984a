"""Fixtures of pytest for applications with sessions. They only hand out what ``session_middleware.testing`` has.

They are off unless asked for, by a line in ``conftest.py``, or by ``-p session_middleware.testing.plugin``::

    pytest_plugins = ["session_middleware.testing.plugin"]

They are ``sign_in``, ``expire_session`` (:func:`~session_middleware.testing.expire`), ``session_clock`` (a
:class:`~session_middleware.testing.FakeClock`), ``faulty_store`` and ``store_calls``. What they change is put back when
the test ends.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Protocol

import pytest

from session_middleware import testing
from session_middleware.testing import FakeClock, FaultyStore


class SignIn(Protocol):
    """What the fixture ``sign_in`` is."""

    def __call__(
        self, client: Any, user: Any, data: Mapping[str, Any] | None = None, *, base_url: str | None = None
    ) -> str: ...


class Expire(Protocol):
    """What the fixture ``expire_session`` is."""

    def __call__(self, client: Any, *, base_url: str | None = None) -> bool: ...


@pytest.fixture
def sign_in() -> SignIn:
    """Sign a user in for a test client: ``sign_in(client, "alice")``; see :func:`session_middleware.testing.sign_in`."""
    return testing.sign_in


@pytest.fixture
def expire_session() -> Expire:
    """End the session of a test client: ``expire_session(client)``; see :func:`session_middleware.testing.expire`."""
    return testing.expire


@pytest.fixture
def session_clock() -> Iterator[FakeClock]:
    """The clock of the sessions, which stands still during the test: ``session_clock.advance(3600)``.

    See :func:`session_middleware.testing.clock_in_hand`.
    """
    with testing.clock_in_hand() as clock:
        yield clock


@pytest.fixture
def faulty_store() -> Iterator[Callable[[object], FaultyStore]]:
    """Let the store of an application fail until the test ends: ``faulty_store(app).fail(times=None)``.

    Called again for the same application it returns the same store. See :class:`session_middleware.testing.FaultyStore`.
    """
    with ExitStack() as stack:

        def of(application: object) -> FaultyStore:
            store = testing.manager_of(application).store
            return store if isinstance(store, FaultyStore) else stack.enter_context(testing.faulty_store(application))

        yield of


@pytest.fixture
def store_calls() -> Callable[[object], AbstractContextManager[list[tuple[str, str]]]]:
    """Note the calls of an application's store: ``with store_calls(app) as calls``.

    See :func:`session_middleware.testing.store_calls`.
    """
    return testing.store_calls
