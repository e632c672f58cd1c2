"""A renderer in place of the chart, small enough to be read: what tests of the operator's own work need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eventpipeline.spec import EventPipeline
from eventpipeline_operator.cluster import Versions
from eventpipeline_operator.objects import Object
from eventpipeline_operator.planned import Planned
from eventpipeline_operator.secret import Credentials


@dataclass
class TinyRenderer:
    """Renders a Service and a Deployment a workload, and a StatefulSet with a volume where NATS is managed.

    `change` is called with the objects before they are returned; what it returns is rendered in their place.
    """

    change: Callable[[list[Object]], list[Object]] = field(default=lambda objects: objects)

    async def __call__(
        self, pipeline: EventPipeline, planned: Planned, credentials: Credentials, versions: Versions
    ) -> Sequence[Object]:
        name = pipeline.metadata.name
        objects = [_service(f"{name}-gateway")]
        for workload in (*planned.plan.workloads, *planned.draining):
            bounds = workload.autoscaling
            fixed = bounds.min_replicas == bounds.max_replicas
            objects.append(
                _deployment(
                    f"{name}-{workload.name}", workload.settings.environ(), bounds.min_replicas if fixed else None
                )
            )
            objects[-1]["spec"]["template"]["metadata"]["annotations"] = {"store-hash": credentials.hashes.store}
        if nats := pipeline.spec.stream.managed:
            objects.append(stateful_set(f"{name}-nats", nats.replicas, nats.storage))
        return self.change(objects)


def _pod(name: str, environ: dict[str, str]) -> Object:
    container = {
        "name": "main",
        "image": "eventpipeline:1",
        "env": [{"name": key, "value": value} for key, value in environ.items()],
        "ports": [{"name": "http", "containerPort": 3000}],
        "resources": {"requests": {"cpu": "1000m", "memory": "128Mi"}},
    }
    return {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], "volumes": []}}


def _deployment(name: str, environ: dict[str, str], replicas: int | None) -> Object:
    counted = {} if replicas is None else {"replicas": replicas}
    spec = {"selector": {"matchLabels": {"app": name}}, "template": _pod(name, environ), **counted}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def stateful_set(name: str, replicas: int, storage: str) -> Object:
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}}
    spec: dict[str, Any] = {
        "serviceName": name,
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": _pod(name, {}),
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": claim}],
    }
    return {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": name}, "spec": spec}


def _service(name: str) -> Object:
    spec = {"selector": {"app": name}, "ports": [{"name": "http", "port": 3000, "targetPort": "http"}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}
