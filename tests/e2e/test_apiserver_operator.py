"""Passes of the operator against a real API server, without a kubelet: what it makes, puts back and leaves alone."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.errors import NotFoundError
from prometheus_client import CollectorRegistry

from apiserver import api_server, install_crd
from eventpipeline_operator import auth, look
from eventpipeline_operator.auth import LATER_KEYS, nats_logins
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.look import Looking
from eventpipeline_operator.metrics import OperatorMetrics
from eventpipeline_operator.objects import (
    CLAIM,
    CRON_JOB,
    DEPLOYMENT,
    EVENT,
    MANAGER,
    PIPELINE,
    PIPELINE_LABEL,
    POD,
    RENDERED_KINDS,
    SECRET,
    SOURCE_LABEL,
    STATEFUL_SET,
    Key,
    Kind,
    Object,
)
from eventpipeline_operator.probe import Probe
from eventpipeline_operator.reconcile import Reconciler
from eventpipeline_operator.reload import Passwords, teach
from eventpipeline_operator.secret import ROTATE_DATABASE, ROTATE_NATS
from eventpipeline_operator.streams import Streams
from eventpipeline_operator.triggers import Result, Target
from operator_rendering import TinyRenderer, stateful_set
from servers import nats_of_a_cluster, nats_server
from tls_servers import Authority, files

SERVICE = Kind("v1", "Service")
EXTERNAL_STORE: dict[str, Any] = {"store": {"external": {"urlSecretRef": {"name": "database"}}}}
EXTERNAL_NATS: dict[str, Any] = {
    "stream": {"external": {"url": "nats://n:4222", "credentialsSecretRef": {"name": "database"}}}
}


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("apiserver")) as found:
        asyncio.run(install_crd(Cluster.from_kubeconfig(found)))
        yield found


@dataclass
class World:
    """One namespace of the API server with one pipeline, and an operator whose passes the test calls."""

    cluster: Cluster
    namespace: str
    renderer: TinyRenderer = field(default_factory=TinyRenderer)
    streams: Streams = field(default_factory=Streams)
    probe: Probe = field(default_factory=Probe)

    async def write(self, spec: dict[str, Any]) -> Object:
        return await self.cluster.apply(
            {
                "apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind,
                "metadata": {"name": "marketing", "namespace": self.namespace}, "spec": spec,
            }
        )  # fmt: skip

    async def reconcile(self) -> Result:
        metadata = (await self.pipeline())["metadata"]
        looking = Looking(self.cluster, self.streams, self.probe)
        reconciler = Reconciler(self.cluster, self.renderer, looking, OperatorMetrics(CollectorRegistry()))
        return await reconciler(Target(self.namespace, "marketing", metadata["uid"]))

    async def pipeline(self) -> Object:
        return await self.read(PIPELINE, "marketing")

    async def read(self, kind: Kind, name: str) -> Object:
        found = await self.cluster.get(Key(kind, self.namespace, name))
        assert found, f"there is no {kind.kind} {name}"
        return found

    async def absent(self, kind: Kind, name: str) -> bool:
        return await self.cluster.get(Key(kind, self.namespace, name)) is None

    async def versions(self) -> dict[Key, str]:
        """The resourceVersion of everything there is, Events included."""
        listings = [
            await self.cluster.list_all(kind, self.namespace) for kind in (*RENDERED_KINDS, SECRET, EVENT, PIPELINE)
        ]
        return {key: item["metadata"]["resourceVersion"] for listing in listings for key, item in listing.items()}

    async def condition(self, kind: str) -> dict[str, Any]:
        conditions = (await self.pipeline())["status"]["conditions"]
        return next((entry for entry in conditions if entry["type"] == kind), {})

    async def events(self, reason: str) -> list[str]:
        found = await self.cluster.list_all(EVENT, self.namespace)
        return [item["message"] for item in found.values() if item["reason"] == reason]

    async def merge(self, kind: Kind, name: str, change: Object) -> Object:
        """As somebody else would, with kubectl edit."""
        return await self.as_other("PATCH", kind, name, change)

    async def as_other(self, method: str, kind: Kind, name: str, change: Object, subresource: str = "") -> Object:
        path = await self.cluster._path(kind, self.namespace, name)
        query = {"fieldManager": "kubectl-edit"}
        return await self.cluster._call(method, path + subresource, query, change, "application/merge-patch+json")


@pytest.fixture
async def world(kubeconfig: Path, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    cluster = Cluster.from_kubeconfig(kubeconfig)
    namespace = f"t-{abs(hash(request.node.name)) % 10**8}"
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    found = World(cluster, namespace)
    yield found
    await found.streams.close_all()
    await found.probe.close()


def environ_of(deployment: Object) -> dict[str, str]:
    return {
        entry["name"]: entry.get("value", "")
        for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    }


# --- making ----------------------------------------------------------------------------------------------------------


async def test_a_first_pass_makes_everything_with_owner_and_labels(world: World) -> None:
    made = await world.write({})
    await world.reconcile()
    for kind, name in (
        (DEPLOYMENT, "gateway"),
        (DEPLOYMENT, "tiktok-collector"),
        (STATEFUL_SET, "nats"),
        (SERVICE, "gateway"),
    ):
        item = await world.read(kind, f"marketing-{name}")
        (owner,) = item["metadata"]["ownerReferences"]
        assert owner["uid"] == made["metadata"]["uid"]
        assert owner["controller"] is True
        assert item["metadata"]["labels"][PIPELINE_LABEL] == "marketing"
        assert not item["metadata"].get("finalizers")
    assert "Deployment marketing-gateway" in (await world.events("Created"))[0]
    assert (await world.condition("Ready"))["status"] == "False"
    assert (await world.condition("Open"))["reason"] == "NoAuthentication"


async def test_nothing_is_written_into_the_resource_but_its_status(world: World) -> None:
    before = await world.write({})
    await world.reconcile()
    after = await world.pipeline()
    assert "finalizers" not in after["metadata"]
    assert after["metadata"].get("annotations") == before["metadata"].get("annotations")
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert after["status"]["observedGeneration"] == before["metadata"]["generation"]


async def test_an_unchanged_pass_writes_nothing(world: World) -> None:
    await world.write({"gateway": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}}})
    await world.reconcile()
    before = await world.versions()
    for _ in range(3):
        await world.reconcile()
    assert await world.versions() == before


async def test_a_change_of_the_spec_is_applied_and_reported(world: World) -> None:
    await world.write({})
    await world.reconcile()
    await world.write({"gateway": {"maxBodyBytes": 4096}})
    await world.reconcile()
    assert environ_of(await world.read(DEPLOYMENT, "marketing-gateway"))["MAX_BODY_BYTES"] == "4096"
    assert await world.events("Updated") == ["changed Deployment marketing-gateway"]
    assert await world.events("DriftPutBack") == []


# --- drift -----------------------------------------------------------------------------------------------------------


def _first_container(change: Object) -> Object:
    return {"spec": {"template": {"spec": {"containers": [change]}}}}


@pytest.mark.parametrize(
    ("kind", "name", "change", "path"),
    [
        (DEPLOYMENT, "gateway", _first_container({"name": "main", "image": "evil:1"}), "containers[main].image"),
        (
            DEPLOYMENT,
            "gateway",
            _first_container({"name": "main", "image": "eventpipeline:1", "env": []}),
            "containers[main].env",
        ),
        (DEPLOYMENT, "gateway", {"metadata": {"labels": {PIPELINE_LABEL: None}}}, f"metadata.labels.{PIPELINE_LABEL}"),
        (DEPLOYMENT, "gateway", {"metadata": {"ownerReferences": None}}, "metadata.ownerReferences"),
        (DEPLOYMENT, "gateway", {"spec": {"replicas": 5}}, "spec.replicas"),
        (SERVICE, "gateway", {"spec": {"selector": {"app": "other"}}}, "spec.selector.app"),
        (SERVICE, "gateway", {"spec": {"ports": [{"name": "http", "port": 3000, "targetPort": 99}]}}, "targetPort"),
        (STATEFUL_SET, "nats", {"spec": {"replicas": 0}}, "spec.replicas"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_what_somebody_changed_is_put_back_and_reported(
    world: World, kind: Kind, name: str, change: Object, path: str
) -> None:
    await world.write({"gateway": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}}})
    await world.reconcile()
    wanted = (await world.read(kind, f"marketing-{name}"))["spec"]
    await world.merge(kind, f"marketing-{name}", change)
    await world.reconcile()
    item = await world.read(kind, f"marketing-{name}")
    assert item["spec"] == wanted
    assert item["metadata"]["labels"][PIPELINE_LABEL] == "marketing"
    assert item["metadata"]["ownerReferences"]
    (said,) = await world.events("DriftPutBack")
    assert path in said
    assert f"{kind.kind} marketing-{name}" in said
    before = await world.versions()
    await world.reconcile()
    assert await world.versions() == before


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"spec": {"ports": [{"name": "http", "port": 3001, "targetPort": "http"}]}}, "spec.ports["),
        ({"metadata": {"ownerReferences": None}}, "metadata.ownerReferences"),
    ],
    ids=["a port of the same name", "another owner"],
)
async def test_what_somebody_left_in_the_way_goes(world: World, change: Object, path: str) -> None:
    """A second port of one name, or a second controlling owner, would keep our own from being put back."""
    await world.write({})
    await world.reconcile()
    before = await world.read(SERVICE, "marketing-gateway")
    if change.get("metadata"):
        owner = before["metadata"]["ownerReferences"][0] | {"uid": "of-another", "name": "another"}
        change = {"metadata": {"ownerReferences": [owner]}}
    await world.merge(SERVICE, "marketing-gateway", change)
    await world.reconcile()
    after = await world.read(SERVICE, "marketing-gateway")
    assert after["spec"] == before["spec"]
    assert after["metadata"]["ownerReferences"] == before["metadata"]["ownerReferences"]
    (said,) = await world.events("DriftPutBack")
    assert path in said
    ours = [entry["operation"] for entry in after["metadata"]["managedFields"] if entry["manager"] == MANAGER]
    assert ours == ["Apply"], "so that what is no longer rendered goes with an apply"


async def test_what_others_added_is_left_alone(world: World) -> None:
    await world.write({})
    await world.reconcile()
    sidecar = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "marketing-gateway"}}
    addition = sidecar | {
        "metadata": {"name": "marketing-gateway", "annotations": {"example.com/note": "kept"}},
        "spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "sidecar:1"}]}}},
    }
    path = await world.cluster._path(DEPLOYMENT, world.namespace, "marketing-gateway")
    await world.cluster._call("PATCH", path, {"fieldManager": "mesh"}, addition, "application/apply-patch+yaml")
    before = await world.versions()
    await world.reconcile()
    assert await world.versions() == before
    names = [
        c["name"] for c in (await world.read(DEPLOYMENT, "marketing-gateway"))["spec"]["template"]["spec"]["containers"]
    ]
    assert sorted(names) == ["main", "sidecar"]


async def test_a_deleted_object_is_made_again(world: World) -> None:
    await world.write({})
    await world.reconcile()
    await world.cluster.delete(await world.read(SERVICE, "marketing-gateway"))
    await world.reconcile()
    await world.read(SERVICE, "marketing-gateway")


# --- pruning ---------------------------------------------------------------------------------------------------------


async def test_what_is_no_longer_rendered_is_pruned_and_nothing_else(world: World) -> None:
    await world.write({})
    await world.reconcile()
    labels = {PIPELINE_LABEL: "marketing"}
    for kind, extra in (
        (Kind("v1", "ConfigMap"), {}),
        (SECRET, {}),
        (CLAIM, {"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
    ):
        await world.cluster.create(
            {
                "apiVersion": "v1",
                "kind": kind.kind,
                "metadata": {"name": "theirs", "namespace": world.namespace, "labels": labels},
            }
            | extra
        )
    world.renderer.change = lambda objects: [item for item in objects if item["kind"] != "Service"]
    await world.reconcile()
    assert await world.absent(SERVICE, "marketing-gateway")
    for kind in (Kind("v1", "ConfigMap"), SECRET, CLAIM):
        await world.read(kind, "theirs")
    assert await world.events("Pruned") == ["deleted Service marketing-gateway"]


async def test_an_object_of_somebody_else_is_not_taken_over(world: World) -> None:
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "marketing-gateway", "namespace": world.namespace},
    }
    await world.cluster.create(theirs | {"spec": {"ports": [{"port": 1}]}})
    await world.write({})
    await world.reconcile()
    ready = await world.condition("Ready")
    assert ready["reason"] == "NameTaken"
    assert "Service marketing-gateway" in ready["message"]
    assert (await world.read(SERVICE, "marketing-gateway"))["spec"]["ports"][0]["port"] == 1
    await world.read(DEPLOYMENT, "marketing-gateway")  # the others are made all the same


# --- switches --------------------------------------------------------------------------------------------------------


async def test_an_added_autoscaler_finds_the_live_count_and_then_holds_it(world: World) -> None:
    await world.write({"gateway": {"autoscaling": {"minReplicas": 3, "maxReplicas": 3}}})
    await world.reconcile()
    await world.write({"gateway": {"autoscaling": {"minReplicas": 1, "maxReplicas": 10}}})
    await world.reconcile()
    assert (await world.read(DEPLOYMENT, "marketing-gateway"))["spec"]["replicas"] == 3
    before = await world.versions()
    await world.reconcile()
    assert await world.versions() == before
    await world.as_other("PATCH", DEPLOYMENT, "marketing-gateway", {"spec": {"replicas": 5}}, "/scale")
    await world.reconcile()
    item = await world.read(DEPLOYMENT, "marketing-gateway")
    assert item["spec"]["replicas"] == 5
    holders = {
        e["manager"] for e in item["metadata"]["managedFields"] if "f:replicas" in e["fieldsV1"].get("f:spec", {})
    }
    assert holders == {"kubectl-edit"}
    await world.write({"gateway": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}}})
    await world.reconcile()
    assert (await world.read(DEPLOYMENT, "marketing-gateway"))["spec"]["replicas"] == 2


async def test_growing_storage_patches_the_claims_and_not_the_templates(world: World) -> None:
    await world.cluster.create(
        {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "growing"},
         "provisioner": "example.com/none", "allowVolumeExpansion": True}
    )  # fmt: skip
    await world.write({"stream": {"nats": {"storage": "10Gi"}}})
    await world.reconcile()
    claim = {
        "apiVersion": "v1", "kind": "PersistentVolumeClaim",
        "metadata": {"name": "data-marketing-nats-0", "namespace": world.namespace,
                     "labels": {PIPELINE_LABEL: "marketing"}},
        "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "growing", "volumeName": "v",
                 "resources": {"requests": {"storage": "10Gi"}}},
    }  # fmt: skip
    await world.cluster.create(claim)
    await world.cluster.patch_status(
        Key(CLAIM, world.namespace, "data-marketing-nats-0"), {"phase": "Bound", "capacity": {"storage": "10Gi"}}
    )
    await world.write({"stream": {"nats": {"storage": "20Gi"}}})
    await world.reconcile()
    grown = await world.read(CLAIM, "data-marketing-nats-0")
    assert grown["spec"]["resources"]["requests"]["storage"] == "20Gi"
    templates = (await world.read(STATEFUL_SET, "marketing-nats"))["spec"]["volumeClaimTemplates"]
    assert templates[0]["spec"]["resources"]["requests"]["storage"] == "10Gi"
    assert await world.events("VolumeGrown")
    before = await world.versions()
    await world.reconcile()
    assert await world.versions() == before


async def test_a_removed_source_drains_first(world: World) -> None:
    await world.write({})
    await world.reconcile()
    await world.write({"sources": [{"name": "facebook"}]})
    await world.reconcile()
    await world.reconcile()
    await world.read(DEPLOYMENT, "marketing-tiktok-collector")
    assert environ_of(await world.read(DEPLOYMENT, "marketing-gateway"))["SOURCES"] == "facebook"
    states = {entry["name"]: entry["state"] for entry in (await world.pipeline())["status"]["sources"]}
    assert states == {"facebook": "Active", "tiktok": "Draining"}


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def rolled_out(world: World, *names: str, kind: Kind = DEPLOYMENT) -> None:
    """As the controllers would say it, which do not run here."""
    for name in names:
        metadata = (await world.read(kind, f"marketing-{name}"))["metadata"]
        counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": 1}
        await world.cluster.patch_status(
            Key(kind, world.namespace, f"marketing-{name}"), {"observedGeneration": metadata["generation"], **counts}
        )


async def test_a_drained_source_goes_and_its_stream_after_the_last_pod(world: World, tmp_path: Path) -> None:
    with nats_server(tmp_path, max_file_bytes=8 * 2**30) as url:
        external = {"stream": {"external": {"url": url}}}
        stream = f"{world.namespace}_marketing_EVENTS_tiktok"
        await world.write(external)
        await world.reconcile()
        async with jetstream(url) as context:
            await context.publish(f"{world.namespace}_marketing_events.tiktok", b"[]")
            await world.write({"sources": [{"name": "facebook"}], **external})
            await world.reconcile()
            await rolled_out(world, "gateway")
            await world.reconcile()
            await world.read(DEPLOYMENT, "marketing-tiktok-collector")  # something is pending

            (message,) = await (await context.pull_subscribe_bind("collector", stream)).fetch(1)
            await message.ack_sync()
            container = {"name": "main", "image": "eventpipeline:1"}
            await world.cluster.create(
                {"apiVersion": "v1", "kind": "Pod", "spec": {"containers": [container]},
                 "metadata": {"name": "leaving", "namespace": world.namespace,
                              "labels": {PIPELINE_LABEL: "marketing", SOURCE_LABEL: "tiktok"}}}
            )  # fmt: skip
            await world.reconcile()
            assert await world.absent(DEPLOYMENT, "marketing-tiktok-collector")
            assert [entry["name"] for entry in (await world.pipeline())["status"]["sources"]] == ["facebook"]
            assert (await world.reconcile()).again_after, "the stream is still to go"
            await context.stream_info(stream)  # a collector that is leaving would make it again

            path = await world.cluster._path(POD, world.namespace, "leaving")
            await world.cluster._call("DELETE", path, {}, {"gracePeriodSeconds": 0})
            await world.reconcile()
            with pytest.raises(NotFoundError):
                await context.stream_info(stream)
            assert await world.events("SourceDrained") == [
                "source tiktok was removed and everything of it is stored: dropped its stream"
            ]
            before = await world.versions()
            await world.reconcile()
            assert await world.versions() == before


async def test_a_source_that_was_removed_while_the_operator_was_away_is_drained(world: World, tmp_path: Path) -> None:
    """Its stream is what tells of it; the status may have lost it."""
    with nats_server(tmp_path, max_file_bytes=8 * 2**30) as url:
        external = {"stream": {"external": {"url": url}}}
        await world.write(external)
        await world.reconcile()
        async with jetstream(url) as context:
            await context.publish(f"{world.namespace}_marketing_events.tiktok", b"[]")
        await world.write({"sources": [{"name": "facebook"}], **external})
        await world.cluster.patch_status(Key(PIPELINE, world.namespace, "marketing"), {"sources": []})
        await world.reconcile()
        await world.read(DEPLOYMENT, "marketing-tiktok-collector")
        states = {entry["name"]: entry["state"] for entry in (await world.pipeline())["status"]["sources"]}
        assert states == {"facebook": "Active", "tiktok": "Draining"}


async def test_streams_and_consumers_that_somebody_deleted_or_changed_are_put_back(
    world: World, tmp_path: Path
) -> None:
    with nats_server(tmp_path, max_file_bytes=8 * 2**30) as url:
        await world.write({"stream": {"external": {"url": url}}})
        await world.reconcile()
        assert (await world.condition("StreamReady"))["reason"] == "DurabilityNotVerified"
        assert len(await world.events("StreamChanged")) == 6
        facebook, tiktok = (f"{world.namespace}_marketing_EVENTS_{name}" for name in ("facebook", "tiktok"))
        async with jetstream(url) as context:
            await context.delete_stream(facebook)
            await context.delete_consumer(tiktok, "collector")
            right = (await context.stream_info(tiktok)).config
            await context.update_stream(right.evolve(discard="old", max_age=60))
            await world.reconcile()
            await context.consumer_info(facebook, "collector")
            await context.consumer_info(tiktok, "collector")
            assert (await context.stream_info(tiktok)).config == right
            said = await world.events("DriftPutBack")
            assert len(said) == 4
            assert any(tiktok in text and "max_age" in text and "discard" in text for text in said)
            before = await world.versions()
            await world.reconcile()
            assert await world.versions() == before

            await context.delete_stream(tiktok)
            await context.add_stream(right.evolve(storage="memory", max_bytes=2**20))
            await world.reconcile()
            ready = await world.condition("StreamReady")
            assert (ready["status"], ready["reason"]) == ("False", "StreamMisconfigured")
            assert tiktok in ready["message"]


# --- the resource's own switches -------------------------------------------------------------------------------------


async def test_paused_leaves_everything_as_it_is(world: World) -> None:
    await world.write({})
    await world.reconcile()
    await world.write({"paused": True, "gateway": {"maxBodyBytes": 4096}})
    await world.merge(SERVICE, "marketing-gateway", {"spec": {"selector": {"app": "other"}}})
    await world.reconcile()
    assert environ_of(await world.read(DEPLOYMENT, "marketing-gateway"))["MAX_BODY_BYTES"] != "4096"
    assert (await world.read(SERVICE, "marketing-gateway"))["spec"]["selector"]["app"] == "other"
    assert (await world.condition("Paused"))["status"] == "True"
    await world.write({"gateway": {"maxBodyBytes": 4096}})
    await world.reconcile()
    assert environ_of(await world.read(DEPLOYMENT, "marketing-gateway"))["MAX_BODY_BYTES"] == "4096"
    assert await world.condition("Paused") == {}


async def test_the_secret_is_made_once_and_owned_only_under_delete(world: World) -> None:
    await world.write({})
    await world.reconcile()
    secret = await world.read(SECRET, "marketing-auth")
    assert "ownerReferences" not in secret["metadata"]
    await world.write({"deletionPolicy": "Delete"})
    await world.reconcile()
    owned = await world.read(SECRET, "marketing-auth")
    assert owned["data"] == secret["data"]
    assert len(owned["metadata"]["ownerReferences"]) == 1
    await world.write({"deletionPolicy": "Retain"})
    await world.reconcile()
    kept = await world.read(SECRET, "marketing-auth")
    assert kept["data"] == secret["data"]
    assert "ownerReferences" not in kept["metadata"]


async def rotate(world: World, value: str, annotation: str = ROTATE_DATABASE) -> None:
    await world.merge(PIPELINE, "marketing", {"metadata": {"annotations": {annotation: value}}})
    await world.reconcile()


async def passwords(world: World) -> dict[str, str]:
    found: dict[str, str] = (await world.read(SECRET, "marketing-auth"))["data"]
    return found


async def test_a_secret_of_an_earlier_release_gets_what_it_lacks_and_keeps_what_it_has(world: World) -> None:
    earlier = {
        "nats-password": "n", "postgres-user": "eventpipeline_b", "postgres-password": "p",
        "postgres-owner-password": "o", "postgres-previous-password": "q",
    }  # fmt: skip
    await world.cluster.create(
        {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": "marketing-auth", "namespace": world.namespace}, "stringData": earlier,
        }
    )  # fmt: skip
    await world.write({})
    await world.reconcile()
    found = {name: base64.b64decode(value).decode() for name, value in (await passwords(world)).items()}
    assert {name: found[name] for name in earlier} == earlier
    added = found.keys() - earlier.keys()
    assert added == set(LATER_KEYS)
    assert len({found[name] for name in added}) == len(added)
    assert found["nats-route-password"] == "n", "the servers of before are still among those of the cluster"
    assert (found["nats-user"], found["nats-gateway-user"]) == ("eventpipeline", "gateway")
    assert auth.fault(found) is None
    await world.reconcile()
    again = {name: base64.b64decode(value).decode() for name, value in (await passwords(world)).items()}
    assert again == found


async def all_rolled_out(world: World) -> None:
    await rolled_out(world, "facebook-collector", "tiktok-collector", "reporter")
    await rolled_out(world, "postgres", kind=STATEFUL_SET)


def store_hash(deployment: Object) -> str:
    found: str = deployment["spec"]["template"]["metadata"]["annotations"]["store-hash"]
    return found


def with_postgres(objects: list[Object]) -> list[Object]:
    return [*objects, stateful_set("marketing-postgres", 1, "1Gi")]


async def test_a_password_is_rotated_once_a_value_and_only_when_what_runs_has_the_present_one(world: World) -> None:
    world.renderer.change = with_postgres
    await world.write({})
    await world.reconcile()
    first = await passwords(world)
    before = store_hash(await world.read(DEPLOYMENT, "marketing-reporter"))

    await rotate(world, "1")
    assert await passwords(world) == first, "nothing is ready yet"
    assert (await world.condition("PasswordRotationWaits"))["reason"] == "RolloutUnderWay"
    await all_rolled_out(world)
    await world.reconcile()
    second = await passwords(world)
    assert second["postgres-user"] != first["postgres-user"]
    assert second["postgres-previous-password"] == first["postgres-password"] != second["postgres-password"]
    assert second["nats-password"] == first["nats-password"]
    assert second["postgres-reporter-previous-password"] == first["postgres-reporter-password"]
    assert second["postgres-reporter-password"] != first["postgres-reporter-password"]
    assert await world.condition("PasswordRotationWaits") == {}
    assert store_hash(await world.read(DEPLOYMENT, "marketing-reporter")) != before
    (said,) = await world.events("PasswordRotated")
    assert "eventpipeline_b" in said

    unchanged = await world.versions()
    await world.reconcile()
    assert await world.versions() == unchanged
    await rotate(world, "2")
    assert await passwords(world) == second, "the pods of before need the password that this would take away"
    await all_rolled_out(world)
    await world.reconcile()
    third = await passwords(world)
    assert third["postgres-user"] == first["postgres-user"]
    assert third["postgres-password"] not in (first["postgres-password"], second["postgres-password"])
    await all_rolled_out(world)
    await world.write({"deletionPolicy": "Delete"})
    await world.reconcile()
    assert await passwords(world) == third


async def test_a_pipeline_that_comes_with_the_annotation_is_not_rotated_at_its_start(world: World) -> None:
    world.renderer.change = with_postgres
    asked = {ROTATE_DATABASE: "1", ROTATE_NATS: "1"}
    await world.cluster.apply(
        {
            "apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind, "spec": {},
            "metadata": {"name": "marketing", "namespace": world.namespace, "annotations": asked},
        }
    )  # fmt: skip
    await world.reconcile()
    first = await passwords(world)
    await all_rolled_out(world)
    await world.reconcile()
    assert await passwords(world) == first
    assert await world.condition("PasswordRotationWaits") == {}


async def test_the_passwords_of_nats_are_rotated_when_its_servers_have_learnt_them(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is a real one; the test does what the kubelet does, and knows where the server's name leads."""
    await world.write({})
    await world.reconcile()
    first = await contents(world)
    in_use, others = nats_logins(first)
    with nats_of_a_cluster(tmp_path, in_use | others) as place:

        async def teach_it(servers: Mapping[str, str], system: tuple[str, str], wanted: Passwords) -> str | None:
            (name,) = servers
            assert servers == {name: f"marketing-nats-0.marketing-nats-headless.{world.namespace}.svc:4222"}
            return await teach({name: place}, system, wanted)

        monkeypatch.setattr(look, "teach", teach_it)
        await rotate(world, "1", ROTATE_NATS)
        assert await contents(world) == first, "nothing is ready yet"
        assert (await world.condition("PasswordRotationWaits"))["reason"] == "RolloutUnderWay"
        await rolled_out(world, "gateway", "facebook-collector", "tiktok-collector", "reporter")
        await rolled_out(world, "nats", kind=STATEFUL_SET)
        await world.reconcile()
        second = await contents(world)
        assert {name for name in first if first[name] != second[name]} == {"nats-passwords.conf"}
        waits = await world.condition("PasswordRotationWaits")
        assert (waits["reason"], await world.events("PasswordRotated")) == ("ServersLearn", [])
        assert "marketing-nats-0 does not know them yet" in waits["message"]
        await world.reconcile()
        assert await contents(world) == second, "they are made once"

        (tmp_path / "nats-passwords.conf").write_text(second["nats-passwords.conf"])
        await world.reconcile()
        third = await contents(world)
        assert third["nats-passwords.conf"] == second["nats-passwords.conf"]
        assert (third["nats-user"], third["nats-gateway-user"]) == ("eventpipeline_b", "gateway_b")
        assert third["postgres-password"] == first["postgres-password"]
        assert await world.condition("PasswordRotationWaits") == {}
        (said,) = await world.events("PasswordRotated")
        assert "gateway_b" in said
        assert not [password for name, password in third.items() if name.endswith("password") and password in said]
        at_rest = await world.versions()
        await world.reconcile()
        assert await world.versions() == at_rest


