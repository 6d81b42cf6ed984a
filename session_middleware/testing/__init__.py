"""For tests of stores and of applications: the suite that every store passes, a store that fails, a clock to set.

It needs no test framework. A store's tests are a subclass with a ``store`` fixture that returns an empty store::

    class TestMyStore(StoreContract, UserIndexContract):
        @pytest.fixture
        def store(self) -> MyStore:
            return MyStore()

With ``pytest.register_assert_rewrite("session_middleware.testing")`` in ``conftest.py`` a failure shows the values.
"""

from session_middleware.testing.abilities import (
    BatchedContract,
    BatchedStore,
    ScannableContract,
    ScannableStore,
    SweepableContract,
    SweepableStore,
    UserIndexContract,
    UserIndexedStore,
)
from session_middleware.testing.clock import FakeClock
from session_middleware.testing.contract import StoreContract
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

__all__ = [
    "BatchedContract",
    "BatchedStore",
    "FakeClock",
    "FaultyStore",
    "ScannableContract",
    "ScannableStore",
    "StoreContract",
    "SweepableContract",
    "SweepableStore",
    "UserIndexContract",
    "UserIndexedStore",
    "a_key",
    "a_record",
    "created",
    "filled",
    "listed",
    "loaded",
    "race",
    "wait_until_absent",
]
