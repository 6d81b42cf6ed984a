"""The queue before a slow observer."""

import logging
import subprocess
import sys
import threading
from threading import Event as Gate

import pytest

from session_middleware import ConfigurationError
from session_middleware.events import Created, Event
from session_middleware.observers import Queued
from tests.observers.notes import Notes
from tests.stores.forked import in_child, while_others_work


def events(count: int) -> list[Event]:
    return [Created(at=float(number)) for number in range(count)]


def at_work() -> set[int | None]:
    """Return which threads there are that tell observers, be they other tests'."""
    return {thread.ident for thread in threading.enumerate() if thread.name == "session_middleware observer"}


class Slow(Notes):
    """An observer that waits at each event until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.waits = Gate(), Gate()

    def on(self, event: Event) -> None:
        self.waits.set()
        assert self.gate.wait(120)
        super().on(event)


def test_events_are_told_in_their_order_by_another_thread() -> None:
    """There is none before the first event."""
    told: list[tuple[Event, str]] = []

    class Where:
        def on(self, event: Event) -> None:
            told.append((event, threading.current_thread().name))

    before = at_work()
    queued = Queued(Where())
    assert at_work() <= before
    for event in events(100):
        queued.on(event)
    assert queued.flush()

    assert [event for event, _ in told] == events(100)
    assert {name for _, name in told} == {"session_middleware observer"}
    assert queued.close()
    assert at_work() <= before


def test_no_request_waits_for_a_slow_observer_and_what_is_too_much_is_counted() -> None:
    slow = Slow()
    queued = Queued(slow, most=3)
    for event in events(10):
        queued.on(event)

    assert (queued.dropped, queued.waiting) == (7, 3)
    assert not queued.flush(0)
    assert not queued.close(0)
    slow.gate.set()
    assert queued.close()
    assert slow.events == events(3)


def test_what_comes_after_the_end_is_dropped() -> None:
    """And one that was never used has nothing to end."""
    notes = Notes()
    queued = Queued([notes])
    assert queued.close()
    queued.on(events(1)[0])

    assert (queued.dropped, notes.events) == (1, [])


def test_an_observer_that_fails_is_logged_and_told_the_next_event(caplog: pytest.LogCaptureFixture) -> None:
    class Fails(Notes):
        def on(self, event: Event) -> None:
            super().on(event)
            raise RuntimeError("no")

    observer = Fails()
    queued = Queued(observer)
    for event in events(5):
        queued.on(event)
    assert queued.close()

    assert len(observer.events) == 5
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@pytest.mark.parametrize(
    ("observer", "most", "said"), [(5, 1, "observer=5"), (Notes(), 0, "most=0"), (Notes(), True, "most")]
)
def test_what_cannot_work_is_refused(observer: object, most: int, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        Queued(observer, most)  # type: ignore[arg-type]


@while_others_work
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_has_a_thread_of_its_own() -> None:
    """What waits when a process forks is told by the parent alone; the child tells its own, though the fork came while the
    thread of the parent was at work."""
    slow = Slow()
    queued = Queued(slow)
    first, second = events(2)
    queued.on(first)
    assert slow.waits.wait(120)

    def work() -> None:
        slow.gate = Gate()
        slow.gate.set()
        queued.on(second)
        assert queued.close(120)
        assert slow.events == [second]

    assert in_child(work) == 0
    slow.gate.set()
    assert queued.close()
    assert slow.events == [first]


def test_what_waits_is_told_before_the_process_ends() -> None:
    program = """
import time
from session_middleware.events import Created
from session_middleware.observers import Queued
class Slow:
    def on(self, event):
        time.sleep(0.01)
        print(event.at, flush=True)
queued = Queued(Slow())
for number in range(20):
    queued.on(Created(at=number))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=600)
    assert (done.stdout.split(), done.stderr) == ([str(number) for number in range(20)], "")


def test_no_observer_ends_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    """What would end a program ends nothing here, and the next event is told."""

    class Ends(Notes):
        def on(self, event: Event) -> None:
            super().on(event)
            raise SystemExit(1)

    observer = Ends()
    queued = Queued(observer)
    for event in events(3):
        queued.on(event)
    assert queued.close()

    assert len(observer.events) == 3
    assert caplog.messages == ["an observer tried to end its thread at Created: SystemExit"] * 3


def test_a_child_of_a_process_that_has_closed_it_tells_its_own() -> None:
    """As after a server has stopped what its workers begin anew."""
    notes = Notes()
    queued = Queued(notes)
    queued.on(events(1)[0])
    assert queued.close()

    def work() -> None:
        queued.on(events(1)[0])
        assert queued.close(120)
        assert len(notes.events) == 2

    assert in_child(work) == 0
