"""Every panel and every alert, by a real Prometheus that scrapes a running pipeline."""

from __future__ import annotations

import json
import math
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

import queries
from eventpipeline.plan import COLLECTOR_PORT, GATEWAY_PORT, REPORTER_PORT
from prometheus import Prometheus, binary, configuration, prometheus_server
from queries import ROOT, Query
from samples import event
from servers import free_offset, wait_for

SECONDS = 20.0
TARGETS = {
    "gateway:3000": GATEWAY_PORT,
    "facebook-collector:3001": COLLECTOR_PORT,
    "tiktok-collector:3002": COLLECTOR_PORT + 1,
    "reporter:3003": REPORTER_PORT,
}


@dataclass(frozen=True)
class Watched:
    """A pipeline, and the Prometheus that scrapes it."""

    prometheus: Prometheus
    offset: int

    def returns(self, expression: str, *, seconds: float = SECONDS) -> list[dict[str, Any]]:
        """The series of `expression` that have a number, once there are some. Raises AssertionError if not in time."""
        found: list[dict[str, Any]] = []

        def has_numbers() -> bool:
            found[:] = [one for one in self.prometheus.query(expression) if not math.isnan(float(one["value"][1]))]
            return bool(found)

        wait_for(has_numbers, what=lambda: f"no series of {expression}", seconds=seconds)
        return found

    def url(self, port: int) -> str:
        return f"http://127.0.0.1:{port + self.offset}"

    def use(self) -> None:
        """Events that are taken, some that are not, and each report."""
        with httpx2.Client(timeout=30, trust_env=False) as client:
            good = [event(source, event_id=f"e-{number}") for number in range(50) for source in ("facebook", "tiktok")]
            answer = client.post(
                f"{self.url(GATEWAY_PORT)}/webhook/events", json=[*good, event(funnelStage="sideways")]
            )
            assert answer.json()["accepted"] == 100
            assert answer.json()["rejected"] == 1
            for report in ("events", "revenue", "demographics"):
                assert client.get(f"{self.url(REPORTER_PORT)}/reports/{report}").status_code == 200


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    offset, log = free_offset(), folder / "up.log"
    command = [
        *(sys.executable, "-m", "eventpipeline", "up", "-f", str(ROOT / "manifests" / "minimal.yaml")),
        *("--data-dir", str(folder / "data"), "--port-offset", str(offset)),
    ]
    with log.open("wb") as output:
        up = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    targets = {name: f"127.0.0.1:{port + offset}" for name, port in TARGETS.items()}
    try:
        with prometheus_server(folder, configuration(targets)) as prometheus:
            found = Watched(prometheus, offset)

            def all_are_up() -> bool:
                assert up.poll() is None, log.read_text()
                return len(prometheus.query("up == 1")) == len(TARGETS)

            wait_for(all_are_up, what=lambda: f"every target up:\n{log.read_text()[-3000:]}", seconds=60)
            # Twice, with a scrape between: what began at the first shows its increase at the second.
            found.use()
            found.returns("sum(reporter_reports_generated_total) >= 3")
            found.returns("sum(collector_dead_letters_total) >= 1")
            found.use()
            yield found
    finally:
        up.send_signal(signal.SIGINT)
        assert up.wait(30) == 0, log.read_text()


def values_of_variables(prometheus: Prometheus, path: Path) -> dict[str, str]:
    """The first value of each variable of a dashboard, as Grafana finds it."""
    chosen: dict[str, str] = {}
    for variable in queries.variables(path):
        found = prometheus.values(queries.filled(variable.selector, chosen), variable.label)
        assert found, f"{path.name}: the variable {variable.name} has no values"
        chosen[variable.name] = found[0]
    return chosen


@pytest.mark.parametrize("path", queries.DASHBOARDS, ids=lambda path: path.stem)
def test_the_variables_of_a_dashboard_find_the_pipeline(watched: Watched, path: Path) -> None:
    chosen = values_of_variables(watched.prometheus, path)
    assert chosen.items() >= {"namespace": "compose", "pipeline": "marketing"}.items()
    assert chosen.get("source", "facebook") == "facebook"


def path_of(query: Query) -> Path:
    return queries.CHART / "dashboards" / f"{query.where.partition(',')[0]}.json"


@pytest.mark.parametrize("query", list(queries.panel_queries()), ids=lambda query: query.where)
def test_every_expression_of_a_panel_returns_series(watched: Watched, query: Query) -> None:
    chosen = values_of_variables(watched.prometheus, path_of(query))
    for selector in queries.selectors(query.expression):
        watched.returns(queries.filled(selector, chosen))
    found = watched.returns(queries.filled(query.expression, chosen))
    legend = query.where.rpartition(", ")[2]
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        assert all(one["metric"].get(label) for one in found), f"{legend}: a series has no {label}"


@pytest.mark.parametrize("query", list(queries.alert_queries()), ids=lambda query: query.where)
def test_what_an_alert_compares_returns_series(watched: Watched, query: Query) -> None:
    for selector in queries.selectors(query.expression):
        watched.returns(selector)
    watched.returns(query.expression)


def test_an_expression_without_series_is_found_out(watched: Watched) -> None:
    with pytest.raises(AssertionError, match="no series of"):
        watched.returns('sum(rate(gateway_events_acepted_total{pipeline="marketing"}[1m]))', seconds=2)
    with pytest.raises(AssertionError, match="parse error"):
        watched.returns("sum(rate(", seconds=2)


def test_the_stats_are_what_was_answered(watched: Watched) -> None:
    counts = {
        name: watched.returns(f"sum(gateway_events_{name}_total)")[0]["value"][1]
        for name in ("accepted", "processed", "failed")
    }
    assert counts == {"accepted": "200", "processed": "200", "failed": "2"}
    watched.returns('sum({__name__=~".+_events_accepted_total",component="collector"}) == 200')
    watched.returns('sum({__name__=~".+_events_processed_total",component="collector"}) == 200')


def test_prometheus_takes_the_alerts_and_none_fires_for_a_pipeline_that_is_well(watched: Watched) -> None:
    rules = {rule["name"]: rule for rule in watched.prometheus.rules()}
    assert set(rules) == {rule["alert"] for rule in queries.alerts()}
    assert {rule["health"] for rule in rules.values()} <= {"ok", "unknown"}
    assert not [name for name, rule in rules.items() if rule["state"] == "firing"]


def test_the_alerts_fire_when_they_are_to(tmp_path: Path) -> None:
    cases = yaml.safe_load((ROOT / "tests" / "alert_cases.yaml").read_text())
    rules: dict[str, list[dict[str, Any]]] = {}
    for rule in queries.alerts():
        rules.setdefault(rule["alert"], []).append(rule)
    for case in (case for test in cases["tests"] for case in test["alert_rule_test"]):
        for expected in case.get("exp_alerts", []):
            annotations = rules[case["alertname"]][0]["annotations"]
            expected["exp_annotations"] = annotations | {"summary": expected.pop("summary")}
    file = tmp_path / "tests.yaml"
    file.write_text(
        json.dumps(cases | {"rule_files": [str(queries.CHART / "alerts.yaml")], "evaluation_interval": "30s"})
    )
    done = subprocess.run([binary("promtool"), "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
