"""For tests of stores and of applications: the suite that every store passes, and what a test does with sessions.

It needs no test framework; for pytest there are fixtures besides, in :mod:`session_middleware.testing.plugin`.

A store's tests are a subclass with a ``store`` fixture that returns an empty store::

    class TestMyStore(StoreContract, UserIndexContract):
        @pytest.fixture
        def store(self) -> MyStore:
            return MyStore()

With ``pytest.register_assert_rewrite("session_middleware.testing")`` in ``conftest.py`` a failure shows the values.
"""

from session_middleware.testing.abilities import (
    BatchedContract,
    BatchedStore,
    CheckableContract,
    CheckableStore,
    CopyableContract,
    CopyableStore,
    ScannableContract,
    ScannableStore,
    SweepableContract,
    SweepableStore,
    UserIndexContract,
    UserIndexedStore,
)
from session_middleware.testing.applications import faulty_store, manager_of, store_calls
from session_middleware.testing.clients import expire, session_of, sign_in, signed_in_cookie
from session_middleware.testing.clock import FakeClock, clock_in_hand
from session_middleware.testing.contract import StoreContract
from session_middleware.testing.device import FakeDevice
from session_middleware.testing.explorer import Broken, Interleavings, RequestLike, interleavings
from session_middleware.testing.faults import FaultyStore
from session_middleware.testing.helpers import (
    a_key,
    a_record,
    created,
    filled,
    listed,
    loaded,
    race,
    wait_until_absent,
)
from session_middleware.testing.orders import Call

__all__ = [
    "BatchedContract",
    "BatchedStore",
    "Broken",
    "Call",
    "CheckableContract",
    "CheckableStore",
    "CopyableContract",
    "CopyableStore",
    "FakeClock",
    "FakeDevice",
    "FaultyStore",
    "Interleavings",
    "RequestLike",
    "ScannableContract",
    "ScannableStore",
    "StoreContract",
    "SweepableContract",
    "SweepableStore",
    "UserIndexContract",
    "UserIndexedStore",
    "a_key",
    "a_record",
    "clock_in_hand",
    "created",
    "expire",
    "faulty_store",
    "filled",
    "interleavings",
    "listed",
    "loaded",
    "manager_of",
    "race",
    "session_of",
    "sign_in",
    "signed_in_cookie",
    "store_calls",
    "wait_until_absent",
]