async def contents(world: World) -> dict[str, str]:
    return {name: base64.b64decode(value).decode() for name, value in (await passwords(world)).items()}


async def test_a_rotation_of_somebody_elses_nats_is_said_to_be_theirs(world: World) -> None:
    await world.write({"stream": {"external": {"url": "nats://h:4222"}}})
    await world.reconcile()
    await rotate(world, "1", ROTATE_NATS)
    waits = await world.condition("PasswordRotationWaits")
    assert waits["reason"] == "ExternalNats"
    assert "credentialsSecretRef" in waits["message"]


async def test_a_rotation_of_somebody_elses_database_is_said_to_be_theirs(world: World) -> None:
    await world.cluster.create(database_secret(world, "postgresql://u:p@h/d"))
    await world.write({"store": {"external": {"urlSecretRef": {"name": "database"}}}})
    await world.reconcile()
    await rotate(world, "1")
    waits = await world.condition("PasswordRotationWaits")
    assert waits["reason"] == "ExternalDatabase"
    assert "Secret database" in waits["message"]


async def test_a_changed_secret_of_an_external_server_replaces_the_pods_that_use_it(world: World) -> None:
    await world.cluster.create(database_secret(world, "postgresql://u:p@h/d"))
    await world.write({"store": {"external": {"urlSecretRef": {"name": "database"}}}})
    await world.reconcile()
    before = store_hash(await world.read(DEPLOYMENT, "marketing-reporter"))
    await world.merge(SECRET, "database", {"stringData": {"url": "postgresql://u:other@h/d"}})
    await world.reconcile()
    assert store_hash(await world.read(DEPLOYMENT, "marketing-reporter")) != before


