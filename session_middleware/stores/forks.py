"""Tells a store when its process forks. It knows nothing of what the store then does."""

import os
import weakref
from collections.abc import Callable
from typing import TypeVar

S = TypeVar("S")


def around_forks(
    store: S,
    *,
    before: Callable[[S], None] | None = None,
    in_parent: Callable[[S], None] | None = None,
    in_child: Callable[[S], None] | None = None,
) -> None:
    """Call these with *store* around each fork of this process, for as long as the store exists.

    Only forks that Python is told of count: ``os.fork``, ``multiprocessing``, gunicorn, but not uWSGI's master.
    """
    reference = weakref.ref(store)

    def telling(call: Callable[[S], None] | None) -> Callable[[], None]:
        def tell() -> None:
            alive = reference()
            if alive is not None and call is not None:
                call(alive)

        return tell

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=telling(before), after_in_parent=telling(in_parent), after_in_child=telling(in_child))
