"""The story of a pipeline on a cluster: from nothing to Ready, through load, mending, change and removal.

The tests of this file run in order on one pipeline in one namespace; each goes on from what the one before left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from pipelines import ROOT, SYSTEM, Pipeline

from cluster.access import Cluster, Object, wait_for
from eventpipeline.publisher import Observer, Options, judge, publish


@pytest.fixture(scope="module")
def pipeline(operator: Cluster) -> Iterator[Pipeline]:
    """The pipeline of minimal.yaml, in a namespace that enforces the restricted Pod Security Standard."""
    with operator.namespace("story", {"pod-security.kubernetes.io/enforce": "restricted"}) as name:
        yield Pipeline(operator, name)


def test_from_nothing_to_ready(pipeline: Pipeline) -> None:
    pipeline.cluster.apply(ROOT / "manifests" / "minimal.yaml", namespace=pipeline.namespace)
    seconds = pipeline.until_ready()
    print(f"kubectl apply to Ready: {seconds:.1f} s")
    shown = pipeline.cluster.kubectl("get", "evp", namespace=pipeline.namespace)
    assert shown.split()[:6] == ["NAME", "READY", "GATEWAY", "LAG", "DEAD", "AGE"]
    found = pipeline.get()
    assert found
    assert not found["metadata"].get("finalizers"), "kubectl delete must not hang when the operator is gone"
    kinds = {item["type"] for item in found["status"]["conditions"]}
    assert kinds >= {"Ready", "StreamReady", "StoreReady", "GatewayReady", "CollectorsReady", "ReporterReady"}


async def test_the_load_through_the_service_is_counted_exactly_once(pipeline: Pipeline) -> None:
    gateway = pipeline.url("gateway")
    async with pipeline.reporter() as client:
        observer = Observer(client)
        before = await observer.observe()
        ledger = await publish(gateway, Options(seconds=20, rate=3, batch=(500, 10_000), seed=7, corrupt=0.3))
        after = await observer.observe_stored(ledger, before, quiet=60.0)
    verdict = judge(ledger, before, after)
    print(verdict.summary)
    assert verdict.ok, verdict.differences
    assert ledger.totals().accepted > 10_000


@pytest.mark.parametrize(
    "what", ["deployment/marketing-gateway", "service/marketing-gateway", "statefulset/marketing-nats"]
)
def test_what_somebody_deletes_is_put_back(pipeline: Pipeline, what: str) -> None:
    before = pipeline.cluster.get(what, namespace=pipeline.namespace)
    assert before
    pipeline.cluster.kubectl("delete", what, "--wait=true", namespace=pipeline.namespace)
    wait_for(lambda: pipeline.cluster.get(what, namespace=pipeline.namespace), what=f"{what} again", seconds=60)
    after = pipeline.cluster.get(what, namespace=pipeline.namespace)
    assert after
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    pipeline.until_ready()


def test_what_somebody_changes_is_put_back_and_said(pipeline: Pipeline) -> None:
    def image() -> str:
        found: Any = pipeline.cluster.get("deployment/marketing-reporter", namespace=pipeline.namespace)
        return found["spec"]["template"]["spec"]["containers"][0]["image"]

    right = image()
    pipeline.cluster.kubectl(
        "set", "image", "deployment/marketing-reporter", "*=nowhere:0", namespace=pipeline.namespace
    )
    wait_for(lambda: image() == right, what="the image is the right one again", seconds=60)
    wait_for(
        lambda: any("marketing-reporter" in message for message in pipeline.events()),
        what="an Event that says so",
        seconds=30,
    )
    pipeline.until_ready()


async def test_events_survive_the_mending(pipeline: Pipeline) -> None:
    """The NATS that was deleted and the pods that came anew have the same data and the same passwords."""
    gateway = pipeline.url("gateway")
    async with pipeline.reporter() as client:
        report = (await client.get("/reports/events")).json()
        assert report["total"] > 10_000
        before = await Observer(client).observe()
        ledger = await publish(gateway, Options(batches=3, batch=(100, 200), seed=8, rate=5.0))
        after = await Observer(client).observe_stored(ledger, before, quiet=60.0)
    assert judge(ledger, before, after).ok


def test_a_mistake_is_refused_by_name_and_touches_nothing(pipeline: Pipeline) -> None:
    before = pipeline.get()
    assert before
    patch = '{"spec":{"gateway":{"autoscaling":{"minReplicas":5,"maxReplicas":2}}}}'
    with pytest.raises(Exception, match="minReplicas"):
        pipeline.patch(patch)
    after = pipeline.get()
    assert after
    assert after["metadata"]["generation"] == before["metadata"]["generation"]


def test_paused_leaves_everything_as_it_is(pipeline: Pipeline) -> None:
    def budgets() -> list[Object]:
        return pipeline.cluster.get_all("poddisruptionbudgets", namespace=pipeline.namespace)

    pipeline.patch('{"spec":{"paused":true}}')
    wait_for(lambda: pipeline.condition("Paused").get("status") == "True", what="the condition Paused")
    pipeline.cluster.kubectl("delete", "poddisruptionbudget", "--all", "--wait=true", namespace=pipeline.namespace)
    assert not budgets()
    pipeline.patch('{"spec":{"paused":false}}')
    wait_for(budgets, what="the disruption budgets again")
    wait_for(lambda: not pipeline.condition("Paused"), what="no condition Paused any more")


def test_deleting_while_the_operator_is_gone_does_not_hang(pipeline: Pipeline) -> None:
    pipeline.cluster.kubectl("scale", "deployment", "--all", "--replicas=0", namespace=SYSTEM)
    wait_for(lambda: not pipeline.cluster.get_all("pods", namespace=SYSTEM), what="no operator", seconds=60)
    started = time.monotonic()
    pipeline.cluster.kubectl("delete", pipeline.resource, "--wait=true", "--timeout=20s", namespace=pipeline.namespace)
    wait_for(
        lambda: not pipeline.cluster.get_all("pods", namespace=pipeline.namespace),
        what="no pods of the pipeline",
        seconds=120,
    )
    print(f"kubectl delete to no pods: {time.monotonic() - started:.1f} s")
    assert pipeline.cluster.get_all("persistentvolumeclaims", namespace=pipeline.namespace), "deletionPolicy is Retain"
    pipeline.cluster.kubectl("scale", "deployment", "--all", "--replicas=1", namespace=SYSTEM)


async def test_a_pipeline_that_comes_back_finds_its_data_and_its_password(pipeline: Pipeline) -> None:
    pipeline.cluster.apply(ROOT / "manifests" / "minimal.yaml", namespace=pipeline.namespace)
    pipeline.until_ready()
    async with pipeline.reporter() as client:
        async with asyncio.timeout(60):
            while (await client.get("/reports/events")).json()["total"] <= 10_000:
                await asyncio.sleep(0.5)
