"""How many connections there are, and for how long: without a server."""

import time
from dataclasses import dataclass

from session_middleware.stores.room import Room, close_resting
from tests.stores.forked import in_child


@dataclass
class Connection:
    deadline: float
    is_open: bool = True

    def close(self) -> None:
        self.is_open = False


def test_what_was_not_used_for_long_is_closed() -> None:
    """From the bottom up to the first that was used; also if that is all of them."""
    idle = [Connection(at) for at in (1, 2, 5, 3)]
    before = list(idle)
    close_resting(idle, 4)
    assert idle == before[2:]
    assert [connection.is_open for connection in before] == [False, False, True, True]
    close_resting(idle, 9)
    assert idle == []
    close_resting(idle, 9)


def test_a_room_that_is_full_is_waited_for_until_the_deadline() -> None:
    """And no longer; whoever leaves makes room for one."""
    room = Room(1)
    assert room.enter(time.monotonic())
    assert not room.enter(time.monotonic() - 1)
    assert not room.enter(time.monotonic() + 0.01)
    room.leave()
    assert room.enter(time.monotonic())


def test_a_fork_has_room_of_its_own() -> None:
    """Who was in it is in the other process."""
    room = Room(1)
    room.enter(time.monotonic())

    def child() -> None:
        assert room.enter(time.monotonic())
        assert not room.enter(time.monotonic())

    assert in_child(child) == 0
    assert not room.enter(time.monotonic())
