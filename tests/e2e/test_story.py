"""The story of a pipeline on a cluster: from nothing to Ready, through load, mending, change and removal.

The tests of this file run in order on one pipeline in one namespace; each goes on from what the one before left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from cluster.access import Cluster, Object, wait_for
from eventpipeline.publisher import Observer, Options, judge, publish

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "eventpipeline-system"
PIPELINE = "evp/marketing"
READY_SECONDS = 180


@pytest.fixture(scope="module")
def operator(cluster: Cluster) -> Iterator[Cluster]:
    """The operator, installed as people install it; at the end everything of it is removed."""
    started = time.monotonic()
    cluster.helm(
        "install", "eventpipeline", str(ROOT / "charts" / "eventpipeline-operator"), "--create-namespace", "--wait",
        "--timeout=120s", namespace=SYSTEM,
    )  # fmt: skip
    print(f"helm install to a running operator: {time.monotonic() - started:.1f} s")
    try:
        yield cluster
    finally:
        cluster.kubectl("delete", "evp", "--all", "--all-namespaces", "--wait=true", "--timeout=60s")
        cluster.helm("uninstall", "eventpipeline", namespace=SYSTEM)
        cluster.kubectl("delete", "crd", "eventpipelines.eventpipeline.dev", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", SYSTEM, "--wait=false")


@pytest.fixture(scope="module")
def home(operator: Cluster) -> Iterator[str]:
    """A namespace that enforces the restricted Pod Security Standard, with minimal.yaml in it."""
    with operator.namespace("story", {"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield name


def condition(cluster: Cluster, namespace: str, kind: str = "Ready") -> Object:
    found = cluster.get(PIPELINE, namespace=namespace)
    conditions = (found or {}).get("status", {}).get("conditions", [])
    return next((item for item in conditions if item["type"] == kind), {})


def until_ready(cluster: Cluster, namespace: str, seconds: float = READY_SECONDS) -> float:
    """Waits until the pipeline is Ready at its present generation; returns how long that took, in seconds."""
    started = time.monotonic()

    def is_ready() -> bool:
        found = cluster.get(PIPELINE, namespace=namespace) or {}
        ready = condition(cluster, namespace)
        return ready.get("status") == "True" and ready.get("observedGeneration") == found["metadata"]["generation"]

    wait_for(is_ready, what=lambda: f"Ready; it is {condition(cluster, namespace)}", seconds=seconds)
    return time.monotonic() - started


def events_of(cluster: Cluster, namespace: str) -> list[str]:
    return [event["message"] for event in cluster.get_all("events", namespace=namespace)]


def service_url(cluster: Cluster, namespace: str, name: str) -> str:
    service: Any = cluster.get(f"service/{name}", namespace=namespace)
    return f"http://{service['spec']['clusterIP']}:{service['spec']['ports'][0]['port']}"


def test_from_nothing_to_ready(operator: Cluster, home: str) -> None:
    operator.apply(ROOT / "manifests" / "minimal.yaml", namespace=home)
    seconds = until_ready(operator, home)
    print(f"kubectl apply to Ready: {seconds:.1f} s")
    shown = operator.kubectl("get", "evp", namespace=home)
    assert shown.split()[:6] == ["NAME", "READY", "GATEWAY", "LAG", "DEAD", "AGE"]
    found = operator.get(PIPELINE, namespace=home)
    assert found
    assert not found["metadata"].get("finalizers"), "kubectl delete must not hang when the operator is gone"
    kinds = {item["type"] for item in found["status"]["conditions"]}
    assert kinds >= {"Ready", "StreamReady", "StoreReady", "GatewayReady", "CollectorsReady", "ReporterReady"}


async def test_the_load_through_the_service_is_counted_exactly_once(operator: Cluster, home: str) -> None:
    gateway = service_url(operator, home, "marketing-gateway")
    reporter = service_url(operator, home, "marketing-reporter")
    async with httpx2.AsyncClient(base_url=reporter, timeout=60.0, trust_env=False) as client:
        observer = Observer(client)
        before = await observer.observe()
        ledger = await publish(gateway, Options(seconds=20, batch=(500, 10_000), seed=7, corrupt=0.3))
        after = await observer.observe_stored(ledger, before, quiet=60.0)
    verdict = judge(ledger, before, after)
    print(verdict.summary)
    assert verdict.ok, verdict.differences
    assert ledger.totals().accepted > 10_000


@pytest.mark.parametrize(
    "what", ["deployment/marketing-gateway", "service/marketing-gateway", "statefulset/marketing-nats"]
)
def test_what_somebody_deletes_is_put_back(operator: Cluster, home: str, what: str) -> None:
    before = operator.get(what, namespace=home)
    assert before
    operator.kubectl("delete", what, "--wait=true", namespace=home)
    wait_for(lambda: operator.get(what, namespace=home), what=f"{what} again", seconds=60)
    after = operator.get(what, namespace=home)
    assert after
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    until_ready(operator, home)


def test_what_somebody_changes_is_put_back_and_said(operator: Cluster, home: str) -> None:
    def image() -> str:
        found: Any = operator.get("deployment/marketing-reporter", namespace=home)
        return found["spec"]["template"]["spec"]["containers"][0]["image"]

    right = image()
    operator.kubectl("set", "image", "deployment/marketing-reporter", "*=nowhere:0", namespace=home)
    wait_for(lambda: image() == right, what="the image is the right one again", seconds=60)
    wait_for(
        lambda: any("marketing-reporter" in message for message in events_of(operator, home)),
        what="an Event that says so",
        seconds=30,
    )
    until_ready(operator, home)


async def test_events_survive_the_mending(operator: Cluster, home: str) -> None:
    """The NATS that was deleted and the pods that came anew have the same data and the same passwords."""
    reporter = service_url(operator, home, "marketing-reporter")
    async with httpx2.AsyncClient(base_url=reporter, timeout=30.0, trust_env=False) as client:
        report = (await client.get("/reports/events")).json()
        assert report["total"] > 10_000
        gateway = service_url(operator, home, "marketing-gateway")
        before = await Observer(client).observe()
        ledger = await publish(gateway, Options(batches=3, batch=(100, 200), seed=8, rate=5.0))
        after = await Observer(client).observe_stored(ledger, before, quiet=60.0)
    assert judge(ledger, before, after).ok


def test_a_mistake_is_refused_by_name_and_touches_nothing(operator: Cluster, home: str) -> None:
    before = operator.get(PIPELINE, namespace=home)
    assert before
    patch = '{"spec":{"gateway":{"autoscaling":{"minReplicas":5,"maxReplicas":2}}}}'
    with pytest.raises(Exception, match="minReplicas"):
        operator.kubectl("patch", PIPELINE, "--type=merge", "--patch", patch, namespace=home)
    assert operator.get(PIPELINE, namespace=home)["metadata"]["generation"] == before["metadata"]["generation"]


def test_paused_leaves_everything_as_it_is(operator: Cluster, home: str) -> None:
    def budgets() -> list[Object]:
        return operator.get_all("poddisruptionbudgets", namespace=home)

    operator.kubectl("patch", PIPELINE, "--type=merge", "--patch", '{"spec":{"paused":true}}', namespace=home)
    wait_for(lambda: condition(operator, home, "Paused").get("status") == "True", what="the condition Paused")
    operator.kubectl("delete", "poddisruptionbudget", "--all", "--wait=true", namespace=home)
    assert not budgets()
    operator.kubectl("patch", PIPELINE, "--type=merge", "--patch", '{"spec":{"paused":false}}', namespace=home)
    wait_for(budgets, what="the disruption budgets again")
    wait_for(lambda: not condition(operator, home, "Paused"), what="no condition Paused any more")


def test_deleting_while_the_operator_is_gone_does_not_hang(operator: Cluster, home: str) -> None:
    operator.kubectl("scale", "deployment", "--all", "--replicas=0", namespace=SYSTEM)
    wait_for(lambda: not operator.get_all("pods", namespace=SYSTEM), what="no operator", seconds=60)
    started = time.monotonic()
    operator.kubectl("delete", PIPELINE, "--wait=true", "--timeout=20s", namespace=home)
    wait_for(lambda: not operator.get_all("pods", namespace=home), what="no pods of the pipeline", seconds=120)
    print(f"kubectl delete to no pods: {time.monotonic() - started:.1f} s")
    assert operator.get_all("persistentvolumeclaims", namespace=home), "deletionPolicy is Retain"
    operator.kubectl("scale", "deployment", "--all", "--replicas=1", namespace=SYSTEM)


async def test_a_pipeline_that_comes_back_finds_its_data_and_its_password(operator: Cluster, home: str) -> None:
    operator.apply(ROOT / "manifests" / "minimal.yaml", namespace=home)
    until_ready(operator, home)
    reporter = service_url(operator, home, "marketing-reporter")
    async with httpx2.AsyncClient(base_url=reporter, timeout=30.0, trust_env=False) as client:
        async with asyncio.timeout(60):
            while (await client.get("/reports/events")).json()["total"] <= 10_000:
                await asyncio.sleep(0.5)
