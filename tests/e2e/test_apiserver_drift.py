"""Every object that a pipeline owns is deleted by hand, and every managed field of each is edited by hand.

Against a real API server with the real chart and everything switched on. What owns what, and which fields are managed,
is read from the API server, so that what the chart renders tomorrow is covered too.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from apiserver import api_server, install_crd, install_monitoring
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import Conflict, OperatorError
from eventpipeline_operator.look import Looking
from eventpipeline_operator.metrics import OperatorMetrics
from eventpipeline_operator.objects import (
    EVENT,
    HASH_ANNOTATION,
    MANAGER,
    PIPELINE,
    PIPELINE_LABEL,
    RENDERED_KINDS,
    Key,
    Object,
)
from eventpipeline_operator.probe import Probe
from eventpipeline_operator.reconcile import Reconciler
from eventpipeline_operator.render import ChartRenderer
from eventpipeline_operator.settings import OperatorSettings
from eventpipeline_operator.streams import Streams
from eventpipeline_operator.triggers import Target
from managed_fields import Leaf, edits, leaves
from operator_process import operator_process

EVERYTHING: Object = {
    "gateway": {
        "ingress": {"host": "events.example.com", "className": "nginx", "tlsSecretName": "events-tls"},
        "autoscaling": {
            "minReplicas": 2, "maxReplicas": 20,
            "behavior": {
                "scaleUp": {"selectPolicy": "Min", "policies": [{"type": "Pods", "value": 3, "periodSeconds": 20}]},
                "scaleDown": {"stabilizationWindowSeconds": 0},
            },
        },
        "resources": {"requests": {"cpu": "1500m", "memory": "1Gi"}, "limits": {"cpu": "4"}},
    },
    "collector": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
    "reporter": {"ingress": {"host": "reports.example.com"}},
    "stream": {"nats": {"replicas": 3, "storageClassName": "fast"}},
    "store": {"postgres": {"storageClassName": "fast"}, "retentionDays": 90},
    "monitoring": {"serviceMonitor": True, "dashboards": True, "alerts": True},
}  # fmt: skip


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    async def prepare(path: Path) -> None:
        cluster = Cluster.from_kubeconfig(path)
        await install_crd(cluster)
        await install_monitoring(cluster)

    with api_server(tmp_path_factory.mktemp("apiserver")) as found:
        asyncio.run(prepare(found))
        yield found


@dataclass
class World:
    """A namespace with the pipeline `marketing`, and a person with kubectl."""

    cluster: Cluster
    namespace: str

    async def owned(self) -> dict[Key, Object]:
        labels = {PIPELINE_LABEL: "marketing"}
        listings = [await self.cluster.list_all(kind, self.namespace, labels=labels) for kind in RENDERED_KINDS]
        return {key: item for listing in listings for key, item in listing.items()}

    async def new_events(self, reason: str) -> list[str]:
        """The messages of the Events since the last look, which then are removed: reading thousands takes long."""
        found = await self.cluster.list_all(EVENT, self.namespace)
        await asyncio.gather(*(self.cluster.delete(item) for item in found.values()))
        return [item["message"] for item in found.values() if item["reason"] == reason]

    async def by_hand(self, key: Key, *operations: Object) -> Object:
        """A JSON patch, as another manager than the operator."""
        path = await self.cluster._path(key.kind, key.namespace, key.name)
        query = {"fieldManager": "kubectl-edit"}
        return await self.cluster._call("PATCH", path, query, list(operations), "application/json-patch+json")


@pytest.fixture
async def world(kubeconfig: Path, request: pytest.FixtureRequest) -> World:
    cluster = Cluster.from_kubeconfig(kubeconfig)
    namespace = request.node.name.removeprefix("test_").replace("_", "-")[:50]
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    about = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind}
    await cluster.apply({**about, "metadata": {"name": "marketing", "namespace": namespace}, "spec": EVERYTHING})
    return World(cluster, namespace)


# --- deleted ---------------------------------------------------------------------------------------------------------


async def test_every_object_that_somebody_deletes_is_made_again(world: World, kubeconfig: Path, tmp_path: Path) -> None:
    environ = {"WATCH_NAMESPACES": world.namespace, "RESYNC_SECONDS": "1"}
    with operator_process(kubeconfig, tmp_path / "operator.log", **environ) as operator:

        async def at_rest() -> bool:
            body = await world.cluster.get(Key(PIPELINE, world.namespace, "marketing"))
            return bool(body and body.get("status", {}).get("observedGeneration"))

        await operator.until(at_rest, "a first pass")
        objects = await world.owned()
        assert {key.kind for key in objects} == set(RENDERED_KINDS), "the pipeline has an object of each kind"
        for key, item in objects.items():
            await world.cluster.delete(item)

            async def is_back(key: Key = key, uid: str = item["metadata"]["uid"]) -> bool:
                found = await world.cluster.get(key)
                return found is not None and found["metadata"]["uid"] != uid

            await operator.until(is_back, f"{key} again", seconds=10)

            async def is_said(key: Key = key) -> bool:
                return any(str(key) in message for message in await world.new_events("Created"))

            await operator.until(is_said, f"an Event about {key}", seconds=10)
        assert (await world.owned()).keys() == objects.keys()
    print(f"{len(objects)} objects deleted and made again")


# --- edited ----------------------------------------------------------------------------------------------------------


@dataclass
class Operator:
    """Passes that the test calls for, with the real chart."""

    world: World
    kubeconfig: Path
    streams: Streams = field(default_factory=Streams)
    probe: Probe = field(default_factory=Probe)

    async def one_pass(self) -> None:
        cluster = self.world.cluster
        body = await cluster.get(Key(PIPELINE, self.world.namespace, "marketing"))
        assert body
        reconciler = Reconciler(
            cluster,
            ChartRenderer(OperatorSettings.read({"HELM": os.environ["EVENTPIPELINE_HELM"]})),
            Looking(cluster, self.streams, self.probe),
            OperatorMetrics(CollectorRegistry()),
        )
        result = await reconciler(Target(self.world.namespace, "marketing", body["metadata"]["uid"]))
        assert not result.failed


@pytest.fixture
async def operator(world: World, kubeconfig: Path) -> AsyncIterator[Operator]:
    found = Operator(world, kubeconfig)
    await found.one_pass()
    await world.new_events("Created")
    yield found
    await found.streams.close_all()
    await found.probe.close()


@dataclass
class Tally:
    """What became of the edits. `refused`: those that the API server did not take, each with the reason."""

    put_back: int = 0
    renamed: int = 0
    """Of these: the item of a list was made another one; that stays, as somebody's addition."""
    refused: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        kinds = Counter(reason for reason in self.refused.values())
        lines = [f"{self.put_back} edits put back and reported, {self.renamed} of them of a name"]
        lines.append(f"{len(self.refused)} edits that the API server did not take:")
        lines += [f"  {count:4} {reason}" for reason, count in kinds.most_common()]
        return "\n".join(lines)


