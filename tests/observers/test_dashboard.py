"""The dashboard for Grafana: it has the form that Grafana reads, and shows metrics that are there."""

import json
import re
from itertools import combinations
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry

from session_middleware.observers.prometheus import Prometheus

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "examples" / "grafana-dashboard.json").read_text())
EXPRESSIONS: list[str] = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def named() -> set[str]:
    return {name for expression in EXPRESSIONS for name in re.findall(r"session_middleware_\w+", expression)}


def test_every_metric_that_it_shows_is_there() -> None:
    """With the labels that it asks for; and each that is there is shown."""
    registry = CollectorRegistry()
    Prometheus(registry)
    there = {
        f"{family.name}_{ending}": family
        for family in registry.collect()
        for ending in {"counter": ["total"], "histogram": ["bucket", "count", "sum"]}[family.type]
    }

    assert named() <= there.keys()
    assert {there[name].name for name in named()} == {family.name for family in registry.collect()}
    labels = {
        label for expression in EXPRESSIONS for by in re.findall(r"by \(([^)]*)\)", expression) for label in by.split(", ")
    }
    assert labels == {"le", "reason", "verb"}


def test_it_has_the_form_of_a_dashboard() -> None:
    """What an import needs: ids of their own, a place for each panel that no other has, and a source that is asked for."""
    panels = DASHBOARD["panels"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert [type(DASHBOARD[name]) for name in ("title", "uid", "time", "templating", "tags")] == [str, str, dict, dict, list]
    assert [one["name"] for one in DASHBOARD["templating"]["list"] if one["type"] == "datasource"] == ["datasource"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] >= 0
        assert place["x"] + place["w"] <= 24
        assert panel["type"] == "timeseries"
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"ops", "s", "percentunit", "short"}
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        assert apart or one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
