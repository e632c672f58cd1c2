"""Sources that are removed from a running pipeline: their collectors go when everything of them is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from eventpipeline.spec import EventPipeline
from eventpipeline_operator.look import Looking
from eventpipeline_operator.objects import DEPLOYMENT, Key, Object, source_label
from eventpipeline_operator.observe import Objects, workloads_seen
from eventpipeline_operator.planned import (
    Planned,
    declared_live,
    droppable,
    planned,
    refused_sources,
    removed_sources,
    still_draining,
)
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
