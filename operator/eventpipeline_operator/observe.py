"""What is seen of a pipeline in the cluster, and what is wrong with each object: raw objects -> values. Pure.

A trouble names the object and says what to do; `status.py` decides what follows from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from eventpipeline.spec import Monitoring
from eventpipeline_operator.objects import (
    CRON_JOB,
    DEPLOYMENT,
    PROMETHEUS_RULE,
    SERVICE_MONITOR,
    STATEFUL_SET,
    Key,
    Object,
)

_PULL_REASONS = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "RegistryUnavailable")
_CONFIG_REASONS = ("CreateContainerConfigError", "CreateContainerError")


@dataclass(frozen=True)
class Trouble:
    """Something a person may have to do something about."""

    reason: str
    message: str


@dataclass(frozen=True)
class WorkloadSeen:
    """A Deployment or StatefulSet. `current`: its controller has seen its newest spec. `leaving`: pods that are ending,
    which no other number counts."""

    name: str
    current: bool
    wanted: int
    updated: int
    ready: int
    replicas: int
    leaving: int = 0
    troubles: tuple[Trouble, ...] = ()

    @property
    def settled(self) -> bool:
        """Whether every pod there is runs with the newest settings, and is ready."""
        return self.current and self.updated == self.replicas == self.ready == self.wanted and not self.leaving


@dataclass(frozen=True)
class SourceSeen:
    """What the stream and the reporter say of one source; None where they do not answer."""

    pending: int | None = None
    dead_letters: int | None = None


@dataclass(frozen=True)
class RotationWaits:
    of: Literal["database", "nats"]
    learning: str | None = None
    """Which servers of NATS do not know the new passwords yet; None where the rotation has not begun."""


@dataclass(frozen=True)
class Seen:
    """A pipeline in the cluster. Workloads by their name within it: `gateway`, `facebook-collector`, `nats` …"""

    workloads: Mapping[str, WorkloadSeen] = field(default_factory=dict)
    sources: Mapping[str, SourceSeen] = field(default_factory=dict)
    stream_fault: str | None = None
    """What is wrong with JetStream where it was asked, or None."""
    stream_wrong: tuple[str, ...] = ()
    """Streams with settings that cannot be put back in place, and what to do."""
    maintenance: Trouble | None = None
    """Why partitions are not made and retention is not applied, if so."""
    unmonitored: Trouble | None = None
    """What `spec.monitoring` asks for and the cluster does not know, if so."""
    rotation_waits: RotationWaits | None = None
    """A rotation of passwords that was asked for and is not done."""
    growing: Mapping[str, str] = field(default_factory=dict)
    """The claims whose volumes are smaller than they should be, by name, and the size that they have."""
    failure: Trouble | None = None
    """Why the pass did not come to its end, if it did not."""


@dataclass(frozen=True)
class Objects:
    """What was read of a pipeline. `answers`: what unready pods say of themselves at /readyz, by pod name."""

    workloads: Mapping[Key, Object]
    pods: tuple[Object, ...] = ()
    claims: tuple[Object, ...] = ()
    events: tuple[Object, ...] = ()
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def workloads_seen(pipeline: str, objects: Objects) -> dict[str, WorkloadSeen]:
    """The Deployments and StatefulSets of `pipeline`, by what follows its name in theirs."""
    return {
        key.name.removeprefix(f"{pipeline}-"): _workload(item, objects)
        for key, item in objects.workloads.items()
        if key.kind in (DEPLOYMENT, STATEFUL_SET)
    }


def maintenance(live: Mapping[Key, Object]) -> Trouble | None:
    """What is wrong with the last run of a pipeline's `maintain`, if it is over and did not succeed."""
    for key, job in live.items():
        status = job.get("status", {})
        scheduled, succeeded = status.get("lastScheduleTime", ""), status.get("lastSuccessfulTime", "")
        # Times of Kubernetes are all in UTC and of one form, so that they compare as text.
        if key.kind == CRON_JOB and not status.get("active") and scheduled > succeeded:
            namespace = f"-n {key.namespace}"
            return Trouble(
                "LastRunFailed",
                f"{key} failed at {scheduled}{f'; it succeeded last at {succeeded}' if succeeded else ''}. Until it "
                "succeeds no partitions are made ahead and spec.store.retentionDays is not applied; events are taken "
                f"and stored all the same. Run it now and read why: kubectl {namespace} create job maintain-now "
                f"--from=cronjob/{key.name} && kubectl {namespace} logs --follow job/maintain-now",
            )
    return None


def unmonitored(monitoring: Monitoring, live: Mapping[Key, Object]) -> Trouble | None:
    """What `monitoring` asks for and a pass has not made: only of kinds that the cluster does not serve."""
    wanted = {SERVICE_MONITOR: monitoring.service_monitor, PROMETHEUS_RULE: monitoring.alerts}
    there = {key.kind for key in live}
    missing = " and no ".join(kind.kind for kind, asked in wanted.items() if asked and kind not in there)
    if not missing:
        return None
    return Trouble(
        "KindNotServed",
        f"spec.monitoring asks for it, but the cluster knows no {missing}. Install the Prometheus operator, and it is "
        f"made within six minutes; or take the switch away.",
    )


def _workload(item: Object, objects: Objects) -> WorkloadSeen:
    status = item.get("status", {})
    replicas = status.get("replicas", 0)
    return WorkloadSeen(
        name=item["metadata"]["name"],
        current=status.get("observedGeneration", 0) >= item["metadata"].get("generation", 0),
        wanted=item["spec"].get("replicas", 1),
        # A StatefulSet whose update is over no longer counts.
        updated=status.get("updatedReplicas", replicas if _is_updated(status) else 0),
        ready=status.get("readyReplicas", 0),
        replicas=replicas,
        leaving=sum("deletionTimestamp" in pod["metadata"] for pod in pods_of(item, objects.pods)),
        troubles=tuple(dict.fromkeys(_troubles(item, objects))),
    )


