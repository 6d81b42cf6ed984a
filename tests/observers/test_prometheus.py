"""Counts for Prometheus, as its own parser reads them."""

import math

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from session_middleware import MemoryStore, SessionManager
from session_middleware.events import Event
from session_middleware.observers.counted import COUNTS
from session_middleware.observers.prometheus import Prometheus
from tests.observers.kinds import AT, EACH
from tests.observers.notes import USER, begin


def scraped(*events: Event, registry: CollectorRegistry | None = None) -> dict[tuple[str, str], float]:
    """Return what a scrape after these events has: each name with its labels, and the value."""
    registry = registry or CollectorRegistry()
    observer = Prometheus(registry)
    for event in events:
        observer.on(event)
    return read(generate_latest(registry).decode())


def read(text: str) -> dict[tuple[str, str], float]:
    return {
        (sample.name, ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_event_is_counted() -> None:
    """By its name, with the one label that tells its parts apart."""
    assert {type(event) for event in EACH} == set(Event.__subclasses__())
    found = scraped(*EACH)
    totals = {name for name, _ in found if name.endswith("_total")}

    assert totals == {f"session_middleware_{count.name}_total" for count in COUNTS.values()}
    assert found["session_middleware_sessions_created_total", ""] == 1
    assert found["session_middleware_sessions_ended_total", "reason=revoked"] == 1
    assert found["session_middleware_conflicts_total", "why=kept changing"] == 1
    assert found["session_middleware_swept_records_total", ""] == 5
    assert found["session_middleware_store_failed_requests_total", ""] == 7
    assert found["session_middleware_sweep_seconds_sum", ""] == 0.25


def test_an_event_that_nobody_has_heard_of_is_passed_over() -> None:
    """Such as one of a later version."""
    found = scraped(Event(at=AT))

    assert {value for (name, _), value in found.items() if not name.endswith("_created")} == {0}


def test_a_call_of_the_store_is_measured_in_seconds() -> None:
    """By verb and outcome."""
    found = scraped(*EACH)

    assert found["session_middleware_store_call_seconds_sum", "outcome=done,verb=load"] == 0.5
    assert found["session_middleware_store_call_seconds_bucket", "le=0.25,outcome=done,verb=load"] == 0
    assert found["session_middleware_store_call_seconds_bucket", "le=0.5,outcome=done,verb=load"] == 1
    assert found["session_middleware_store_call_seconds_count", "outcome=failed,verb=load"] == 1


def test_no_label_has_a_value_for_each_session_or_user() -> None:
    """A metric with millions of parts would end the server that scrapes it."""
    labels = {part.split("=")[0] for _, text in scraped(*EACH) for part in text.split(",") if part}

    assert labels == {"reason", "why", "verb", "outcome", "le"}


def test_bounds_can_be_given() -> None:
    registry = CollectorRegistry()
    SessionManager(MemoryStore(), observer=Prometheus(registry, buckets=(1.0, 2.0))).sweep()
    found = read(generate_latest(registry).decode())

    assert {text for name, text in found if name == "session_middleware_sweep_seconds_bucket"} == {
        "le=1.0",
        "le=2.0",
        "le=+Inf",
    }
    assert not any(math.isnan(value) for value in found.values())


def test_a_site_is_counted() -> None:
    registry = CollectorRegistry()
    manager = SessionManager(MemoryStore(), observer=Prometheus(registry))
    for _ in range(3):
        begin(manager, USER)
    manager.revoke_all(USER)
    found = read(generate_latest(registry).decode())

    assert found["session_middleware_sign_ins_total", ""] == 3
    assert found["session_middleware_sessions_ended_total", "reason=signed_out_everywhere"] == 3


def test_a_process_has_one_of_them() -> None:
    """A second one would count the same under the same names."""
    registry = CollectorRegistry()
    Prometheus(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        Prometheus(registry)
