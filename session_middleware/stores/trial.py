"""A look at whether a store on a server does what it is for, before anybody comes. It leaves nothing there."""

import math
import time
from typing import Final

from session_middleware.stores.base import Record, Store

TRIAL: Final = "-" * 12
"""The id of no session."""

_LASTS: Final = 60


def try_verbs(store: Store) -> None:
    """Write a record, read, replace and remove it. Any number of processes may do so at once."""
    record = Record(b"", math.ceil(time.time()) + _LASTS, None)
    store.create(TRIAL, record)
    if stored := store.load(TRIAL):
        store.update(TRIAL, record, version=stored.version)
    store.delete(TRIAL)