def _is_updated(status: Object) -> bool:
    return bool(status.get("currentRevision")) and status.get("currentRevision") == status.get("updateRevision")


def pods_of(workload: Object, pods: Iterable[Object]) -> Iterator[Object]:
    selector = workload["spec"]["selector"].get("matchLabels", {}).items()
    return (pod for pod in pods if selector <= pod["metadata"].get("labels", {}).items())


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(entry["type"] == "Ready" and entry["status"] == "True" for entry in conditions)


def _troubles(workload: Object, objects: Objects) -> Iterator[Trouble]:
    """What keeps pods of a workload from being made, placed, started or ready; what comes first matters most."""
    for condition in workload.get("status", {}).get("conditions", []):
        if condition["type"] == "ReplicaFailure" and condition["status"] == "True":
            yield _creation(_called(workload), condition.get("message", ""))
    for event in _about(workload, objects.events):
        if event.get("reason") == "FailedCreate":
            yield _creation(_called(workload), event.get("message", ""))
    for pod in pods_of(workload, objects.pods):
        if not is_ready(pod) and not pod["metadata"].get("deletionTimestamp"):
            yield from _claims(pod, objects)
            yield from _pod(pod, objects.answers.get(pod["metadata"]["name"], {}))


def _creation(called: str, message: str) -> Trouble:
    if "exceeded quota" in message:
        return Trouble(
            "QuotaExceeded",
            f"{called} cannot make pods: {message}. Raise the ResourceQuota of the namespace, or ask for less in spec.",
        )
    if "violates PodSecurity" in message:
        return Trouble(
            "PodSecurityViolated",
            f"{called} cannot make pods: {message}. The namespace enforces a Pod Security Standard.",
        )
    return Trouble(
        "PodsRefused",
        f"{called} cannot make pods: {message}. Ask for less in spec, or have the namespace allow it.",
    )


def _claims(pod: Object, objects: Objects) -> Iterator[Trouble]:
    names = [
        v["persistentVolumeClaim"]["claimName"] for v in pod["spec"].get("volumes", []) if "persistentVolumeClaim" in v
    ]
    for claim in objects.claims:
        name = claim["metadata"]["name"]
        if name in names and claim.get("status", {}).get("phase") != "Bound":
            said = [event.get("message", "") for event in _about(claim, objects.events)]
            wanted = claim["spec"].get("storageClassName")
            storage_class = f"StorageClass {wanted}" if wanted else "the cluster's default StorageClass"
            yield Trouble(
                "VolumePending",
                f"PersistentVolumeClaim {name} waits for a volume{': ' + said[-1] if said else ''}. "
                f"Check that {storage_class} exists and can make volumes of this size (kubectl describe pvc {name}).",
            )


def _pod(pod: Object, answers: Mapping[str, str]) -> Iterator[Trouble]:
    status = pod.get("status", {})
    name = pod["metadata"]["name"]
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition.get("reason") == "Unschedulable":
            yield Trouble(
                "Unschedulable",
                f"pod {name} fits on no node: {condition.get('message', '')} Add nodes, or ask for less in spec.",
            )
    if status.get("reason") == "Evicted":
        yield Trouble("Evicted", f"pod {name} was evicted: {status.get('message', '')}")
    for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
        yield from _container(name, container)
    for dependency, fault in answers.items():
        reason = {"stream": "StreamUnavailable", "store": "PostgresRefuses"}.get(dependency, "NotReady")
        yield Trouble(reason, f"pod {name} is not ready: {dependency}: {fault}")


def _container(pod: str, container: Object) -> Iterator[Trouble]:
    waiting = container.get("state", {}).get("waiting", {})
    reason, said = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _PULL_REASONS:
        yield Trouble(
            "ImageCannotBePulled",
            f"pod {pod} cannot pull image {container.get('image')}: {said or reason}. Check the image's name, that the "
            "registry can be reached, and imagePullSecrets.",
        )
    elif reason in _CONFIG_REASONS:
        yield Trouble("ContainerCannotStart", f"pod {pod}, container {container['name']}: {said or reason}")
    ended = (container.get("lastState") or {}).get("terminated") or container.get("state", {}).get("terminated") or {}
    if ended.get("reason") == "OOMKilled":
        yield Trouble(
            "OutOfMemory",
            f"pod {pod}, container {container['name']} used more than its memory limit. Raise limits.memory.",
        )
    elif reason == "CrashLoopBackOff":
        yield Trouble("CrashLooping", _crash(pod, container["name"], ended))


def _crash(pod: str, container: str, ended: Object) -> str:
    """With the last lines of its log, which the kubelet keeps where the pod says `FallbackToLogsOnError`."""
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    said = f": {lines[-1].strip()[:400]}" if lines else ""
    code = ended.get("exitCode", "?")
    return f"pod {pod}, container {container} ends again and again with code {code}{said} (kubectl logs {pod} -p)"


def _about(item: Object, events: Iterable[Object]) -> list[Object]:
    """The warnings about an object, the oldest first."""
    uid = item["metadata"].get("uid")
    found = [event for event in events if event.get("involvedObject", {}).get("uid") == uid]
    return sorted(found, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))


def _called(item: Object) -> str:
    return f"{item['kind']} {item['metadata']['name']}"