CERTIFIED: dict[str, Any] = {
    "store": {
        "external": {
            "urlSecretRef": {"name": "database"},
            "tls": {"caSecretRef": {"name": "certificates"}, "clientSecretName": "certificates"},
        }
    }
}


async def certified(world: World, contents: Mapping[str, str]) -> None:
    await world.cluster.create(database_secret(world, "postgresql://u:p@h/d"))
    metadata = {"name": "certificates", "namespace": world.namespace}
    await world.cluster.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(contents)}
    )
    await world.write(CERTIFIED)
    await world.reconcile()


async def test_changed_certificates_replace_the_pods_that_use_them(world: World) -> None:
    authority = Authority("ours")
    await certified(world, files(authority, authority.issue("marketing")))
    before = store_hash(await world.read(DEPLOYMENT, "marketing-reporter"))
    await world.reconcile()
    assert store_hash(await world.read(DEPLOYMENT, "marketing-reporter")) == before
    await world.merge(SECRET, "certificates", {"stringData": files(authority, authority.issue("marketing"))})
    await world.reconcile()
    assert store_hash(await world.read(DEPLOYMENT, "marketing-reporter")) != before


@pytest.mark.parametrize(
    ("left_out", "changed", "reason", "words"),
    [
        ("ca.crt", {}, "SecretMissing", ("Secret certificates", "key ca.crt")),
        ("tls.key", {}, "SecretMissing", ("Secret certificates", "key tls.key")),
        ("", {"ca.crt": "sesame"}, "SecretInvalid", ("spec.store.external.tls", "ca.crt holds no certificate")),
        ("", {"tls.key": "sesame"}, "SecretInvalid", ("spec.store.external.tls", "tls.crt and tls.key", "Secret cert")),
    ],
)
async def test_certificates_that_are_none_are_said_and_not_quoted(
    world: World, left_out: str, changed: dict[str, str], reason: str, words: tuple[str, ...]
) -> None:
    authority = Authority("ours")
    whole = files(authority, authority.issue("marketing")) | changed
    await certified(world, {name: content for name, content in whole.items() if name != left_out})
    ready = await world.condition("Ready")
    assert ready["reason"] == reason
    for word in words:
        assert word in ready["message"]
    assert "sesame" not in ready["message"]
    assert await world.absent(DEPLOYMENT, "marketing-reporter")


