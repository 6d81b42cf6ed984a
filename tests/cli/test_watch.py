"""``watch`` tells what is different from one look to the next, or what the site has written."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from session_middleware import MemoryStore, SessionManager
from session_middleware.cli import watch
from session_middleware.stores.base import Scannable
from session_middleware.testing import FakeClock
from tests.cli.running import here
from tests.sites import Site


class Acting(MemoryStore):
    """A store to which something happens each time before it is listed."""

    def __init__(self) -> None:
        super().__init__()
        self.acts: list[Callable[[], object]] = []

    def keys(self) -> Any:
        self.acts.pop(0)()
        return super().keys()


def watched(store: Acting, *arguments: str) -> list[list[str]]:
    """Return what is printed while all acts of the store happen, without the times."""
    manager = SessionManager(store)
    assert isinstance(store, Scannable)
    done = here("watch", "--every", "0", "--times", str(len(store.acts)), *arguments, obj=lambda: manager)
    assert done.exit_code == 0
    return [line.split("\t")[1:] for line in done.output.splitlines()]


def test_what_is_different_is_told() -> None:
    """Created, signed in, a new secret, ended; what was there before is not."""
    store = Acting()
    manager = SessionManager(store)
    tokens: dict[int, Any] = {}

    def request(number: int, act: Callable[[Any], object]) -> None:
        session = manager.open(tokens.get(number))
        act(session)
        verdict: Any = manager.commit(session)
        if verdict is not None:
            tokens[number] = verdict.token
        ids[number] = session.id

    ids: dict[int, str] = {}
    store.acts = [
        lambda: request(0, lambda session: session.update(a=1)),
        lambda: request(1, lambda session: session.update(a=1)),
        lambda: request(1, lambda session: session.login("alice")),
        lambda: request(1, lambda session: session.regenerate()),
        lambda: request(1, lambda session: session.login("alice")),
        lambda: request(2, lambda session: session.login("bob")),
        lambda: manager.revoke(ids[1]),
    ]
    told = watched(store)

    assert told == [
        ["Created", ids[1], ""],
        ["SignedIn", ids[1], "alice"],
        ["NewSecret", ids[1], "alice"],
        ["SignedIn", ids[1], "alice"],
        ["Created", ids[2], "bob"],
        ["SignedIn", ids[2], "bob"],
        ["Ended", ids[1], "alice"],
    ]


def test_one_user_is_watched_by_the_index() -> None:
    """Nothing else is read."""
    site = Site(MemoryStore(), FakeClock())
    site.begin(user_id="alice")

    done = here("watch", "--user", "alice", "--every", "0", "--times", "2", obj=lambda: site.manager)
    assert (done.exit_code, done.output) == (0, "")
    assert "keys" not in [verb for verb, _ in site.store.calls]


EVENT = {"event": "Ended", "at": 1.5, "session_id": "A" * 12, "user_id": "alice", "reason": "revoked"}


def test_a_log_is_followed(tmp_path: Path) -> None:
    """One JSON object a line, whatever stands before it; what is none is passed over."""
    log = tmp_path / "events.log"
    lines = [
        json.dumps(EVENT),
        "INFO audit: " + json.dumps(EVENT | {"user_id": "bob", "at": "1970-01-01T00:00:01.500Z"}),
        "no event",
        '{"at": 1}',
        "{",
    ]
    log.write_text("\n".join(lines) + "\n")

    both = here("watch", "--log", str(log), "--from-start", "--times", "1").output.splitlines()
    assert both == [f"1970-01-01T00:00:01+00:00\tEnded\t{'A' * 12}\t{user}" for user in ("alice", "bob")]
    (bob,) = here("watch", "--log", str(log), "--from-start", "--times", "1", "--user", "bob", "--json").output.splitlines()
    assert json.loads(bob)["result"] == {"at": 1.5, "event": "Ended", "session_id": "A" * 12, "user_id": "bob"}
    assert here("watch", "--log", str(log), "--times", "1").output == ""


def test_a_log_that_is_put_aside_is_followed_by_the_next(tmp_path: Path) -> None:
    """As logrotate does it; half a line is waited for."""
    log = tmp_path / "events.log"
    text = json.dumps(EVENT) + "\n"
    log.write_text("")
    log.write_text(text)
    with log.open("a") as file:
        file.write(text)
        file.write(text[:10])

    with pytest.MonkeyPatch.context() as patch:
        turns: Iterator[Callable[[], object]] = iter(
            [lambda: None, lambda: _append(log, text[10:]), lambda: _rotate(log, text), lambda: None, log.unlink]
        )
        patch.setattr(time, "sleep", lambda seconds: next(turns, lambda: None)())
        found = list(watch._followed(log, None, 0.0, True, 8))

    assert len(found) == 4


def _append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def _rotate(log: Path, text: str) -> None:
    log.rename(log.with_suffix(".old"))
    log.write_text(text)
