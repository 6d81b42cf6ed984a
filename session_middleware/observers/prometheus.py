"""Counts events for Prometheus, with ``prometheus-client``. It serves no page: that library does."""

from collections.abc import Sequence

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram

from session_middleware.events import Asked, Event, SweepDone
from session_middleware.observers.counted import BUCKETS, COUNTS


class Prometheus:
    """Count every event, and measure how long the calls of the store and its sweeps take.

    *registry*: where the metrics are registered; each name can be there once, so that a process has one of these, for all
    its middlewares. *buckets*: the upper bounds for the time of a call (seconds). No metric has a label with as many values
    as there are sessions or users.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY, *, buckets: Sequence[float] = BUCKETS) -> None:
        self._counters = {
            kind: (
                count,
                Counter(
                    f"session_middleware_{count.name}",
                    count.help,
                    [] if count.label is None else [count.label],
                    registry=registry,
                ),
            )
            for kind, count in COUNTS.items()
        }
        self._calls = Histogram(
            "session_middleware_store_call_seconds",
            "Time that a call of the store has taken.",
            ["verb", "outcome"],
            registry=registry,
            buckets=buckets,
        )
        self._sweeps = Histogram(
            "session_middleware_sweep_seconds", "Time that a sweep has taken.", registry=registry, buckets=buckets
        )

    def on(self, event: Event) -> None:
        """Count an event."""
        if isinstance(event, Asked):
            self._calls.labels(event.verb, event.outcome).observe(event.seconds)
            return
        if isinstance(event, SweepDone):
            self._sweeps.observe(event.seconds)
        if type(event) in self._counters:
            count, counter = self._counters[type(event)]
            part = counter if count.label is None else counter.labels(getattr(event, count.label))
            part.inc(count.amount(event))
