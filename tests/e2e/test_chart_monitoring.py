"""charts/eventpipeline: what it makes for a Prometheus and a Grafana."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

import chart_rendering as charts
from eventpipeline_operator.helm import CHART, Object

KINDS = {"serviceMonitor": "ServiceMonitor", "alerts": "PrometheusRule"}
ALL = 'namespace=~".+",pipeline=~".+"'
OWN = f'namespace="{charts.NAMESPACE}",pipeline="{charts.NAME}"'


def rendered(*switches: str, api_versions: tuple[str, ...] = charts.MONITORING_APIS) -> list[Object]:
    spec = {"monitoring": dict.fromkeys(switches, True)}
    return charts.rendered(charts.values(spec), api_versions=api_versions)


def monitoring_kinds(found: list[Object]) -> set[str]:
    return {item["kind"] for item in found if item["apiVersion"].startswith("monitoring.coreos.com/")}


def dashboards(found: list[Object]) -> dict[str, Any]:
    """The dashboards by the name of their file."""
    maps = (item for item in found if item["metadata"]["labels"].get("grafana_dashboard") == "1")
    return {name: json.loads(text) for item in maps for name, text in item["data"].items()}


@pytest.mark.parametrize("switch", KINDS)
def test_each_switch_makes_its_kind_and_no_other(switch: str) -> None:
    found = rendered(switch)
    assert monitoring_kinds(found) == {KINDS[switch]}
    assert charts.named(found, KINDS[switch]) == {charts.NAME}
    assert not dashboards(found)


@pytest.mark.parametrize("switch", KINDS)
def test_a_kind_that_the_cluster_does_not_know_is_not_made(switch: str) -> None:
    others = tuple(name for name in charts.MONITORING_APIS if not name.endswith(KINDS[switch]))
    assert not monitoring_kinds(rendered(switch, api_versions=("monitoring.coreos.com/v1", *others)))


def test_without_a_switch_there_is_nothing() -> None:
    assert not monitoring_kinds(rendered())
    assert not dashboards(rendered())


def test_the_service_monitor_finds_every_service_and_gives_the_labels_that_the_queries_use() -> None:
    found = charts.objects("monitoring")
    (monitor,) = (item for item in found if item["kind"] == "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    matched = {
        item["metadata"]["name"]
        for item in found
        if item["kind"] == "Service" and wanted <= item["metadata"]["labels"].items()
    }
    assert matched == {f"{charts.NAME}-{name}" for name in ("gateway", "collectors", "reporter")}
    (endpoint,) = monitor["spec"]["endpoints"]
    pods = [template["metadata"]["labels"] for _, template in charts.templates(found)]
    known = {f"__meta_kubernetes_pod_label_{name}".translate(_AS_LABEL) for labels in pods for name in labels}
    assert {rule["targetLabel"] for rule in endpoint["relabelings"]} == {"pipeline", "component", "source"}
    assert {name for rule in endpoint["relabelings"] for name in rule["sourceLabels"]} <= known


_AS_LABEL = str.maketrans("./-", "___")
"""How Prometheus writes the name of a Kubernetes label."""


def test_the_alerts_are_those_of_the_file_for_this_pipeline_alone() -> None:
    (rule,) = (item for item in charts.objects("monitoring") if item["kind"] == "PrometheusRule")
    text = (CHART / "alerts.yaml").read_text()
    assert ALL in text
    assert rule["spec"] == yaml.safe_load(text.replace(ALL, OWN))
    assert "=~" not in json.dumps([one["expr"] for one in rule["spec"]["groups"][0]["rules"]]).replace("__name__=~", "")


def test_there_is_a_map_a_dashboard_with_names_of_its_own() -> None:
    found = dashboards(charts.objects("monitoring"))
    files = {path.stem: json.loads(path.read_text()) for path in (CHART / "dashboards").glob("*.json")}
    assert set(found) == {f"{charts.NAMESPACE}-{charts.NAME}-{name}.json" for name in files}
    for name, source in files.items():
        dashboard = found[f"{charts.NAMESPACE}-{charts.NAME}-{name}.json"]
        assert dashboard["panels"] == source["panels"]
        assert dashboard["uid"] != source["uid"]
        assert len(dashboard["uid"]) <= 40
        assert dashboard["title"] == f"{source['title']} ({charts.NAMESPACE}/{charts.NAME})"
        current = {one["name"]: one["current"]["value"] for one in dashboard["templating"]["list"] if "current" in one}
        assert current.items() >= {"namespace": charts.NAMESPACE, "pipeline": charts.NAME}.items()
        assert dashboard["links"][0]["tags"] == dashboard["tags"]
    assert len({dashboard["uid"] for dashboard in found.values()}) == len(files)