def database_secret(world: World, url: str) -> Object:
    metadata = {"name": "database", "namespace": world.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"url": url}}


def with_maintenance(objects: list[Object]) -> list[Object]:
    pod = {"containers": [{"name": "maintain", "image": "eventpipeline:1"}], "restartPolicy": "OnFailure"}
    spec = {"schedule": "7 * * * *", "jobTemplate": {"spec": {"template": {"spec": pod}}}}
    metadata = {"name": "marketing-maintain"}
    return [*objects, {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec}]


async def test_maintenance_that_fails_is_said_and_what_to_do(world: World) -> None:
    world.renderer.change = with_maintenance
    await world.write({})
    await world.reconcile()
    assert await world.condition("MaintenanceFailing") == {}
    job = Key(CRON_JOB, world.namespace, "marketing-maintain")
    await world.cluster.patch_status(job, {"lastScheduleTime": "2026-11-24T13:07:00Z"})
    await world.reconcile()
    failing = await world.condition("MaintenanceFailing")
    assert failing["status"] == "True"
    assert f"kubectl -n {world.namespace} create job" in failing["message"]
    await world.cluster.patch_status(job, {"lastSuccessfulTime": "2026-11-24T13:07:09Z"})
    await world.reconcile()
    assert await world.condition("MaintenanceFailing") == {}


