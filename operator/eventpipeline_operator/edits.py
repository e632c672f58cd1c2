"""Changes of a running pipeline that take several passes: a source that goes, a password that changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventpipeline.spec import EventPipeline
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.look import Looking
from eventpipeline_operator.objects import DEPLOYMENT, Key, Object, source_label
from eventpipeline_operator.observe import Objects, workloads_seen
from eventpipeline_operator.planned import (
    Planned,
    declared_live,
    droppable,
    may_rotate,
    planned,
    refused_sources,
    removed_sources,
    still_draining,
)
from eventpipeline_operator.secret import Credentials, login_role, rotate
from eventpipeline_operator.streams import StreamsSeen


@dataclass(frozen=True)
class Drained:
    """The plan with the sources that still drain; `dropped`: those whose stream went in this pass."""

    plans: Planned
    dropped: tuple[str, ...]
    left: bool
    """Whether there are streams that still have to go."""


async def drain(looking: Looking, pipeline: EventPipeline, streams: StreamsSeen, live: Mapping[Key, Object]) -> Drained:
    """Decides which sources drain, and drops the streams of those that nobody needs any more."""
    declared = declared_live(live)
    removed = removed_sources(pipeline, declared)
    if not (removed or streams.removed):
        return Drained(planned(pipeline, ()), (), left=False)
    pods = await looking.pods(pipeline)
    gateway = workloads_seen(pipeline.metadata.name, Objects(live, pods)).get("gateway")
    refused = refused_sources(removed, gateway, _taken(pipeline, live))
    draining = still_draining(pipeline, streams.pending, streams.removed, refused=refused, declared=declared)
    plans = planned(pipeline, draining, declared)
    collecting = {source_label(item) for item in (*pods, *live.values())}
    dropped = [name for name in droppable(plans, streams.removed, collecting) if await looking.drop(pipeline, name)]
    return Drained(plans, tuple(dropped), left=len(streams.removed) > len(dropped))


def _taken(pipeline: EventPipeline, live: Mapping[Key, Object]) -> list[str]:
    """The sources that the gateway's Deployment takes as it is now, whatever the spec says."""
    gateway = live.get(Key(DEPLOYMENT, pipeline.metadata.namespace or "", f"{pipeline.metadata.name}-gateway"))
    containers = gateway["spec"]["template"]["spec"]["containers"] if gateway else []
    variables = [entry for container in containers for entry in container.get("env", [])]
    return next((entry.get("value", "").split(",") for entry in variables if entry["name"] == "SOURCES"), [])


@dataclass(frozen=True)
class Rotation:
    """The credentials from now on. `made`: what was done, for an Event; `waits`: it was asked for and has not begun."""

    secrets: Credentials
    made: str | None = None
    waits: bool = False


async def rotate_if_asked(
    cluster: Cluster, looking: Looking, pipeline: EventPipeline, secrets: Credentials, live: Mapping[Key, Object]
) -> Rotation:
    """Rotates the database's password where the resource asks for it, once what runs has the present one.

    Raises Conflict where somebody else has changed the Secret.
    """
    if pipeline.spec.paused or not secrets.asked_to_rotate(pipeline):
        return Rotation(secrets)
    pods = await looking.pods(pipeline)
    if pipeline.spec.store.external or not may_rotate(workloads_seen(pipeline.metadata.name, Objects(live, pods))):
        return Rotation(secrets, waits=True)
    after = await rotate(cluster, pipeline, secrets)
    made = (
        f"rotated the database's password: the services are started anew and log in as {login_role(after)}; "
        f"the former password of {login_role(secrets)} is valid until the next rotation"
    )
    return Rotation(after, made)
