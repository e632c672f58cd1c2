"""What was planned and what was seen -> status. Pure.

Ready is True where all of StreamReady, StoreReady, GatewayReady, CollectorsReady and ReporterReady are. Others (`Open`,
`VolumesGrowing`, `Paused`, `MaintenanceFailing`, `MonitoringMissing`, `PasswordRotationWaits`) only inform; they stand
there only while they are so.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Literal

from eventpipeline.plan import GATEWAY_PORT, REPORTER_PORT, Plan, Workload
from eventpipeline.spec import (
    Condition,
    Endpoints,
    EventPipeline,
    EventPipelineStatus,
    ExternalTls,
    Ingress,
    SourceStatus,
)
from eventpipeline_operator.observe import RotationWaits, Seen, Trouble, WorkloadSeen

PARTS = ("StreamReady", "StoreReady", "GatewayReady", "CollectorsReady", "ReporterReady")
PASSING = ("Missing", "Starting", "PartlyReady", "RollingOut")
"""Reasons that only need time; the others need a person."""
_MESSAGE_LENGTH = 2048
State = Literal["True", "False", "Unknown"]


def status(
    pipeline: EventPipeline, plan: Plan, seen: Seen, *, draining: Sequence[Workload] = (), now: datetime | None = None
) -> EventPipelineStatus:
    """The status of `pipeline`; times of conditions that stay as they were are kept from the status it has."""
    previous = pipeline.status or EventPipelineStatus()
    parts = (
        _stream(pipeline, plan, seen),
        _store(pipeline, plan, seen),
        _service("GatewayReady", plan.gateway, seen),
        _collectors((*plan.collectors, *draining), seen),
        _service("ReporterReady", plan.reporter, seen),
    )
    conditions = [_ready(parts, seen.failure), *parts, *_notices(pipeline, seen)]
    sources = (
        *(_source(workload, "Active", previous, seen) for workload in plan.collectors),
        *(_source(workload, "Draining", previous, seen) for workload in draining),
    )
    return EventPipelineStatus(
        observed_generation=pipeline.metadata.generation,
        conditions=_stamped(conditions, previous.conditions, pipeline.metadata.generation, now or datetime.now(UTC)),
        endpoints=_endpoints(pipeline),
        sources=sources,
        pending=sum(source.pending for source in sources),
        dead_letters=sum(source.dead_letters for source in sources),
    )


def invalid(
    previous: EventPipelineStatus, generation: int | None, trouble: Trouble, now: datetime | None = None
) -> EventPipelineStatus:
    """The status of a resource that cannot be understood: what runs stays as it was described."""
    kept = [condition for condition in previous.conditions if condition.type != "Ready"]
    ready = _condition("Ready", "False", trouble.reason, trouble.message)
    moment = now or datetime.now(UTC)
    stamped = _stamped([ready], previous.conditions, generation, moment)
    return previous.model_copy(update={"observed_generation": generation, "conditions": (*stamped, *kept)})


def source_of(workload: Workload) -> str:
    return workload.name.removesuffix("-collector")


# --- conditions ------------------------------------------------------------------------------------------------------


def _condition(kind: str, state: State, reason: str, message: str) -> Condition:
    text = message if len(message) <= _MESSAGE_LENGTH else message[: _MESSAGE_LENGTH - 1] + "…"
    return Condition(type=kind, status=state, reason=reason, message=text)


def _ready(parts: Sequence[Condition], failure: Trouble | None) -> Condition:
    if failure:
        return _condition("Ready", "False", failure.reason, failure.message)
    bad = [part for part in parts if part.status != "True"]
    if not bad:
        return _condition("Ready", "True", "AllReady", "Every part works.")
    # What needs a person stands before what only needs time.
    first = next((part for part in bad if part.reason not in PASSING), bad[0])
    others = f" (also not ready: {', '.join(part.type for part in bad if part is not first)})" if len(bad) > 1 else ""
    state: State = "False" if any(part.status == "False" for part in bad) else "Unknown"
    return _condition("Ready", state, first.reason, f"{first.type}: {first.message}{others}")


def _stream(pipeline: EventPipeline, plan: Plan, seen: Seen) -> Condition:
    kind = "StreamReady"
    if plan.nats:
        server = _server(kind, "nats", plan.nats.replicas, seen)
        if server.status != "True":
            return server
    if seen.stream_fault:
        return _condition(kind, "False", "StreamUnavailable", f"{seen.stream_fault}{_check_nats(pipeline)}")
    if seen.stream_wrong:
        return _condition(kind, "False", "StreamMisconfigured", " ".join(seen.stream_wrong))
    if plan.nats:
        return _condition(kind, "True", "Ready", "NATS runs, and every stream and consumer is there.")
    return _condition(
        kind, "True", "DurabilityNotVerified",
        "The external NATS answers. Whether its sync_interval is always cannot be seen from outside; if it is not, a "
        "power cut may lose events that were answered 202.",
    )  # fmt: skip


def _check_nats(pipeline: EventPipeline) -> str:
    """What to do about a NATS of somebody else."""
    if not (external := pipeline.spec.stream.external):
        return ""
    reference = external.credentials_secret_ref
    place = f"Secret {reference.name}, key {reference.key}" if reference else "spec.stream.external.url"
    return (
        f". Check the address, user and password in {place}, that the server can be reached from the cluster, and that "
        f"it has JetStream.{_check_certificates('stream', external.tls)}"
    )


def _store(pipeline: EventPipeline, plan: Plan, seen: Seen) -> Condition:
    kind = "StoreReady"
    refused = _first(_refusals(seen))
    if plan.postgres:
        server = _server(kind, "postgres", 1, seen)
        if server.status != "True" or not refused:
            return server
    if refused:
        return _condition(kind, "False", refused.reason, f"{refused.message}{_check_postgres(pipeline)}")
    readers = [seen.workloads.get(workload.name) for workload in (*plan.collectors, plan.reporter)]
    if not any(workload and workload.ready for workload in readers):
        return _condition(kind, "Unknown", "Starting", "No service that uses the external Postgres is ready yet.")
    return _condition(kind, "True", "Ready", "The external Postgres answers.")


def _check_postgres(pipeline: EventPipeline) -> str:
    """What to do about a Postgres of somebody else."""
    if not (external := pipeline.spec.store.external):
        return ""
    reference = external.url_secret_ref
    return (
        f". Check the address, user and password in Secret {reference.name}, key {reference.key}, and that the server "
        f"can be reached from the cluster.{_check_certificates('store', external.tls)}"
    )


def _check_certificates(part: str, tls: ExternalTls | None) -> str:
    if tls is None:
        return ""
    client = f"; tls.crt and tls.key, Secret {tls.client_secret_name}" if tls.client_secret_name else ""
    return (
        f" Certificates are those of spec.{part}.external.tls: ca.crt, Secret {tls.ca_secret_ref.name}, key "
        f"{tls.ca_secret_ref.key}{client}. Correct a Secret, and the pods follow within a minute."
    )


def _refusals(seen: Seen) -> Iterable[Trouble]:
    return (
        trouble
        for workload in seen.workloads.values()
        for trouble in workload.troubles
        if trouble.reason == "PostgresRefuses"
    )


def _server(kind: str, name: str, replicas: int, seen: Seen) -> Condition:
    return _running(kind, seen.workloads.get(name), replicas, f"StatefulSet {name}")


def _service(kind: str, workload: Workload, seen: Seen) -> Condition:
    least = max(1, workload.autoscaling.min_replicas)
    return _running(kind, seen.workloads.get(workload.name), least, f"Deployment {workload.name}")


def _running(kind: str, workload: WorkloadSeen | None, least: int, called: str) -> Condition:
    if workload is None:
        return _condition(kind, "False", "Missing", f"{called} is not there yet.")
    trouble = _first(workload.troubles)
    also = f"; {trouble.message}" if trouble else ""
    counts = f"{workload.ready} of {workload.wanted} replicas of {workload.name} are ready"
    if workload.ready < min(least, workload.wanted) or not workload.ready:
        if trouble:
            return _condition(kind, "False", trouble.reason, f"{trouble.message} ({counts})")
        return _condition(kind, "False", "PartlyReady" if workload.ready else "Starting", counts)
    if not workload.current or workload.updated < min(least, workload.wanted) or workload.replicas > workload.updated:
        new = f"{workload.updated} of {workload.replicas} replicas of {workload.name} run the newest version"
        return _condition(kind, "False", trouble.reason if trouble else "RollingOut", f"It serves; {new}{also}")
    return _condition(kind, "True", "Ready", f"{counts}{also}")


def _collectors(workloads: Sequence[Workload], seen: Seen) -> Condition:
    kind = "CollectorsReady"
    each = [_service(kind, workload, seen) for workload in workloads]
    bad = [condition for condition in each if condition.status != "True"]
    if not bad:
        return _condition(kind, "True", "Ready", "; ".join(condition.message for condition in each))
    first = next((condition for condition in bad if condition.reason not in PASSING), bad[0])
    messages = [first.message, *(condition.message for condition in bad if condition is not first)]
    return _condition(kind, "False", first.reason, "; ".join(messages))


def _notices(pipeline: EventPipeline, seen: Seen) -> Iterable[Condition]:
    if openings := pipeline.spec.openings:
        reason = "NoAuthentication" if pipeline.spec.open_sources else "ReportsOpen"
        yield _condition("Open", "True", reason, " ".join(openings))
    if seen.growing:
        sizes = ", ".join(f"PersistentVolumeClaim {name} has {size}" for name, size in seen.growing.items())
        yield _condition(
            "VolumesGrowing", "True", "VolumesGrowing",
            f"{sizes}, less than spec asks for; limits follow when it has grown. Where it stays so, `kubectl describe "
            "pvc` says why.",
        )  # fmt: skip
    if pipeline.spec.paused:
        yield _condition(
            "Paused",
            "True",
            "Paused",
            "spec.paused is true: nothing is changed, and changes by others stay as they are.",
        )
    if seen.maintenance:
        yield _condition("MaintenanceFailing", "True", seen.maintenance.reason, seen.maintenance.message)
    if seen.unmonitored and not (pipeline.spec.paused or seen.failure):
        yield _condition("MonitoringMissing", "True", seen.unmonitored.reason, seen.unmonitored.message)
    if seen.rotation_waits:
        yield _rotation(pipeline, seen.rotation_waits)


def _rotation(pipeline: EventPipeline, waits: RotationWaits) -> Condition:
    kind = "PasswordRotationWaits"
    if waits.of == "nats":
        return _rotation_of_nats(kind, pipeline, waits)
    if store := pipeline.spec.store.external:
        return _condition(
            kind, "True", "ExternalDatabase",
            "The database is somebody else's: change its password there and in Secret "
            f"{store.url_secret_ref.name}, and the services follow within a minute. Then take the annotation away.",
        )  # fmt: skip
    return _condition(
        kind, "True", "RolloutUnderWay",
        "The database's password is rotated once Postgres, every collector and the reporter are ready and run the "
        "newest version: until then some of them need the present one.",
    )  # fmt: skip


def _rotation_of_nats(kind: str, pipeline: EventPipeline, waits: RotationWaits) -> Condition:
    if external := pipeline.spec.stream.external:
        reference = external.credentials_secret_ref
        where = f" and in Secret {reference.name}" if reference else ", and name a Secret in credentialsSecretRef"
        return _condition(
            kind, "True", "ExternalNats",
            f"NATS is somebody else's: change the password there{where}, and the services follow within a minute. Then "
            "take the annotation away.",
        )  # fmt: skip
    if waits.learning:
        return _condition(
            kind, "True", "ServersLearn",
            "The servers of NATS are learning the new passwords, for which the kubelet takes about a minute; until "
            f"then the services go on with the present ones. {waits.learning}.",
        )  # fmt: skip
    return _condition(
        kind, "True", "RolloutUnderWay",
        "The passwords of NATS are rotated once NATS, the gateway, every collector and the reporter are ready and run "
        "the newest version: until then some of them need the former ones.",
    )  # fmt: skip


def _first(troubles: Iterable[Trouble]) -> Trouble | None:
    return next(iter(troubles), None)


def _stamped(
    conditions: Iterable[Condition], previous: Iterable[Condition], generation: int | None, now: datetime
) -> tuple[Condition, ...]:
    """The conditions with their times: a time changes only where the status does."""
    before = {condition.type: condition for condition in previous}
    moment = now.isoformat(timespec="seconds").replace("+00:00", "Z")

    def time_of(condition: Condition) -> str:
        old = before.get(condition.type)
        return old.last_transition_time or moment if old and old.status == condition.status else moment

    return tuple(
        condition.model_copy(update={"observed_generation": generation, "last_transition_time": time_of(condition)})
        for condition in conditions
    )


# --- the rest --------------------------------------------------------------------------------------------------------


def _source(
    workload: Workload, state: Literal["Active", "Draining"], previous: EventPipelineStatus, seen: Seen
) -> SourceStatus:
    """Counts that nobody could say now stay as they were."""
    name = source_of(workload)
    old = next((source for source in previous.sources if source.name == name), SourceStatus(name=name))
    now, running = seen.sources.get(name), seen.workloads.get(workload.name)
    return SourceStatus(
        name=name,
        state=state,
        replicas=running.ready if running else 0,
        pending=old.pending if now is None or now.pending is None else now.pending,
        dead_letters=old.dead_letters if now is None or now.dead_letters is None else now.dead_letters,
    )


def _endpoints(pipeline: EventPipeline) -> Endpoints:
    return Endpoints(
        gateway=_endpoint(pipeline, "gateway", GATEWAY_PORT, pipeline.spec.gateway.ingress),
        reporter=_endpoint(pipeline, "reporter", REPORTER_PORT, pipeline.spec.reporter.ingress),
    )


def _endpoint(pipeline: EventPipeline, name: str, port: int, ingress: Ingress | None) -> str:
    if ingress:
        return f"{'https' if ingress.tls_secret_name else 'http'}://{ingress.host}"
    return f"http://{pipeline.metadata.name}-{name}.{pipeline.metadata.namespace}.svc:{port}"