async def test_a_secret_that_had_an_owner_from_the_start_loses_it(world: World) -> None:
    await world.write({"deletionPolicy": "Delete"})
    await world.reconcile()
    assert len((await world.read(SECRET, "marketing-auth"))["metadata"]["ownerReferences"]) == 1
    await world.write({"deletionPolicy": "Retain"})
    await world.reconcile()
    kept = await world.read(SECRET, "marketing-auth")
    assert "ownerReferences" not in kept["metadata"]
    before = await world.versions()
    await world.reconcile()
    assert await world.versions() == before


@pytest.mark.parametrize(
    ("spec", "value", "example"),
    [
        (EXTERNAL_STORE, "host=h user=u password=sesame", "postgresql://user:password@host:5432/database"),
        (EXTERNAL_STORE, "postgresql://u:sesame%zz@h/d", "percent-encoded"),
        (EXTERNAL_STORE, "postgresql://u:sesame@h/d\n", "postgresql://"),
        (EXTERNAL_NATS, "http://u:sesame@h", "nats://user:password@host:4222"),
        (EXTERNAL_NATS, "nats://u:sesame open@h", "nats://"),
    ],
)
async def test_a_secret_that_holds_no_address_is_said_without_its_content(
    world: World, spec: dict[str, Any], value: str, example: str
) -> None:
    await world.cluster.create(database_secret(world, value))
    await world.write(spec)
    await world.reconcile()
    ready = await world.condition("Ready")
    assert ready["reason"] == "SecretInvalid"
    for word in ("Secret database", "key url", example):
        assert word in ready["message"]
    assert "sesame" not in ready["message"]
    assert await world.absent(DEPLOYMENT, "marketing-gateway")


