"""Raw objects of Kubernetes become troubles, each with the object's name and what to do."""

from __future__ import annotations

from typing import Any

import pytest

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
from eventpipeline_operator.observe import Objects, WorkloadSeen, maintenance, unmonitored, workloads_seen

KEY = Key(DEPLOYMENT, "shop", "marketing-gateway")


def deployment(**status: Any) -> Object:
    return {
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": KEY.name, "namespace": "shop", "uid": "d1", "generation": 2},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "gateway"}}},
        "status": {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1} | status,
    }  # fmt: skip


def pod(**status: Any) -> Object:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}
    return {
        "metadata": {"name": "gateway-x", "labels": {"app": "gateway"}, "uid": "p1"},
        "spec": {"containers": [], "volumes": [volume]},
        "status": status,
    }


def waiting(reason: str, message: str = "", **more: Any) -> Object:
    state = {"state": {"waiting": {"reason": reason, "message": message}}}
    return pod(containerStatuses=[{"name": "gateway", "image": "shop/eventpipeline:9"} | state | more])


def ended(reason: str, code: int, message: str = "") -> dict[str, Any]:
    return {"lastState": {"terminated": {"reason": reason, "exitCode": code, "message": message}}}


def look(
    item: Object, *pods: Object, claims: tuple[Object, ...] = (), events: tuple[Object, ...] = (), **answers: Any
) -> WorkloadSeen:
    key = Key(DEPLOYMENT if item["kind"] == "Deployment" else STATEFUL_SET, "shop", item["metadata"]["name"])
    found = workloads_seen("marketing", Objects({key: item}, pods, claims, events, answers.get("answers", {})))
    return found["gateway"]


def warning(uid: str, reason: str, message: str) -> Object:
    return {
        "involvedObject": {"uid": uid},
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-11-24T12:00:00Z",
    }


