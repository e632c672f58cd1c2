"""Dashboards, alerts and the configuration of Prometheus: that they agree with the code and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import queries
from eventpipeline.sources import BUILT_IN
from queries import Query
from service_metrics import PREFIXES, series

TESTS = Path(__file__).resolve().parents[1]
UP = "up"
"""What Prometheus itself adds for each target."""
WORDS = {
    *("sum", "max", "group", "rate", "increase", "deriv", "absent", "histogram_quantile", "by", "and", "unless", "or"),
    *("namespace", "pipeline", "component", "source", "instance", "reason", "report", "status", "le"),
}
"""The functions and labels that expressions use."""


def all_queries() -> list[Query]:
    return [*queries.panel_queries(), *(Query(rule["alert"], rule["expr"]) for rule in queries.alerts())]


def unknown(expression: str) -> list[str]:
    """The selectors of `expression` that no metric of the code answers to."""
    known = series() | {UP}
    return [
        selector
        for selector in queries.selectors(expression)
        if not any(queries.names(selector).fullmatch(name) for name in known)
    ]


@pytest.mark.parametrize("query", all_queries(), ids=lambda query: query.where)
def test_every_selector_names_a_metric_of_the_code(query: Query) -> None:
    assert queries.selectors(query.expression)
    assert not unknown(query.expression)
    words = set(re.findall(r"[A-Za-z_]\w*", re.sub(r"\w*\{[^{}]*\}|\[[^\]]*\]", "", query.expression)))
    assert not words - WORDS, "a metric without braces, or a word that this test does not know"


@pytest.mark.parametrize("query", all_queries(), ids=lambda query: query.where)
def test_every_selector_is_of_one_pipeline(query: Query) -> None:
    for selector in queries.selectors(query.expression):
        assert re.search(r'namespace=(~"\.\+"|"\$namespace"),pipeline=(~"\.\+"|"\$pipeline")', selector), selector


def test_a_metric_that_does_not_exist_is_found_out() -> None:
    assert unknown('sum(rate(gateway_events_acepted_total{pipeline="a"}[1m]))')
    assert unknown('max({__name__=~".+_lag_massages",pipeline="a"})')
    assert not unknown('max({__name__=~".+_lag_messages",pipeline="a"})')


def test_a_pattern_takes_a_metric_of_every_source_and_only_of_collectors() -> None:
    """Whatever the prefix of a source is: one that is declared in the resource chooses its own."""
    collected = {name for name in series() if name.startswith(PREFIXES)}
    for query in all_queries():
        for selector in queries.selectors(query.expression):
            if "__name__=~" in selector:
                assert 'component="collector"' in selector
                found = [name for name in collected if queries.names(selector).fullmatch(name)]
                assert len(found) == len(BUILT_IN), selector


@pytest.mark.parametrize("path", queries.DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_takes_its_data_source_and_its_pipeline_from_variables(path: Path) -> None:
    found = queries.dashboard(path)
    assert found["uid"] == f"eventpipeline-{path.stem}"
    names = [one["name"] for one in found["templating"]["list"]]
    assert names[:3] == ["datasource", "namespace", "pipeline"]
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in found["panels"]:
        assert panel["datasource"] == source
        assert panel["description"]
        assert all(target["datasource"] == source for target in panel["targets"])
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])


@pytest.mark.parametrize("path", queries.DASHBOARDS, ids=lambda path: path.stem)
def test_panels_do_not_overlap(path: Path) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in queries.dashboard(path)["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells


def test_the_panels_that_were_asked_for() -> None:
    boards = {path.stem: queries.dashboard(path)["panels"] for path in queries.DASHBOARDS}
    stats = [panel["title"] for panel in boards["gateway"] if panel["type"] == "stat"]
    assert stats == ["Accepted", "Processed", "Failed"]
    events = boards["collectors"][0]
    assert [target["legendFormat"] for target in events["targets"]] == ["accepted", "processed", "failed"]
    assert all("[1m]" in target["expr"] for target in events["targets"])
    assert events["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    assert events["repeat"] == "source"
    assert any("sum by (report, le)" in panel["targets"][0]["expr"] for panel in boards["reporter"])


@pytest.mark.parametrize("rule", queries.alerts(), ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_what_to_do(rule: dict[str, dict[str, str]]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["annotations"]["runbook"].startswith("1. ")


def test_every_alert_is_tested_to_fire_and_to_be_quiet() -> None:
    tested = yaml.safe_load((TESTS / "alert_cases.yaml").read_text())["tests"]
    cases = [case for test in tested for case in test["alert_rule_test"]]
    for name in {rule["alert"] for rule in queries.alerts()}:
        outcomes = {bool(case.get("exp_alerts")) for case in cases if case["alertname"] == name}
        assert outcomes == {True, False}, name
