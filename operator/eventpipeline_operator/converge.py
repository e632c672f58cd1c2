"""Makes the cluster hold what was rendered: applies what differs, deletes what is no longer rendered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from eventpipeline.spec import EventPipeline
from eventpipeline_operator.carry import carried, claims_to_grow
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.drift import differences, is_drift, is_own_update, whole_lists
from eventpipeline_operator.errors import Refused
from eventpipeline_operator.objects import (
    MANAGED_BY_LABEL,
    MANAGER,
    PIPELINE_LABEL,
    RENDERED_KINDS,
    STATEFUL_SET,
    Key,
    Object,
    is_owned,
)
from eventpipeline_operator.observe import Trouble


@dataclass
class Changes:
    """What a pass did, for its Events and metrics."""

    created: list[Key] = field(default_factory=list)
    updated: list[Key] = field(default_factory=list)
    put_back: dict[Key, list[str]] = field(default_factory=dict)
    pruned: list[Key] = field(default_factory=list)
    grown: dict[Key, str] = field(default_factory=dict)
    refused: dict[Key, Refused] = field(default_factory=dict)

    @property
    def writes(self) -> int:
        return sum(map(len, (self.created, self.updated, self.put_back, self.pruned, self.grown)))

    @property
    def failure(self) -> Trouble | None:
        """The first object that the API server refuses."""
        for key, error in self.refused.items():
            return Trouble(error.reason, f"{key}: {error}")
        return None


async def live_objects(cluster: Cluster, pipeline: EventPipeline) -> dict[Key, Object]:
    """What there is of the rendered kinds with the label of `pipeline`."""
    name, namespace = pipeline.metadata.name, pipeline.metadata.namespace or ""
    listings = await asyncio.gather(
        *(cluster.list_all(kind, namespace, labels={PIPELINE_LABEL: name}) for kind in RENDERED_KINDS)
    )
    return {key: item for listing in listings for key, item in listing.items()}


async def converge(
    cluster: Cluster, pipeline: EventPipeline, wanted: Mapping[Key, Object], live: Mapping[Key, Object]
) -> Changes:
    """Applies `wanted`, in its order, and prunes. One object that is refused does not keep the others back.

    Raises Conflict and Unavailable.
    """
    changes = Changes()
    for key, item in wanted.items():
        try:
            await _apply(cluster, pipeline, key, item, live.get(key), changes)
        except Refused as error:
            changes.refused[key] = error
    if not changes.refused:
        for key, item in live.items():
            if key not in wanted and is_owned(item, pipeline.metadata.uid):
                await cluster.delete(item)
                changes.pruned.append(key)
    return changes


async def _apply(
    cluster: Cluster, pipeline: EventPipeline, key: Key, item: Object, live: Object | None, changes: Changes
) -> None:
    if live is None:
        live = await _unlabelled(cluster, pipeline, key)
    if live is None:
        await cluster.apply(item)
        changes.created.append(key)
        return
    carry = carried(item, live)
    different = differences(carry.item, live)
    if not different and not carry.let_go:
        return
    drifted = is_drift(item, live) and not carry.let_go
    try:
        after = await cluster.apply(carry.item)
    except Refused:
        if not drifted or not await _overwritten(cluster, key, carry.item, different):
            raise
        after = await cluster.apply(carry.item)
    if after["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]:
        return  # what differs is only how the API server writes it
    if drifted:
        changes.put_back[key] = different
    else:
        changes.updated.append(key)


async def _overwritten(cluster: Cluster, key: Key, item: Object, paths: list[str]) -> bool:
    """Takes what somebody left in lists out of the way, such as a second port of one name; false where it is none."""
    patch = whole_lists(item, paths)
    if not patch:
        return False
    after = await cluster.merge(key, patch)
    # The record of this write would keep the fields alive when they are no longer rendered.
    fields = [entry for entry in after["metadata"]["managedFields"] if not is_own_update(entry)]
    await cluster.merge(key, {"metadata": {"managedFields": fields}})
    return True


async def _unlabelled(cluster: Cluster, pipeline: EventPipeline, key: Key) -> Object | None:
    """An object of that name without our label: ours, if somebody took the label away. Raises Refused for others'."""
    found = await cluster.get(key)
    if found is None or is_owned(found, pipeline.metadata.uid):
        return found
    labels = found["metadata"].get("labels", {})
    if labels.get(MANAGED_BY_LABEL) == MANAGER and labels.get(PIPELINE_LABEL) == pipeline.metadata.name:
        return found
    raise Refused(
        "an object of this name is there already and belongs to somebody else. Rename or delete it, or give the "
        "pipeline another name.",
        "NameTaken",
    )


async def grow_claims(
    cluster: Cluster, wanted: Mapping[Key, Object], claims: Mapping[Key, Object], changes: Changes
) -> None:
    """Patches the claims that are smaller than they should be."""
    for item in (item for key, item in wanted.items() if key.kind == STATEFUL_SET):
        for key, size in claims_to_grow(item, dict(claims)).items():
            try:
                await cluster.merge(key, {"spec": {"resources": {"requests": {"storage": size}}}})
            except Refused as error:
                storage_class = claims[key]["spec"].get("storageClassName", "")
                changes.refused[key] = Refused(
                    f"the volume cannot grow to {size}, and everything goes on with the size it has: {error}. Set "
                    f"allowVolumeExpansion on StorageClass {storage_class} where its driver can do it; else make a new "
                    "pipeline with larger volumes.",
                    "VolumeCannotGrow",
                )
            else:
                changes.grown[key] = size
