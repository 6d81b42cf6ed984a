"""Metrics and spans, as OpenTelemetry's own exporters in memory get them."""

from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from session_middleware import ConfigurationError, MemoryStore, SessionManager
from session_middleware.events import Asked, Event
from session_middleware.observers.counted import COUNTS
from session_middleware.observers.opentelemetry import OpenTelemetry
from tests.observers.kinds import AT, EACH
from tests.observers.notes import USER, begin


class Telemetry:
    """An observer, and what it has exported."""

    def __init__(self) -> None:
        self.reader, self.spans = InMemoryMetricReader(), InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        self.observer = OpenTelemetry(
            "redis", tracer_provider=self.tracers, meter_provider=MeterProvider([self.reader], shutdown_on_exit=False)
        )

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


def test_every_event_is_counted(telemetry: Telemetry) -> None:
    """Under its name, with its unit, and with the one attribute that tells its parts apart."""
    for event in EACH:
        telemetry.observer.on(event)
    metrics = telemetry.metrics()

    assert metrics.keys() == {f"session_middleware.{count.name}" for count in COUNTS.values()} | {
        "db.client.operation.duration",
        "session_middleware.sweep.duration",
    }
    counts = {
        name.removeprefix("session_middleware."): [
            (dict(point.attributes), point.value) for point in metric.data.data_points
        ]
        for name, metric in metrics.items()
        if hasattr(metric.data.data_points[0], "value")
    }
    assert counts["sessions_ended"] == [({"reason": "revoked"}, 1)]
    assert counts["conflicts"] == [({"why": "kept changing"}, 1)]
    assert counts["swept_records"] == [({}, 5)]
    assert counts["store_failed_requests"] == [({}, 7)]
    assert metrics["session_middleware.sessions_ended"].unit == "{session}"
    assert metrics["session_middleware.sweep.duration"].data.data_points[0].sum == 0.25


def test_an_event_that_nobody_has_heard_of_is_passed_over(telemetry: Telemetry) -> None:
    """Such as one of a later version."""
    telemetry.observer.on(Event(at=AT))

    assert telemetry.reader.get_metrics_data() is None
    assert telemetry.spans.get_finished_spans() == ()


def test_a_call_of_the_store_is_measured_by_the_conventions(telemetry: Telemetry) -> None:
    """A histogram in seconds, with the attributes that every database client has."""
    for event in EACH:
        telemetry.observer.on(event)
    metric = telemetry.metrics()["db.client.operation.duration"]

    assert metric.unit == "s"
    assert [(dict(point.attributes), point.sum) for point in metric.data.data_points] == [
        ({"db.system.name": "redis", "db.operation.name": "load"}, 0.5),
        ({"db.system.name": "redis", "db.operation.name": "load", "error.type": "_OTHER"}, 0.25),
    ]
    assert metric.data.data_points[0].explicit_bounds == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)


def test_a_call_of_the_store_is_a_span(telemetry: Telemetry) -> None:
    """From its beginning to its end; one that failed is an error."""
    for event in EACH:
        telemetry.observer.on(event)
    done, failed = telemetry.spans.get_finished_spans()

    assert (done.name, done.kind) == ("load sessions", SpanKind.CLIENT)
    assert (done.start_time, done.end_time) == (int((AT - 0.5) * 1e9), int(AT * 1e9))
    assert dict(done.attributes or {}) == {"db.system.name": "redis", "db.operation.name": "load"}
    assert (done.status.status_code, failed.status.status_code) == (StatusCode.UNSET, StatusCode.ERROR)
    assert dict(failed.attributes or {})["error.type"] == "_OTHER"


def test_a_span_belongs_to_that_of_the_request(telemetry: Telemetry) -> None:
    """Which is the current one where the store was asked."""
    manager = SessionManager(MemoryStore(), observer=telemetry.observer)
    with telemetry.tracers.get_tracer("site").start_as_current_span("GET /") as request:
        begin(manager, USER)
    children = [span for span in telemetry.spans.get_finished_spans() if span.name != "GET /"]

    assert [span.name for span in children] == ["load sessions", "create sessions", "sweep sessions", "load sessions"]
    for span in children:
        assert span.parent is not None
        assert span.parent.span_id == request.get_span_context().span_id


def test_nothing_is_needed_but_the_api() -> None:
    """Where nobody has set a provider, all of it goes nowhere."""
    observer = OpenTelemetry("sqlite")
    for event in EACH:
        observer.on(event)
    assert isinstance(EACH[-1], Asked)


@pytest.mark.parametrize("system", ["", None, MemoryStore()])
def test_what_is_no_system_is_refused(system: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^system=.*: write what the store is"):
        OpenTelemetry(system)