@pytest.mark.parametrize("value", ["nats://u:p@a:4222,tls://b:4222", "tls://h"])
async def test_addresses_of_nats_may_be_several(world: World, value: str) -> None:
    await world.cluster.create(database_secret(world, value))
    await world.write(EXTERNAL_NATS)
    await world.reconcile()
    await world.read(DEPLOYMENT, "marketing-gateway")


async def test_a_missing_secret_is_said_and_nothing_is_touched(world: World) -> None:
    await world.write({"store": {"external": {"urlSecretRef": {"name": "database"}}}})
    result = await world.reconcile()
    ready = await world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "SecretMissing")
    assert "Secret database" in ready["message"]
    assert result.again_after
    assert await world.absent(DEPLOYMENT, "marketing-gateway")
    await world.cluster.create(database_secret(world, "postgresql://u:p@h/d"))
    await world.reconcile()
    await world.read(DEPLOYMENT, "marketing-gateway")


async def test_hashes_of_keys_that_are_none_are_said_and_not_quoted(world: World) -> None:
    secret = database_secret(world, "evp_a-key-in-place-of-its-hash")
    await world.cluster.create(secret)
    await world.write({"reporter": {"authentication": {"bearer": {"read": {"name": "database", "key": "url"}}}}})
    await world.reconcile()
    ready = await world.condition("Ready")
    assert ready["reason"] == "SecretInvalid"
    assert "Secret database, key url, has in line 1 no hash of a key" in ready["message"]
    assert "evp_" not in ready["message"]
    assert await world.absent(DEPLOYMENT, "marketing-reporter")


