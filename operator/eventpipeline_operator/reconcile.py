"""One pass: from the present spec and the present cluster to the cluster as it should be, and its status.

Every trigger calls the same pass, and a pass over an unchanged pipeline writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from eventpipeline.resource import explained
from eventpipeline.spec import EventPipeline, EventPipelineStatus
from eventpipeline.telemetry import log
from eventpipeline_operator import status as statuses
from eventpipeline_operator.carry import still_to_grow, within_volumes
from eventpipeline_operator.cluster import Cluster, Versions
from eventpipeline_operator.converge import Changes, converge, grow_claims, live_objects
from eventpipeline_operator.draining import Drained, drain
from eventpipeline_operator.errors import Gone, InvalidResource, Refused, Unavailable
from eventpipeline_operator.look import Looking
from eventpipeline_operator.metrics import OperatorMetrics
from eventpipeline_operator.objects import PIPELINE, Key, Object, prepared
from eventpipeline_operator.observe import (
    Objects,
    Seen,
    SourceSeen,
    Trouble,
    maintenance,
    unmonitored,
    workloads_seen,
)
from eventpipeline_operator.planned import Planned, declared_live, planned, removed_sources
from eventpipeline_operator.rotation import Rotation, rotate_if_asked
from eventpipeline_operator.secret import Credentials, credentials
from eventpipeline_operator.streams import StreamsSeen
from eventpipeline_operator.triggers import Result, Target

_log = log("reconcile")
_SOON, _LATE, _WHILE_REFUSED = 5.0, 60.0, 30.0
_NAMED = 6
"""Objects that an Event names one by one; of more it says how many of each kind."""


class Renderer(Protocol):
    """The plan as objects. Raises Refused where it cannot be rendered."""

    async def __call__(
        self, pipeline: EventPipeline, planned: Planned, credentials: Credentials, versions: Versions
    ) -> Sequence[Object]: ...


@dataclass(frozen=True)
class Reconciler:
    cluster: Cluster
    render: Renderer
    looking: Looking
    metrics: OperatorMetrics

    async def __call__(self, target: Target) -> Result:
        """One pass over `target`; errors become a condition, a retry, or the end of it."""
        with self.metrics.passing() as outcome:
            try:
                return await self._pass(target)
            except Gone:
                await self.looking.forget(target.uid)
                return Result()
            except Unavailable as error:
                outcome.failed(error.reason)
                _log.warning("a pass is tried again", pipeline=str(target), reason=error.reason, error=str(error))
                return Result(failed=True)

    async def _pass(self, target: Target) -> Result:
        body = await self.cluster.get(Key(PIPELINE, target.namespace, target.name))
        if body is None or body["metadata"]["uid"] != target.uid or body["metadata"].get("deletionTimestamp"):
            raise Gone(str(target))
        try:
            pipeline = parsed(body)
            seen, drained = await self._converge(pipeline, body)
        except (InvalidResource, Refused) as error:
            self.metrics.refused(error.reason)
            trouble = Trouble(error.reason, str(error))
            await self._write(body, statuses.invalid(_status_of(body), body["metadata"].get("generation"), trouble))
            # What is invalid stays so until the resource changes; what is refused may be mended elsewhere.
            return Result(again_after=_WHILE_REFUSED if isinstance(error, Refused) else None)
        plans = drained.plans
        status = statuses.status(pipeline, plans.plan, seen, draining=plans.draining)
        await self._write(body, status)
        if seen.failure:
            return Result(again_after=_WHILE_REFUSED)
        pending = drained.left or seen.rotation_waits is not None or bool(plans.draining)
        return Result(again_after=_again(status, pending=pending, now=datetime.now(UTC)))

    async def _converge(self, pipeline: EventPipeline, body: Object) -> tuple[Seen, Drained]:
        paused = pipeline.spec.paused
        secrets = await credentials(self.cluster, pipeline, write=not paused)
        live = await live_objects(self.cluster, pipeline)
        rotation = await rotate_if_asked(self.cluster, self.looking, pipeline, secrets, live)
        before = workloads_seen(pipeline.metadata.name, Objects(live))
        claims = await self.looking.claims(pipeline)
        sized = within_volumes(pipeline, claims)
        declared = declared_live(live)
        known = planned(sized, removed_sources(pipeline, declared), declared)
        streams = await self.looking.streams(pipeline, known, rotation.secrets, before, write=not paused)
        drained = await drain(self.looking, sized, streams, live)
        changes = Changes()
        if not paused:
            rendered = await self.render(pipeline, drained.plans, rotation.secrets, await self.cluster.versions())
            try:
                wanted = prepared(rendered, pipeline)
            except ValueError as error:
                raise Refused(str(error), "RenderFailed") from error
            changes = await converge(self.cluster, pipeline, wanted, live)
            await grow_claims(self.cluster, wanted, claims, changes)
            if changes.writes:
                live = await live_objects(self.cluster, pipeline)
            await self._report(body, changes)
            await self._report_edits(body, streams, drained, rotation)
        seen = await self.looking.seen(pipeline, live)
        return replace(
            seen,
            sources=_sources(drained.plans, streams, await self.looking.dead_letters(pipeline, seen)),
            stream_fault=streams.fault,
            stream_wrong=streams.wrong,
            maintenance=maintenance(live),
            unmonitored=unmonitored(pipeline.spec.monitoring, live),
            rotation_waits=rotation.waits,
            growing={key.name: size for key, size in still_to_grow(pipeline, claims).items()},
            failure=changes.failure,
        ), drained

    async def _write(self, body: Object, status: EventPipelineStatus) -> None:
        """Writes the status where it differs, with an Event where Ready changes."""
        wanted = status.model_dump(mode="json", by_alias=True, exclude_none=True)
        if wanted == body.get("status"):
            return
        conditions = body.get("status", {}).get("conditions", [])
        before: Object = next((entry for entry in conditions if entry["type"] == "Ready"), {})
        await self.cluster.patch_status(Key(PIPELINE, body["metadata"]["namespace"], body["metadata"]["name"]), wanted)
        self.metrics.wrote("status")
        ready = next(condition for condition in status.conditions if condition.type == "Ready")
        if (before.get("status"), before.get("reason")) != (ready.status, ready.reason):
            good = ready.status == "True" or ready.reason in statuses.PASSING
            await self.cluster.emit(body, "Normal" if good else "Warning", ready.reason, ready.message)

    async def _report(self, body: Object, changes: Changes) -> None:
        """An Event for what was done; one for each object that somebody else had changed."""
        self.metrics.applied(changes)
        emit = self.cluster.emit
        for reason, verb, keys in (
            ("Created", "made", changes.created),
            ("Updated", "changed", changes.updated),
            ("Pruned", "deleted", changes.pruned),
        ):
            if keys:
                await emit(body, "Normal", reason, f"{verb} {_listed(keys)}")
        for key, paths in changes.put_back.items():
            await emit(
                body, "Warning", "DriftPutBack", f"put back {', '.join(paths)} of {key}, which somebody had changed"
            )
        for key, size in changes.grown.items():
            await emit(body, "Normal", "VolumeGrown", f"asked for {size} for {key}")

    async def _report_edits(self, body: Object, streams: StreamsSeen, drained: Drained, rotation: Rotation) -> None:
        for message in streams.changed:
            await self.cluster.emit(body, "Normal", "StreamChanged", message)
        for message in streams.put_back:
            await self.cluster.emit(body, "Warning", "DriftPutBack", message)
        for source in drained.dropped:
            message = f"source {source} was removed and everything of it is stored: dropped its stream"
            await self.cluster.emit(body, "Normal", "SourceDrained", message)
        for message in rotation.made:
            await self.cluster.emit(body, "Normal", "PasswordRotated", message)


def _listed(keys: Sequence[Key]) -> str:
    if len(keys) <= _NAMED:
        return ", ".join(map(str, keys))
    counts = Counter(key.kind.kind for key in keys)
    return f"{len(keys)} objects: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())


def parsed(body: Object) -> EventPipeline:
    """The resource as a model. Raises InvalidResource with every fault and its field."""
    try:
        return EventPipeline.model_validate(body)
    except ValidationError as error:
        faults = "; ".join(map(str, explained(error)))
        raise InvalidResource(f"{faults}. What runs is left as it is until this is corrected.") from error


def _status_of(body: Object) -> EventPipelineStatus:
    """The status that is there; an empty one where it cannot be understood."""
    try:
        return EventPipelineStatus.model_validate(body.get("status", {}))
    except ValidationError:
        return EventPipelineStatus()


def _again(status: EventPipelineStatus, *, pending: bool, now: datetime) -> float | None:
    """Seconds until the next look: soon where something is awaited, less and less often the longer it takes.

    What pods do, the watches tell; the rest (warnings, answers of services, the stream) has to be asked for. `pending`:
    a change of the pipeline is under way that goes on in the next pass.
    """
    if pending:
        return _SOON
    ready = next(condition for condition in status.conditions if condition.type == "Ready")
    if ready.status == "True":
        return None
    since = now - datetime.fromisoformat(ready.last_transition_time or now.isoformat())
    return min(max(_SOON, since.total_seconds() / 4), _LATE)


def _sources(plans: Planned, streams: StreamsSeen, dead: Mapping[str, int]) -> dict[str, SourceSeen]:
    return {name: SourceSeen(pending=streams.pending.get(name), dead_letters=dead.get(name)) for name in plans.sources}
