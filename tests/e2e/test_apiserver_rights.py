"""A whole life of pipelines under the API server's audit log: the operator asks for all that it may, and no more."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from apiserver import api_server, install_crd, install_monitoring
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import (
    CLAIM,
    DEPLOYMENT,
    PIPELINE,
    PIPELINE_LABEL,
    RENDERED_KINDS,
    Key,
    Kind,
    Object,
    labels_of,
)
from operator_process import OperatorProcess, operator_process
from operator_rights import ACCOUNT, granted, rendered, service_account

Right = tuple[str, str, str]
"""Verb, group and resource."""

_IMPLIED = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")
"""Whoever is logged in may ask what it may."""
_EVERYTHING: Object = {
    "gateway": {"ingress": {"host": "events.example.com"}},
    "monitoring": {"serviceMonitor": True, "dashboards": True, "alerts": True},
}


@dataclass(frozen=True)
class Audited:
    kubeconfig: Path
    log: Path

    def requests(self) -> list[Object]:
        """Those of the operator's account that are for a resource; what only discovers is everybody's right."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [
            line
            for line in lines
            if line["user"]["username"].endswith(f":{ACCOUNT}") and line.get("objectRef", {}).get("resource")
        ]

    def asked(self) -> set[Right]:
        asked = {right for line in self.requests() if (right := _right(line))[2] not in _IMPLIED}
        # An apply that makes an object is let through only with both rights.
        made = [line for line in self.requests() if line["verb"] == "patch" and line["responseStatus"]["code"] == 201]
        return asked | {("create", *_right(line)[1:]) for line in made}

    def refused(self) -> set[Right]:
        return {_right(line) for line in self.requests() if line["responseStatus"]["code"] in (401, 403)}


def _right(line: Object) -> Right:
    about = line["objectRef"]
    resource = "/".join(filter(None, (about["resource"], about.get("subresource"))))
    return line["verb"], about.get("apiGroup", ""), resource


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    async def prepare(path: Path) -> None:
        cluster = Cluster.from_kubeconfig(path)
        await install_crd(cluster)
        await install_monitoring(cluster)

    folder = tmp_path_factory.mktemp("apiserver")
    log = folder / "audit.log"
    with api_server(folder, audit=log) as kubeconfig:
        asyncio.run(prepare(kubeconfig))
        yield Audited(kubeconfig, log)


@dataclass
class Life:
    cluster: Cluster
    operator: OperatorProcess
    namespace: str

    async def write(self, spec: Object) -> None:
        """Writes the resource and waits until it was looked at."""
        about = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind}
        metadata = {"name": "marketing", "namespace": self.namespace}
        await self.cluster.apply({**about, "metadata": metadata, "spec": spec})

        async def observed() -> bool:
            body = await self.cluster.get(Key(PIPELINE, self.namespace, "marketing"))
            assert body
            return bool(body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])

        await self.operator.until(observed, f"{spec} observed")

    async def owner(self) -> Object:
        body = await self.cluster.get(Key(PIPELINE, self.namespace, "marketing"))
        assert body
        return {
            "apiVersion": PIPELINE.api_version,
            "kind": PIPELINE.kind,
            "name": "marketing",
            "uid": body["metadata"]["uid"],
        }

    async def live(self) -> None:
        await self.cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.namespace}})
        await self._make_a_small_volume()
        await self.write({**_EVERYTHING, "stream": {"nats": {"storage": "10Gi"}}})
        await self._drift()
        await self.write({**_EVERYTHING, "stream": {"nats": {"storage": "20Gi"}}, "deletionPolicy": "Delete"})
        await self.write({"stream": {"nats": {"storage": "20Gi"}}})
        await self._leave_what_an_earlier_release_rendered()
        body = await self.cluster.get(Key(PIPELINE, self.namespace, "marketing"))
        assert body
        await self.cluster.delete(body)

    async def _make_a_small_volume(self) -> None:
        grows = {"provisioner": "example.com/none", "allowVolumeExpansion": True}
        kind = {"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass", "metadata": {"name": "growing"}}
        await self.cluster.create({**kind, **grows})
        key = Key(CLAIM, self.namespace, "data-marketing-nats-0")
        metadata = {"name": key.name, "namespace": key.namespace, "labels": {PIPELINE_LABEL: "marketing"}}
        spec = {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "growing", "volumeName": "v",
            "resources": {"requests": {"storage": "10Gi"}},
        }  # fmt: skip
        await self.cluster.create({"apiVersion": "v1", "kind": CLAIM.kind, "metadata": metadata, "spec": spec})
        await self.cluster.patch_status(key, {"phase": "Bound", "capacity": {"storage": "10Gi"}})

    async def _drift(self) -> None:
        key = Key(DEPLOYMENT, self.namespace, "marketing-gateway")
        before = await self.cluster.get(key)
        assert before
        await self.cluster.delete(before)

        async def is_back() -> bool:
            found = await self.cluster.get(key)
            return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

        await self.operator.until(is_back, f"{key} again")

    async def _leave_what_an_earlier_release_rendered(self) -> None:
        """An object of each kind, owned by the pipeline, that this release does not render: it is pruned."""
        owner = await self.owner()
        keys = [Key(kind, self.namespace, "marketing-former") for kind in RENDERED_KINDS]
        for key in keys:
            metadata = {
                "name": key.name,
                "namespace": key.namespace,
                "labels": labels_of("marketing"),
                "ownerReferences": [owner],
            }
            about = {"apiVersion": key.kind.api_version, "kind": key.kind.kind, "metadata": metadata}
            await self.cluster.create({**about, **_SMALLEST.get(key.kind.kind, {})})

        async def are_gone() -> bool:
            return not any([await self.cluster.get(key) for key in keys])

        await self.operator.until(are_gone, "what an earlier release rendered is gone")