QUOTA = 'pods "gateway-x" is forbidden: exceeded quota: small, requested: cpu=1, used: cpu=4, limited: cpu=4'
SECURITY = 'pods "gateway-x" is forbidden: violates PodSecurity "restricted:latest"'
CLAIM = {
    "metadata": {"name": "data-0", "uid": "c1"},
    "spec": {"storageClassName": "fast"},
    "status": {"phase": "Pending"},
}
UNSCHEDULABLE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes: Insufficient cpu.",
}


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (
            look(deployment(), waiting("ImagePullBackOff", "not found")),
            "ImageCannotBePulled",
            ("gateway-x", "shop/eventpipeline:9", "imagePullSecrets"),
        ),
        (look(deployment(), waiting("ErrImagePull")), "ImageCannotBePulled", ("gateway-x",)),
        (
            look(deployment(), waiting("CreateContainerConfigError", 'secret "db" not found')),
            "ContainerCannotStart",
            ('secret "db"',),
        ),
        (
            look(
                deployment(),
                waiting("CrashLoopBackOff", **ended("Error", 2, "starting\nsettings: NATS_URL: missing\n")),
            ),
            "CrashLooping",
            ("gateway-x", "code 2", "settings: NATS_URL: missing", "kubectl logs gateway-x -p"),
        ),
        (look(deployment(), waiting("CrashLoopBackOff", **ended("OOMKilled", 137))), "OutOfMemory", ("limits.memory",)),
        (look(deployment(), pod(conditions=[UNSCHEDULABLE])), "Unschedulable", ("gateway-x", "Insufficient cpu")),
        (
            look(deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": QUOTA}])),
            "QuotaExceeded",
            ("Deployment marketing-gateway", "small", "ResourceQuota"),
        ),
        (
            look(deployment(conditions=[{"type": "ReplicaFailure", "status": "True", "message": SECURITY}])),
            "PodSecurityViolated",
            ("restricted",),
        ),
        (
            look(deployment(), events=(warning("d1", "FailedCreate", QUOTA),)),
            "QuotaExceeded",
            ("Deployment marketing-gateway",),
        ),
        (
            look(
                deployment(),
                pod(),
                claims=(CLAIM,),
                events=(warning("c1", "ProvisioningFailed", 'storageclass "fast" not found'),),
            ),
            "VolumePending",
            ("PersistentVolumeClaim data-0", 'storageclass "fast" not found', "StorageClass fast"),
        ),
        (
            look(
                deployment(),
                pod(phase="Running"),
                answers={"gateway-x": {"store": "Postgres did not answer: password"}},
            ),
            "PostgresRefuses",
            ("gateway-x", "password"),
        ),
        (
            look(deployment(), pod(), answers={"gateway-x": {"stream": "NATS is not connected"}}),
            "StreamUnavailable",
            ("gateway-x",),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_troubles(seen: WorkloadSeen, reason: str, words: tuple[str, ...]) -> None:
    first = seen.troubles[0]
    assert first.reason == reason
    for word in words:
        assert word in first.message


def test_pods_that_are_ready_or_going_or_of_others_are_no_trouble() -> None:
    ready = waiting("ImagePullBackOff")
    ready["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    going = waiting("ImagePullBackOff")
    going["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    other = waiting("ImagePullBackOff")
    other["metadata"]["labels"] = {"app": "reporter"}
    assert look(deployment(), ready, going, other).troubles == ()


def test_a_spec_that_its_controller_has_not_seen_is_not_current() -> None:
    assert look(deployment()).current
    assert not look(deployment(observedGeneration=1)).current
    assert not look(deployment() | {"status": {}}).current


def test_an_updated_stateful_set() -> None:
    item = deployment() | {"kind": "StatefulSet"}
    item["status"] = {
        "observedGeneration": 2,
        "replicas": 3,
        "readyReplicas": 3,
        "currentRevision": "a",
        "updateRevision": "a",
    }
    assert look(item).updated == 3
    item["status"]["updateRevision"] = "b"
    assert look(item).updated == 0


def test_pods_that_are_ending_are_counted_which_no_status_does() -> None:
    going = pod()
    going["metadata"]["deletionTimestamp"] = "2026-11-24T12:00:00Z"
    assert look(deployment(), pod(), going).leaving == 1
    assert look(deployment(), pod()).leaving == 0


def cron_job(**status: Any) -> dict[Key, Object]:
    return {Key(CRON_JOB, "shop", "marketing-maintain"): {"status": status}, KEY: deployment()}


def test_maintenance_whose_last_run_failed() -> None:
    failed = {"lastScheduleTime": "2026-11-24T13:07:00Z"}
    for status in (failed, failed | {"lastSuccessfulTime": "2026-11-24T12:07:09Z"}):
        trouble = maintenance(cron_job(**status))
        assert trouble
        assert "kubectl -n shop create job maintain-now --from=cronjob/marketing-maintain" in trouble.message


@pytest.mark.parametrize(
    "status",
    [
        {},
        {"lastScheduleTime": "2026-11-24T13:07:00Z", "active": [{"name": "marketing-maintain-1"}]},
        {"lastScheduleTime": "2026-11-24T13:07:00Z", "lastSuccessfulTime": "2026-11-24T13:07:09Z"},
    ],
    ids=["never ran", "runs", "succeeded"],
)
def test_maintenance_that_works(status: dict[str, Any]) -> None:
    assert maintenance(cron_job(**status)) is None


def test_monitoring_that_was_asked_for_and_not_made() -> None:
    wanted = Monitoring(service_monitor=True, alerts=True, dashboards=True)
    rule = {Key(PROMETHEUS_RULE, "shop", "marketing"): {}}
    monitor = {Key(SERVICE_MONITOR, "shop", "marketing"): {}}
    assert unmonitored(wanted, rule | monitor) is None
    assert unmonitored(Monitoring(dashboards=True), {}) is None
    for live, missing in (
        (rule, "no ServiceMonitor."),
        (monitor, "no PrometheusRule."),
        ({}, "no ServiceMonitor and no"),
    ):
        trouble = unmonitored(wanted, live)
        assert trouble
        assert missing in trouble.message
