"""Counts events for OpenTelemetry, and makes a span of each call of the store, through its API alone. It exports nothing."""

from typing import Final

from opentelemetry.metrics import MeterProvider, get_meter_provider
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider, get_tracer_provider

from session_middleware.events import Asked, Event, SweepDone
from session_middleware.exceptions import ConfigurationError
from session_middleware.observers.counted import COUNTS

_SCOPE: Final = "session_middleware"
# What OpenTelemetry's conventions for database clients name (version 1.33 and later): attributes, and the bounds (seconds).
_SYSTEM, _OPERATION, _ERROR = "db.system.name", "db.operation.name", "error.type"
_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


class OpenTelemetry:
    """Count every event, measure the calls of the store, and make a span of each, by the conventions for database clients.

    *system*: what the store is, as the conventions call it: ``"redis"``, ``"postgresql"``, ``"mariadb"``, ``"mysql"``,
    ``"memcached"``, ``"sqlite"``. Without *tracer_provider* and *meter_provider*, those of the process are used, which the
    application, or ``opentelemetry-instrument``, has set. A span belongs to the span of the request, which it finds by the
    context: so this observer is not for a :class:`~session_middleware.observers.Queued`. Raise :exc:`ConfigurationError`
    for a *system* that is no text.
    """

    def __init__(
        self,
        system: str,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        if not isinstance(system, str) or not system:
            raise ConfigurationError(f'system={system!r}: write what the store is, such as "redis" or "postgresql"')
        self._system = system
        self._tracer = (get_tracer_provider() if tracer_provider is None else tracer_provider).get_tracer(_SCOPE)
        meter = (get_meter_provider() if meter_provider is None else meter_provider).get_meter(_SCOPE)
        self._counters = {
            kind: (count, meter.create_counter(f"{_SCOPE}.{count.name}", f"{{{count.unit}}}", count.help))
            for kind, count in COUNTS.items()
        }
        self._calls = meter.create_histogram(
            "db.client.operation.duration",
            "s",
            "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=_BUCKETS,
        )
        self._sweeps = meter.create_histogram(f"{_SCOPE}.sweep.duration", "s", "Time that a sweep has taken.")

    def on(self, event: Event) -> None:
        """Count an event; of a call of the store, make a span."""
        if isinstance(event, Asked):
            self._asked(event)
            return
        if isinstance(event, SweepDone):
            self._sweeps.record(event.seconds)
        if type(event) in self._counters:
            count, counter = self._counters[type(event)]
            counter.add(count.amount(event), {} if count.label is None else {count.label: getattr(event, count.label)})

    def _asked(self, event: Asked) -> None:
        attributes = {_SYSTEM: self._system, _OPERATION: event.verb}
        if event.outcome == "failed":
            attributes[_ERROR] = "_OTHER"
        self._calls.record(event.seconds, attributes)
        span = self._tracer.start_span(
            f"{event.verb} sessions",
            kind=SpanKind.CLIENT,
            attributes=attributes,
            start_time=int((event.at - event.seconds) * 1e9),
        )
        if event.outcome == "failed":
            span.set_status(Status(StatusCode.ERROR))
        span.end(end_time=int(event.at * 1e9))
