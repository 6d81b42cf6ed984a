"""The audit log: one line of JSON for each event."""

import json
import logging
from typing import Any

import pytest

from session_middleware import MemoryStore, SessionManager
from session_middleware.events import Asked, Conflict, Created, Ended, SweepDone
from session_middleware.observers import Audit
from tests.observers.notes import USER, begin, request

AT = 1_800_000_000.1234


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [json.loads(record.getMessage()) for record in caplog.records if record.name == "session_middleware.audit"]


def test_an_event_is_a_line_of_json(caplog: pytest.LogCaptureFixture) -> None:
    """What it does not have is left out."""
    caplog.set_level(logging.INFO, "session_middleware.audit")
    audit = Audit()
    audit.on(Ended(at=AT, session_id="abc", user_id="al\nice", reason="revoked"))
    audit.on(SweepDone(at=AT, removed=0, seconds=0.5))

    assert lines(caplog) == [
        {
            "at": "2027-01-15T08:00:00.123Z",
            "event": "Ended",
            "session_id": "abc",
            "user_id": "al\nice",
            "reason": "revoked",
        },
        {"at": "2027-01-15T08:00:00.123Z", "event": "SweepDone", "removed": 0, "seconds": 0.5},
    ]
    assert "\n" not in caplog.records[0].getMessage()


def test_what_is_worth_a_look_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """All else has the level INFO, so that a logger without a level shows what matters."""
    audit = Audit()
    audit.on(Created(at=AT, session_id="abc"))
    audit.on(Conflict(at=AT, session_id="abc", why="ended"))

    assert [line["event"] for line in lines(caplog)] == ["Conflict"]


def test_calls_of_the_store_are_logged_if_that_is_asked_for(caplog: pytest.LogCaptureFixture) -> None:
    """On a logger of another name, too."""
    caplog.set_level(logging.INFO)
    event = Asked(at=AT, session_id="abc", verb="load", seconds=0.001, outcome="done")
    Audit().on(event)
    Audit("shop.sessions", asked=True).on(event)

    assert [(record.name, json.loads(record.getMessage())["verb"]) for record in caplog.records] == [
        ("shop.sessions", "load")
    ]


def test_no_line_holds_a_token_or_a_value(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads the log can open no session, and learns nothing of what is in one."""
    caplog.set_level(logging.INFO, "session_middleware.audit")
    manager = SessionManager(MemoryStore(), observer=Audit(asked=True))
    token = begin(manager, USER)
    request(manager, lambda session: session.update(password="hunter2"), token)
    request(manager, lambda session: session.invalidate(), token)

    assert [line["event"] for line in lines(caplog) if line["event"] != "Asked"] == [
        "Created",
        "SweepDone",
        "SignedIn",
        "Ended",
    ]
    assert token.id in caplog.text
    assert token.reveal() not in caplog.text
    assert "hunter2" not in caplog.text
