"""How much is tried under `make gates`, which takes hours, where the soak takes minutes."""

import os
from typing import TypeVar

T = TypeVar("T")

VARIABLE = "SESSION_MIDDLEWARE_GATES"


def full(count: T, gate: T) -> T:
    """Return *gate* under `make gates`, otherwise *count*."""
    return gate if os.environ.get(VARIABLE) else count
