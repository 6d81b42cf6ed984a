"""Random histories of two requests at a time, on every store, compared with plain dicts after every step."""

import tempfile
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from session_middleware.tokens import Token
from tests.backends.running import EMBEDDED, EVERY, LATER, Backends, a_store
from tests.gates import full
from tests.model.machine import MADE, Sessions

pytestmark = pytest.mark.unmeasured


@pytest.fixture(autouse=True)
def _made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Note every token that is made: after a fault nobody else knows it."""
    new = Token.new

    def noting(key: str | None = None) -> Token:
        MADE.append(new(key))
        return MADE[-1]

    MADE.clear()
    monkeypatch.setattr(Token, "new", noting)


def run(kind: str, backends: Backends, examples: int, steps: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        make = partial(a_store, kind, Path(directory), backends)
        machine = type("Machine", (Sessions,), {"make": make})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=examples,
                stateful_step_count=steps,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
            ),
        )


@pytest.mark.parametrize("kind", LATER)
def test_sessions_do_what_plain_dicts_do(kind: str, backends: Backends) -> None:
    """Promises 3 to 5, 7 to 9, 11, 12 and 16 to 20, in histories that nobody thought of."""
    run(kind, backends, 40 if kind in EMBEDDED else 10, 30)


@pytest.mark.soak
@pytest.mark.parametrize("kind", EVERY)
def test_sessions_do_what_plain_dicts_do_at_length(kind: str, backends: Backends) -> None:
    """Promises 3 to 5, 7 to 9, 11, 12 and 16 to 20, in longer ones, and more of them."""
    run(kind, backends, full(150 if kind in EMBEDDED else 40, 2_000), full(40, 50))
