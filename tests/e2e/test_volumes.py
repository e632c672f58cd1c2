"""Volumes and passwords: what grows, and what goes with the resource and what stays.

The tests of this file run in order on one pipeline; the last one deletes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pipelines import Pipeline

from cluster.access import Cluster, Object, wait_for
from eventpipeline.publisher import Observer, Options, judge, publish
from eventpipeline_operator.status import PARTS

GROWING = "growing"
"""A StorageClass that says it can grow volumes. Nothing here does it, as where a driver is slow or stuck."""
NATS_CLAIM, STORE_CLAIM = "data-marketing-nats-0", "data-marketing-postgres-0"


@pytest.fixture(scope="module")
def growing(operator: Cluster) -> Iterator[str]:
    (default,) = (item for item in operator.get_all("storageclasses") if _is_default(item))
    kept = {key: default[key] for key in ("apiVersion", "kind", "provisioner", "volumeBindingMode", "reclaimPolicy")}
    operator.apply(kept | {"metadata": {"name": GROWING}, "allowVolumeExpansion": True})
    yield GROWING
    operator.kubectl("delete", "storageclass", GROWING)


def _is_default(item: Object) -> bool:
    return item["metadata"].get("annotations", {}).get("storageclass.kubernetes.io/is-default-class") == "true"


@pytest.fixture(scope="module")
def namespace_before(operator: Cluster) -> Iterator[tuple[str, set[str]]]:
    with operator.namespace("volumes") as namespace:
        wait_for(lambda: operator.get("configmap/kube-root-ca.crt", namespace=namespace), what="the namespace is made")
        yield namespace, everything(operator, namespace)


@pytest.fixture(scope="module")
def pipeline(operator: Cluster, growing: str, namespace_before: tuple[str, set[str]]) -> Iterator[Pipeline]:
    found = Pipeline(operator, namespace_before[0])
    found.create(
        {
            "stream": {"nats": {"storage": "1Gi", "storageClassName": growing}},
            "store": {"postgres": {"storage": "1Gi"}},
        }
    )
    found.until_ready()
    yield found
    operator.kubectl("delete", found.resource, "--ignore-not-found", namespace=found.namespace)


def everything(cluster: Cluster, namespace: str) -> set[str]:
    """KIND/NAME of all that is in a namespace, of every kind that can be listed; the record of events aside."""
    kinds = cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name").split()
    recorded = {"events", "events.events.k8s.io", "pods.metrics.k8s.io"}
    listed = ",".join(kind for kind in kinds if kind not in recorded)
    return set(cluster.kubectl("get", listed, "--output=name", "--ignore-not-found", namespace=namespace).split())


async def test_a_volume_that_can_grow_is_asked_to_and_one_that_cannot_is_said(pipeline: Pipeline) -> None:
    limits = _limits(pipeline)
    pipeline.patch('{"spec":{"stream":{"nats":{"storage":"2Gi"}},"store":{"postgres":{"storage":"3Gi"}}}}')
    wait_for(lambda: _requested(pipeline, NATS_CLAIM) == "2Gi", what="the claim of NATS asks for 2Gi")
    wait_for(lambda: pipeline.condition()["reason"] == "VolumeCannotGrow", what=lambda: str(pipeline.condition()))
    message = pipeline.condition()["message"]
    for word in (STORE_CLAIM, "3Gi", "StorageClass", "allowVolumeExpansion"):
        assert word in message
    assert _requested(pipeline, STORE_CLAIM) == "1Gi"
    assert any("2Gi" in event and NATS_CLAIM in event for event in pipeline.events())
    growing = pipeline.condition("VolumesGrowing")["message"]
    assert f"{NATS_CLAIM} has 1Gi" in growing
    assert f"{STORE_CLAIM} has 1Gi" in growing
    # A volume that has not grown yet must not be promised to JetStream, which would run into its end.
    assert _limits(pipeline) == limits


async def test_the_rest_of_the_pipeline_goes_on(pipeline: Pipeline) -> None:
    pipeline.patch('{"spec":{"gateway":{"maxBodyBytes":1048576}}}')
    wait_for(lambda: _environment(pipeline)["MAX_BODY_BYTES"] == "1048576", what="a change of another part")
    async with pipeline.reporter() as client:
        before = await Observer(client).observe()
        ledger = await publish(pipeline.url("gateway"), Options(batches=3, batch=(100, 200), seed=9, rate=5.0))
        after = await Observer(client).observe_stored(ledger, before, quiet=60.0)
    assert judge(ledger, before, after).ok
    wait_for(
        lambda: all(pipeline.condition(kind)["status"] == "True" for kind in PARTS), what="every part works", seconds=60
    )


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_the_policy_of_a_running_pipeline_changes_volumes_and_secret(pipeline: Pipeline, policy: str) -> None:
    _change_policy(pipeline, policy)


def _change_policy(pipeline: Pipeline, policy: str) -> None:
    pipeline.patch(f'{{"spec":{{"deletionPolicy":"{policy}"}}}}')
    wait_for(lambda: _policies(pipeline) == {policy}, what=lambda: f"{policy}; it is {_policies(pipeline)}")
    wait_for(lambda: _owned(pipeline) == (policy == "Delete"), what=f"owner of the secret under {policy}")


def test_under_delete_nothing_is_left(pipeline: Pipeline, namespace_before: tuple[str, set[str]]) -> None:
    namespace, before = namespace_before
    _change_policy(pipeline, "Delete")
    assert _volumes(pipeline)
    assert everything(pipeline.cluster, namespace) > before
    pipeline.cluster.kubectl("delete", pipeline.resource, "--wait=true", "--timeout=20s", namespace=namespace)

    def left() -> set[str]:
        return everything(pipeline.cluster, namespace) - before

    wait_for(lambda: not left(), what=lambda: f"nothing; there is {left()}", seconds=120)
    wait_for(lambda: not _volumes(pipeline), what=lambda: f"no volumes; there are {_volumes(pipeline)}")


def test_under_delete_from_the_start_a_change_to_retain_keeps_the_secret(operator: Cluster, namespace: str) -> None:
    pipeline = Pipeline(operator, namespace)
    pipeline.create({"deletionPolicy": "Delete"})
    wait_for(lambda: _owned(pipeline), what="a secret with an owner")
    pipeline.patch('{"spec":{"deletionPolicy":"Retain"}}')
    wait_for(lambda: not _owned(pipeline), what="a secret without an owner")
    pipeline.cluster.kubectl("delete", pipeline.resource, "--wait=true", "--timeout=20s", namespace=namespace)
    wait_for(lambda: not operator.get_all("statefulsets", namespace=namespace), what="no servers")
    assert operator.get("secret/marketing-auth", namespace=namespace)


def _requested(pipeline: Pipeline, claim: str) -> str:
    found: Any = pipeline.cluster.get(f"pvc/{claim}", namespace=pipeline.namespace)
    return str(found["spec"]["resources"]["requests"]["storage"])


def _environment(pipeline: Pipeline) -> dict[str, str]:
    found: Any = pipeline.cluster.get("deployment/marketing-gateway", namespace=pipeline.namespace)
    return {item["name"]: item.get("value", "") for item in found["spec"]["template"]["spec"]["containers"][0]["env"]}


def _limits(pipeline: Pipeline) -> tuple[str, str]:
    """The byte limits of JetStream and of one stream."""
    config: Any = pipeline.cluster.get("configmap/marketing-nats", namespace=pipeline.namespace)
    (line,) = (line for line in config["data"]["nats-server.conf"].splitlines() if "max_file" in line)
    return line.split()[1], _environment(pipeline)["STREAM_BYTES"]


def _policies(pipeline: Pipeline) -> set[str]:
    """What becomes of the volumes, of every StatefulSet."""
    sets = pipeline.cluster.get_all("statefulsets", namespace=pipeline.namespace)
    assert len(sets) == 2
    return {item["spec"]["persistentVolumeClaimRetentionPolicy"]["whenDeleted"] for item in sets}


def _owned(pipeline: Pipeline) -> bool:
    """Whether the secret goes with the resource."""
    found: Any = pipeline.cluster.get("secret/marketing-auth", namespace=pipeline.namespace)
    return bool(found["metadata"].get("ownerReferences"))


def _volumes(pipeline: Pipeline) -> list[str]:
    return [
        item["metadata"]["name"]
        for item in pipeline.cluster.get_all("persistentvolumes")
        if item["spec"].get("claimRef", {}).get("namespace") == pipeline.namespace
    ]