_POD = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
_WORKLOAD = {"selector": {"matchLabels": {"app": "a"}}, "template": _POD}
_JOB = {"template": {**_POD, "spec": {**_POD["spec"], "restartPolicy": "Never"}}}
_TARGET = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "a"}
_SMALLEST: dict[str, Object] = {
    "Service": {"spec": {"ports": [{"port": 80}]}},
    "NetworkPolicy": {"spec": {"podSelector": {}}},
    "Ingress": {"spec": {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}},
    "PodDisruptionBudget": {"spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "a"}}}},
    "StatefulSet": {"spec": {**_WORKLOAD, "serviceName": "a"}},
    "Deployment": {"spec": _WORKLOAD},
    "CronJob": {"spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": _JOB}}},
    "HorizontalPodAutoscaler": {"spec": {"maxReplicas": 1, "scaleTargetRef": _TARGET}},
    "ServiceMonitor": {"spec": {"selector": {}, "endpoints": []}},
    "PrometheusRule": {"spec": {}},
}
"""What the API server wants of each kind."""


async def test_the_operator_uses_every_right_it_has_and_wants_no_other(audited: Audited, tmp_path: Path) -> None:
    """In both ways to run it: over the whole cluster, and for some namespaces."""
    cluster = Cluster.from_kubeconfig(audited.kubeconfig)
    for namespaces in ((), ("shop",)):
        settings = [f"watchNamespaces={{{','.join(namespaces)}}}"] if namespaces else []
        folder = tmp_path / "-".join(("mode", *namespaces))
        folder.mkdir()
        if namespaces:
            await _take_back_the_rights(cluster)
            await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})
        own = await service_account(cluster, audited.kubeconfig, folder, *settings)
        environ = {"WATCH_NAMESPACES": ",".join(namespaces), "RESYNC_SECONDS": "1"}
        with operator_process(own, folder / "operator.log", **environ) as operator:
            await Life(cluster, operator, namespaces[0] if namespaces else "anywhere").live()

    rights = {(verb, *key) for key, verbs in granted(rendered()).items() for verb in verbs}
    asked = audited.asked()
    print(f"{len(audited.requests())} requests for {len(asked)} rights; {len(rights)} are granted")
    assert audited.refused() == set()
    assert asked - rights == set(), "the chart does not grant these, yet they were not refused"
    assert rights - asked == set(), "these are granted and never used"


async def _take_back_the_rights(cluster: Cluster) -> None:
    """Those in the whole cluster; the second way to run needs them in its namespaces only."""
    key = Key(Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"), "", ACCOUNT)
    found = await cluster.get(key)
    assert found
    await cluster.delete(found)
