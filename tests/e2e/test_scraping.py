"""A real Prometheus, outside of the cluster, that finds the pods of a pipeline as its ServiceMonitor says.

What the Prometheus operator makes of a ServiceMonitor is made here by hand, since it is not in this cluster; what it
makes of labels is Prometheus' own work.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import yaml
from pipelines import ROOT, Pipeline

import chart_rendering as charts
import queries
from cluster.access import Cluster, Object
from cluster.access import wait_for as until
from prometheus import Prometheus, prometheus_server

PARTS = {("gateway", ""), ("collector", "facebook"), ("collector", "tiktok"), ("reporter", "")}


def configuration(monitor: Object, targets: Path) -> Object:
    """A scrape configuration from a ServiceMonitor, as the Prometheus operator makes it; `targets` are discovered."""
    (endpoint,) = monitor["spec"]["endpoints"]
    wanted = [(f"service_label_{name}", value) for name, value in monitor["spec"]["selector"]["matchLabels"].items()]
    keep = [
        {"action": "keep", "source_labels": [_meta(label)], "regex": value}
        for label, value in [*wanted, ("endpoint_port_name", endpoint["port"])]
    ]
    labels = [
        {"action": rule["action"], "source_labels": rule["sourceLabels"], "target_label": rule["targetLabel"]}
        for rule in endpoint["relabelings"]
    ]
    by_default = [{"source_labels": [_meta("namespace")], "target_label": "namespace"}]
    job = {
        "job_name": "eventpipeline",
        "scrape_interval": "1s",
        "scrape_timeout": "1s",
        "metrics_path": endpoint["path"],
        "file_sd_configs": [{"files": [str(targets)]}],
        "relabel_configs": [*keep, *by_default, *labels],
    }
    return {"scrape_configs": [job]}


def discovered(cluster: Cluster, namespace: str) -> list[Object]:
    """The endpoints of every Service with the labels that Prometheus' own discovery gives: Debian's has none for
    Kubernetes."""
    services = {item["metadata"]["name"]: item for item in cluster.get_all("services", namespace=namespace)}
    pods = {item["metadata"]["name"]: item for item in cluster.get_all("pods", namespace=namespace)}
    found = []
    for group in cluster.get_all("endpointslices", namespace=namespace):
        service = services[group["metadata"]["labels"]["kubernetes.io/service-name"]]
        for port, endpoint in itertools.product(group["ports"], group["endpoints"]):
            pod = pods[endpoint["targetRef"]["name"]]
            labels = {"namespace": namespace, "endpoint_port_name": port["name"]}
            labels |= {f"service_label_{name}": value for name, value in service["metadata"]["labels"].items()}
            labels |= {f"pod_label_{name}": value for name, value in pod["metadata"]["labels"].items()}
            found.append(
                {
                    "targets": [f"{endpoint['addresses'][0]}:{port['port']}"],
                    "labels": {_meta(name): value for name, value in labels.items()},
                }
            )
    return found


def _meta(name: str) -> str:
    return "__meta_kubernetes_" + name.translate(str.maketrans("./-", "___"))


def test_prometheus_finds_every_pod_and_the_queries_find_the_pipeline(
    operator: Cluster, namespace: str, tmp_path: Path
) -> None:
    pipeline = Pipeline(operator, namespace)
    body: Any = yaml.safe_load((ROOT / "manifests" / "minimal.yaml").read_text())
    body["spec"] = {"monitoring": {"serviceMonitor": True, "dashboards": True, "alerts": True}}
    operator.apply(body, namespace=namespace)
    pipeline.until_ready()
    maps = operator.get_all("configmaps", namespace=namespace, selector="grafana_dashboard=1")
    boards = [json.loads(text) for item in maps for text in item["data"].values()]
    assert len(boards) == len(queries.DASHBOARDS)

    (monitor,) = (item for item in charts.objects("monitoring") if item["kind"] == "ServiceMonitor")
    targets = tmp_path / "targets.json"
    targets.write_text(json.dumps(discovered(operator, namespace)))
    with prometheus_server(tmp_path, configuration(monitor, targets)) as prometheus:
        mine = f'namespace="{namespace}",pipeline="{pipeline.name}"'

        def found() -> set[tuple[str, str]]:
            series = prometheus.query(f"up{{{mine}}} == 1")
            return {(one["metric"]["component"], one["metric"].get("source", "")) for one in series}

        until(lambda: found() == PARTS, what=lambda: f"every service; there is {found()}", seconds=30)
        for path in queries.DASHBOARDS:
            assert_variables(prometheus, path, {"namespace": namespace, "pipeline": pipeline.name})
        for rule in queries.alerts():
            expression = rule["expr"].replace('namespace=~".+",pipeline=~".+"', mine)
            assert prometheus.query(expression) == [], rule["alert"]


def assert_variables(prometheus: Prometheus, path: Path, wanted: dict[str, str]) -> None:
    chosen: dict[str, str] = {}
    for variable in queries.variables(path):
        values = prometheus.values(queries.filled(variable.selector, chosen), variable.label)
        expected = {"source": ["facebook", "tiktok"]}.get(variable.name) or [wanted[variable.name]]
        assert values == expected, f"{path.name}: {variable.name}"
        chosen[variable.name] = values[0]
