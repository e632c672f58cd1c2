"""Monitoring in a cluster with and without the kinds of the Prometheus operator, on a real API server.

The operator's own rights and the real chart; only the pods are missing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from apiserver import api_server, install_crd, install_monitoring
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import Gone
from eventpipeline_operator.look import Looking
from eventpipeline_operator.metrics import OperatorMetrics
from eventpipeline_operator.objects import PIPELINE, RENDERED_KINDS, Key, Kind, Object
from eventpipeline_operator.probe import Probe
from eventpipeline_operator.reconcile import Reconciler
from eventpipeline_operator.render import ChartRenderer
from eventpipeline_operator.settings import OperatorSettings
from eventpipeline_operator.streams import Streams
from eventpipeline_operator.triggers import Target
from operator_rights import service_account

TESTS = Path(__file__).resolve().parents[1]
CRD = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
CONFIG = Kind("v1", "ConfigMap")
SERVICE_MONITOR = Kind("monitoring.coreos.com/v1", "ServiceMonitor")
RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule")
ALL = {"serviceMonitor": True, "dashboards": True, "alerts": True}


class World:
    """A pipeline in the namespace `default`, and an operator whose passes the test calls."""

    def __init__(self, admin: Cluster, own: Path) -> None:
        self.admin = admin
        self._own = own
        self._streams, self._probe = Streams(), Probe()
        self.begin_anew()

    def begin_anew(self) -> None:
        """As a new process of the operator, which has not asked yet what the cluster serves."""
        settings = OperatorSettings(helm=os.environ["EVENTPIPELINE_HELM"])
        cluster = Cluster.from_kubeconfig(self._own)
        looking = Looking(cluster, self._streams, self._probe)
        self._reconcile = Reconciler(cluster, ChartRenderer(settings), looking, OperatorMetrics(CollectorRegistry()))

    async def write(self, monitoring: Object) -> None:
        metadata = {"name": "marketing", "namespace": "default"}
        await self.admin.apply(
            {
                "apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind, "metadata": metadata,
                "spec": {"monitoring": monitoring},
            }
        )  # fmt: skip

    async def reconcile(self) -> None:
        """A pass that comes to its end, which the status shows."""
        body = await self.pipeline()
        result = await self._reconcile(Target("default", "marketing", body["metadata"]["uid"]))
        assert not result.failed
        body = await self.pipeline()
        assert body["status"]["observedGeneration"] == body["metadata"]["generation"]
        (ready,) = (one for one in body["status"]["conditions"] if one["type"] == "Ready")
        assert ready["reason"] in ("Starting", "Missing"), ready

    async def is_told_what_is_missing(self) -> bool:
        return any(one["type"] == "MonitoringMissing" for one in (await self.pipeline())["status"]["conditions"])

    async def try_to_reconcile(self) -> None:
        body = await self.pipeline()
        await self._reconcile(Target("default", "marketing", body["metadata"]["uid"]))

    async def pipeline(self) -> Object:
        body = await self.admin.get(Key(PIPELINE, "default", "marketing"))
        assert body
        return body

    async def names(self, kind: Kind) -> set[str]:
        return {key.name for key in await self.admin.list_all(kind, "default")}

    async def versions(self) -> dict[Key, str]:
        listings = [await self.admin.list_all(kind, "default") for kind in RENDERED_KINDS]
        return {key: item["metadata"]["resourceVersion"] for listing in listings for key, item in listing.items()}

    async def teach(self) -> None:
        """The cluster learns the kinds of the Prometheus operator."""
        await install_monitoring(self.admin)
        for kind in (SERVICE_MONITOR, RULE):
            await self.until(kind, served=True)

    async def unteach(self) -> None:
        for name in ("servicemonitors", "prometheusrules"):
            item = await self.admin.get(Key(CRD, "", f"{name}.monitoring.coreos.com"))
            assert item
            await self.admin.delete(item)
        for kind in (SERVICE_MONITOR, RULE):
            await self.until(kind, served=False)

    async def until(self, kind: Kind, *, served: bool) -> None:
        """Waits until the API server says the same of `kind` wherever it can be asked."""
        async with asyncio.timeout(20):
            while await self._served(kind) != {served}:
                await asyncio.sleep(0.1)

    async def _served(self, kind: Kind) -> set[bool]:
        listed = kind.kind in await self.admin._discover(kind.api_version)
        groups = {group["name"] for group in (await self.admin._call("GET", "/apis"))["groups"]}
        try:
            await self.admin._call("GET", f"/apis/{kind.api_version}/{kind.kind.lower()}s")
            answers = True
        except Gone:
            answers = False
        return {listed, kind.api_version.partition("/")[0] in groups, answers}

    async def close(self) -> None:
        await self._streams.close_all()
        await self._probe.close()


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("apiserver")) as found:
        yield found


@pytest.fixture
async def world(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[World]:
    admin = Cluster.from_kubeconfig(kubeconfig)
    await install_crd(admin)
    found = World(admin, await service_account(admin, kubeconfig, tmp_path))
    yield found
    await found.close()


async def test_monitoring_comes_and_goes_with_its_switches_and_with_its_kinds(world: World) -> None:
    # A cluster without the Prometheus operator: the dashboards are there, and nothing is in the way of the rest.
    await world.write(ALL)
    await world.reconcile()
    maps = {f"marketing-dashboard-{path.stem}" for path in (TESTS.parent / "charts/eventpipeline/dashboards").iterdir()}
    assert maps <= await world.names(CONFIG)
    assert await world.is_told_what_is_missing()

    # With it, both kinds are made as they were rendered: what their schemas do not know would have been dropped.
    await world.teach()
    world.begin_anew()
    await world.reconcile()
    for kind in (SERVICE_MONITOR, RULE):
        live = await world.admin.get(Key(kind, "default", "marketing"))
        assert live, f"no {kind}"
        assert live["metadata"]["ownerReferences"][0]["kind"] == "EventPipeline"
    assert not await world.is_told_what_is_missing()
    before = await world.versions()
    await world.reconcile()
    assert await world.versions() == before

    # What somebody changes is put back.
    rule = await world.admin.get(Key(RULE, "default", "marketing"))
    assert rule
    changed = {"spec": {"groups": [rule["spec"]["groups"][0] | {"rules": rule["spec"]["groups"][0]["rules"][:1]}]}}
    await world.admin.merge(Key(RULE, "default", "marketing"), changed)
    await world.reconcile()
    back = await world.admin.get(Key(RULE, "default", "marketing"))
    assert back
    assert back["spec"] == rule["spec"]

    # Without a switch, what it had made goes.
    await world.write({"serviceMonitor": True})
    await world.reconcile()
    assert await world.names(RULE) == set()
    assert await world.names(SERVICE_MONITOR) == {"marketing"}
    assert not maps & await world.names(CONFIG)

    # The kinds are removed under a running operator: the pass that meets it may end early, the next does not.
    await world.write(ALL)
    await world.unteach()
    await world.try_to_reconcile()
    await world.reconcile()
    assert maps <= await world.names(CONFIG)
