"""The key of a device: which one a session is bound to, and what ends that."""

import pytest

from session_middleware import rules
from session_middleware.record import Binding, Envelope
from tests.core.eras import NOW, an_envelope, p

OFFERED, ANOTHER = Binding(b"s" * 16, NOW - 5), Binding(b"t" * 16, NOW - 5)
BOUND = Binding(OFFERED.secret, NOW - 1, b"key")


@pytest.mark.parametrize(
    ("binding", "key", "after"),
    [
        (OFFERED, b"key", Binding(OFFERED.secret, NOW, b"key")),
        (BOUND, b"key", BOUND),
        (BOUND, b"another key", None),
        (ANOTHER, b"key", None),
        (ANOTHER._replace(key=b"key"), b"key", None),
        (None, b"key", None),
    ],
)
def test_the_first_key_counts_and_may_come_twice(binding: Binding | None, key: bytes, after: Binding | None) -> None:
    """Only for the binding that it was offered for; nothing else of the session changes."""
    envelope = an_envelope(user_id="alice", binding=binding)
    bound = rules.bound(envelope, OFFERED, key, NOW)

    assert bound == (None if after is None else envelope._replace(binding=after))


@pytest.mark.parametrize("before", [None, OFFERED, BOUND])
@pytest.mark.parametrize("offered", [None, ANOTHER])
def test_a_sign_in_has_its_own_binding_or_none(before: Binding | None, offered: Binding | None) -> None:
    """The key that the device has had before is void."""
    envelope: Envelope = an_envelope(binding=before)

    assert rules.signed_in(envelope, "alice", None, p("n"), NOW, b"", offered).binding == offered
    assert rules.signed_in(envelope, "alice", None, p("n"), NOW, b"").binding is None