async def test_every_managed_field_that_somebody_edits_is_put_back_and_reported(
    world: World, operator: Operator
) -> None:
    """In each round one field of every object is edited, then one pass is made."""
    for key in await world.owned():
        note = {"op": "add", "path": "/metadata/annotations/example.com~1note", "value": "theirs"}
        await world.by_hand(key, note)
    await operator.one_pass()
    assert await world.new_events("DriftPutBack") == [], "what others add is theirs"

    objects, tally = await world.owned(), Tally()
    waiting = {key: leaves(item, MANAGER) for key, item in objects.items()}
    total = sum(map(len, waiting.values()))
    while any(waiting.values()):
        todo = {key: left.pop() for key, left in waiting.items() if left}
        values = await asyncio.gather(*(_edit(world, key, objects[key], leaf, tally) for key, leaf in todo.items()))
        edited = {
            key: (leaf, value) for (key, leaf), value in zip(todo.items(), values, strict=True) if value is not None
        }
        await operator.one_pass()
        now, said = await world.owned(), await world.new_events("DriftPutBack")
        for key, (leaf, value) in edited.items():
            where = f"{key}{leaf.pointer}: {leaf.value!r} to {value!r}"
            assert key in now, f"{where}: the object is no longer found"
            if leaf.is_key:
                await _tidy(world, key, leaf, now[key], objects[key], where)
                tally.renamed += 1
            else:
                assert _content(now[key]) == _content(objects[key]), where
            about = [message for message in said if f" of {key}," in message]
            # Our own mark tells a new rendering from an edit; edited itself, it is put back as a change of ours.
            assert len(about) == (leaf.steps[-1] != HASH_ANNOTATION), f"{where}: {about}"
            tally.put_back += 1
    print(f"{len(objects)} objects with {total} managed fields: {tally}")
    assert tally.put_back + len(tally.refused) == total
    assert tally.put_back > total * 0.8


async def _edit(world: World, key: Key, before: Object, leaf: Leaf, tally: Tally) -> Any:
    """Edits the field; returns the value it has now, or None where it has not changed."""
    reason = ""
    for value in edits(leaf):
        try:
            after = await world.by_hand(key, {"op": "replace", "path": leaf.pointer, "value": value})
        except Conflict:
            raise
        except OperatorError as error:
            reason = _reason(str(error))
            continue
        if _content(after) != _content(before):
            return value
        reason = "taken, and without effect"
    tally.refused[f"{key}{leaf.pointer}"] = reason
    return None


async def _tidy(world: World, key: Key, leaf: Leaf, now: Object, before: Object, where: str) -> None:
    """The item that was renamed is there again, and perhaps the renamed one beside it, which is taken away by hand."""
    place = leaf.steps[:-2]
    items, wanted = _at(now, place), _at(before, place)
    assert all(item in items for item in wanted), where
    if items != wanted:
        pointer = Leaf(place, None).pointer
        now = await world.by_hand(key, {"op": "replace", "path": pointer, "value": wanted})
    assert _content(now) == _content(before), where


def _at(item: Any, steps: tuple[Any, ...]) -> Any:
    for step in steps:
        item = item[step]
    return item


def _reason(message: str) -> str:
    """The kind of a refusal, without the names in it."""
    for known in (
        "immutable",
        "forbidden",
        "Forbidden",
        "Unsupported value",
        "must match",
        "Invalid value",
        "does not match",
    ):
        if known in message:
            return known
    return message[:80]


def _content(item: Object) -> Object:
    """Without the record of who wrote what when."""
    metadata = {
        name: value
        for name, value in item["metadata"].items()
        if name not in ("managedFields", "resourceVersion", "generation")
    }
    return {**item, "metadata": metadata}
