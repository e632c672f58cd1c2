"""Kubernetes objects as plain dictionaries, and what the operator adds to those it renders. Pure."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eventpipeline.spec import API_VERSION, KIND, EventPipeline

Object = dict[str, Any]

MANAGER = "eventpipeline-operator"
PIPELINE_LABEL = "eventpipeline.dev/pipeline"
SOURCE_LABEL = "eventpipeline.dev/source"
"""Of a collector's pods."""
MANAGED_BY_LABEL = "app.kubernetes.io/managed-by"
HASH_ANNOTATION = "eventpipeline.dev/rendered-hash"
"""The hash of what was rendered. Where it is still the same but the object is not, somebody else changed the object."""


@dataclass(frozen=True, order=True)
class Kind:
    api_version: str
    kind: str


@dataclass(frozen=True, order=True)
class Key:
    """What names an object within a cluster."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.name}"


RENDERED_KINDS: tuple[Kind, ...] = (
    Kind("v1", "ServiceAccount"),
    Kind("v1", "ConfigMap"),
    Kind("v1", "Service"),
    Kind("networking.k8s.io/v1", "NetworkPolicy"),
    Kind("networking.k8s.io/v1", "Ingress"),
    Kind("policy/v1", "PodDisruptionBudget"),
    Kind("apps/v1", "StatefulSet"),
    Kind("apps/v1", "Deployment"),
    Kind("batch/v1", "CronJob"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler"),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor"),
    Kind("monitoring.coreos.com/v1", "PrometheusRule"),
)
"""What is rendered, in the order in which it is applied. Only these kinds are pruned: never volumes or secrets."""
DEPLOYMENT = Kind("apps/v1", "Deployment")
STATEFUL_SET = Kind("apps/v1", "StatefulSet")
CRON_JOB = Kind("batch/v1", "CronJob")
SERVICE_MONITOR = Kind("monitoring.coreos.com/v1", "ServiceMonitor")
PROMETHEUS_RULE = Kind("monitoring.coreos.com/v1", "PrometheusRule")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler")
POD = Kind("v1", "Pod")
CLAIM = Kind("v1", "PersistentVolumeClaim")
SECRET = Kind("v1", "Secret")
EVENT = Kind("v1", "Event")
PIPELINE = Kind(API_VERSION, KIND)


def key_of(item: Object) -> Key:
    metadata = item["metadata"]
    return Key(Kind(item["apiVersion"], item["kind"]), metadata.get("namespace", ""), metadata["name"])


def labels_of(pipeline: str) -> dict[str, str]:
    return {PIPELINE_LABEL: pipeline, MANAGED_BY_LABEL: MANAGER}


def source_label(item: Object) -> str | None:
    """The source of a collector's Deployment or pod."""
    found: str | None = item["metadata"].get("labels", {}).get(SOURCE_LABEL)
    return found


def owner_reference(pipeline: EventPipeline) -> Object:
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "name": pipeline.metadata.name,
        "uid": pipeline.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # or the operator would need the right to set finalizers
    }


def is_owned(item: Object, uid: str | None) -> bool:
    return any(owner.get("uid") == uid for owner in item["metadata"].get("ownerReferences", []))


def prepared(rendered: Iterable[Object], pipeline: EventPipeline) -> dict[Key, Object]:
    """The rendered objects as they are applied: with namespace, labels, owner and hash; in the order to apply them.

    Raises ValueError for a kind that would never be pruned, and where two objects have one name.
    """
    found: dict[Key, Object] = {}
    for item in rendered:
        ready = _prepared(item, pipeline)
        key = key_of(ready)
        if key.kind not in RENDERED_KINDS:
            raise ValueError(f"{key}: objects of this kind are not rendered")
        if key in found:
            raise ValueError(f"{key} is rendered twice")
        found[key] = ready
    return dict(sorted(found.items(), key=lambda entry: (RENDERED_KINDS.index(entry[0].kind), entry[0].name)))


def _prepared(item: Object, pipeline: EventPipeline) -> Object:
    ready: Object = without_nulls(copy.deepcopy(item))
    metadata = ready["metadata"]
    metadata.setdefault("namespace", pipeline.metadata.namespace)
    spec = ready.get("spec", {})
    for carrier in (ready, spec.get("template"), *spec.get("volumeClaimTemplates", [])):
        # Pods and claims are found by the label; PodMonitors and the like have a template of another kind.
        if carrier is not None and (carrier is ready or ready["kind"] in ("Deployment", "StatefulSet")):
            labels = carrier.setdefault("metadata", {}).setdefault("labels", {})
            labels.update(
                labels_of(pipeline.metadata.name) if carrier is ready else {PIPELINE_LABEL: pipeline.metadata.name}
            )
    metadata["ownerReferences"] = [owner_reference(pipeline)]
    metadata.setdefault("annotations", {})[HASH_ANNOTATION] = digest(ready)
    return ready


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_nulls(part) for key, part in value.items() if part is not None}
    return [without_nulls(part) for part in value] if isinstance(value, list) else value


def digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