async def test_a_pass_ends_where_the_resource_is_gone_or_another(world: World) -> None:
    made = await world.write({})
    looking = Looking(world.cluster, world.streams, world.probe)
    reconciler = Reconciler(world.cluster, world.renderer, looking, OperatorMetrics(CollectorRegistry()))
    assert await reconciler(Target(world.namespace, "marketing", "another-uid")) == Result()
    assert await world.absent(DEPLOYMENT, "marketing-gateway")
    await world.cluster.delete(made)
    assert await reconciler(Target(world.namespace, "marketing", made["metadata"]["uid"])) == Result()
    assert await world.absent(DEPLOYMENT, "marketing-gateway")


async def test_an_object_the_api_server_refuses_becomes_a_condition(world: World) -> None:
    def spoil(objects: list[Object]) -> list[Object]:
        spoiled = json.loads(json.dumps(objects))
        spoiled[0]["spec"]["ports"][0]["port"] = 70000
        return list(spoiled)

    world.renderer.change = spoil
    await world.write({})
    result = await world.reconcile()
    ready = await world.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Refused")
    assert "Service marketing-gateway" in ready["message"]
    assert "spec.ports[0].port" in ready["message"]
    assert result.again_after
    await world.read(DEPLOYMENT, "marketing-gateway")


def test_the_manager_has_its_own_name() -> None:
    assert MANAGER == "eventpipeline-operator"
