"""``stats``: how many sessions there are, of whom, how old and how large."""

from bisect import bisect_left
from collections import Counter
from typing import Any, Final

import click

from session_middleware.cli.ends import INTERRUPTED, end
from session_middleware.cli.scan import Seen, all_sessions, how_many
from session_middleware.cli.target import the_manager
from session_middleware.cli.terminal import bars, counting, json_option, print_json, say, size, table

_LIMITS: Final = (60, 300, 3600, 86400, 7 * 86400, 30 * 86400)
_NAMES: Final = ("up to 1 min", "up to 5 min", "up to 1 h", "up to 1 d", "up to 7 d", "up to 30 d", "longer")


@click.command("stats")
@click.option("--users", "most", default=5, show_default=True, help="Show so many of the users with most sessions.")
@json_option
def command(most: int, as_json: bool) -> None:
    """Count the sessions that are alive: by age, by how long they are idle, by size and by user.

    It reads every record once. Ctrl-C shows what was counted until then; the next run counts from the beginning.
    """
    manager = the_manager()
    counted = Statistics(manager.now())
    interrupted = False
    try:
        with counting("counting", how_many(manager)) as count:
            for seen in all_sessions(manager, count.add):
                counted.add(seen)
    except KeyboardInterrupt:
        interrupted = True
    if as_json:
        print_json(counted.told(most), interrupted=interrupted)
    else:
        _show(counted, most)
    if interrupted:
        click.echo("interrupted: these are not all sessions", err=True)
        end(INTERRUPTED)


class Statistics:
    """Counts sessions, as they are at *now* (epoch seconds)."""

    def __init__(self, now: float) -> None:
        self._now = now
        self.alive = self.signed_in = self.bytes = 0
        self._ages, self._idle = [0] * len(_NAMES), [0] * len(_NAMES)
        self._sizes, self.users = Counter[int](), Counter[str]()

    def add(self, seen: Seen) -> None:
        envelope = seen.envelope
        self.alive += 1
        self.bytes += seen.size
        self._sizes[seen.size] += 1
        self._ages[bisect_left(_LIMITS, self._now - envelope.created_at)] += 1
        self._idle[bisect_left(_LIMITS, self._now - envelope.last_seen_at)] += 1
        if envelope.user_id is not None:
            self.signed_in += 1
            self.users[envelope.user_id] += 1

    @property
    def ages(self) -> list[tuple[str, int]]:
        """How many sessions were created how long ago."""
        return list(zip(_NAMES, self._ages, strict=True))

    @property
    def idle(self) -> list[tuple[str, int]]:
        """How many sessions were used last how long ago."""
        return list(zip(_NAMES, self._idle, strict=True))

    def size_at(self, share: float) -> int | None:
        """Return the size (bytes) that so large a share of the sessions is not over; ``None`` if there are none."""
        rest = share * self.alive
        for size_, number in sorted(self._sizes.items()):
            rest -= number
            if rest <= 0:
                return size_
        return None

    def told(self, most: int) -> dict[str, Any]:
        """Return it all, with so many of the users with most sessions."""
        return {
            "alive": self.alive,
            "signed_in": self.signed_in,
            "users": len(self.users),
            "age": dict(self.ages),
            "idle": dict(self.idle),
            "bytes": {
                "all": self.bytes,
                "p50": self.size_at(0.5),
                "p99": self.size_at(0.99),
                "largest": self.size_at(1.0),
            },
            "most_sessions": [{"user": user, "sessions": number} for user, number in self.users.most_common(most)],
        }


def _show(counted: Statistics, most: int) -> None:
    table(
        ("what", "sessions"),
        [
            ("alive", f"{counted.alive:,}"),
            ("signed in", f"{counted.signed_in:,} of {len(counted.users):,} users"),
            ("size", size(counted.bytes)),
            *((name, size(found)) for name, share in (("p50", 0.5), ("p99", 0.99), ("largest", 1.0))
              if (found := counted.size_at(share)) is not None),
        ],
    )  # fmt: skip
    say("")
    bars("created", counted.ages)
    say("")
    bars("last used", counted.idle)
    if counted.users and most > 0:
        say("")
        bars("users with most sessions", counted.users.most_common(most))
