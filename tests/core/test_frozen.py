"""What options are made of: compared by value, and never changed."""

import copy
import pickle
from typing import Any

import pytest

from session_middleware import CookiePolicy, Forget, Lifetime
from session_middleware.frozen import Frozen

POLICY = CookiePolicy(name="sid", samesite="Strict")


def test_it_is_compared_by_value() -> None:
    """Two policies that say the same are the same, as Flask's settings are compared with what was made of them."""
    same: list[tuple[Frozen, Frozen]] = [(POLICY, CookiePolicy(name="sid", samesite="Strict")), (Forget(), Forget())]
    for one, other in same:
        assert one == other
        assert hash(one) == hash(other)
    assert CookiePolicy(name="sid") != POLICY
    assert Lifetime() != CookiePolicy()
    assert Forget() != ()
    assert hash(CookiePolicy()) != hash(POLICY)


@pytest.mark.parametrize("change", [lambda: setattr(POLICY, "name", "x"), lambda: delattr(POLICY, "name")])
def test_it_is_not_changed(change: Any) -> None:
    """One is shared by all requests, and is a default in signatures."""
    with pytest.raises(AttributeError, match="CookiePolicy cannot be changed"):
        change()
    assert POLICY.name == "sid"


def test_it_shows_what_it_holds() -> None:
    """Promise 15: an error quotes an option."""
    assert repr(Lifetime.AAL3) == (
        "Lifetime(idle=900.0, absolute=43200.0, persistent=False, renew=None, on_replay='refuse', keep_ended=None)"
    )


def test_it_is_copied_and_pickled() -> None:
    """It is data, for a configuration that goes to other processes."""
    assert pickle.loads(pickle.dumps(POLICY)) == copy.deepcopy(POLICY) == POLICY
