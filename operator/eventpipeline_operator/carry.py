"""What an apply carries over from the live object, since it cannot change or somebody else holds it. Pure.

- `spec.replicas` of a Deployment that has an autoscaler is not rendered. Where the operator has applied it before,
  leaving it out would make it 1; so the live count is applied until the autoscaler holds the field, then let go.
  Only a count of 0 is put back, to 1.
- The templates of a StatefulSet's volumes cannot change; the operator patches the claims themselves instead, and what
  runs is told of the new size when the volumes have it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from eventpipeline.spec import EventPipeline, quantity_bytes
from eventpipeline_operator.drift import owned_fields
from eventpipeline_operator.objects import CLAIM, MANAGER, Key, Object, key_of


@dataclass(frozen=True)
class Carried:
    """What to apply. `held`: only if nobody wrote in between. `let_go`: apply it although nothing differs."""

    item: Object
    held: bool = False
    let_go: bool = False


def carried(rendered: Object, live: Object) -> Carried:
    if rendered["kind"] == "Deployment" and "replicas" not in rendered["spec"]:
        return _replicas(rendered, live)
    if rendered["kind"] == "StatefulSet":
        return Carried(_templates(rendered, live))
    return Carried(rendered)


def _replicas(rendered: Object, live: Object) -> Carried:
    count = live["spec"].get("replicas", 1)
    if count == 0:
        # Somebody has scaled it to nothing. An autoscaler takes that for being switched off, and would never mend it.
        return _with_replicas(rendered, live, 1)
    if not _holds_replicas(owned_fields(live, MANAGER)):
        return Carried(rendered)
    if any(_holds_replicas(entry.get("fieldsV1", {})) for entry in _others(live)):
        return Carried(rendered, let_go=True)
    return _with_replicas(rendered, live, count)


def _with_replicas(rendered: Object, live: Object, count: int) -> Carried:
    item = copy.deepcopy(rendered)
    item["spec"]["replicas"] = count
    item["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"]
    return Carried(item, held=True)


def _others(live: Object) -> Iterator[Object]:
    for entry in live["metadata"].get("managedFields", []):
        if entry.get("manager") != MANAGER or entry.get("subresource") == "scale":
            yield entry


def _holds_replicas(fields: Object) -> bool:
    return "f:replicas" in fields.get("f:spec", {})


def _templates(rendered: Object, live: Object) -> Object:
    sizes = dict(_sizes(live))
    item = copy.deepcopy(rendered)
    for template in item["spec"].get("volumeClaimTemplates", []):
        if size := sizes.get(template["metadata"]["name"]):
            template["spec"]["resources"]["requests"]["storage"] = size
    return item


def _sizes(stateful_set: Object) -> Iterator[tuple[str, str]]:
    for template in stateful_set["spec"].get("volumeClaimTemplates", []):
        yield template["metadata"]["name"], template["spec"]["resources"]["requests"]["storage"]


def claims_to_grow(rendered: Object, claims: dict[Key, Object]) -> dict[Key, str]:
    """The claims of a rendered StatefulSet that are smaller than its templates say, and the size to give each."""
    key = key_of(rendered)
    found: dict[Key, str] = {}
    for template, size in _sizes(rendered):
        for ordinal in range(rendered["spec"].get("replicas", 1)):
            name = Key(CLAIM, key.namespace, f"{template}-{key.name}-{ordinal}")
            present = claims.get(name)
            if present and quantity_bytes(present["spec"]["resources"]["requests"]["storage"]) < quantity_bytes(size):
                found[name] = size
    return found


def within_volumes(pipeline: EventPipeline, claims: Mapping[Key, Object]) -> EventPipeline:
    """`pipeline` with no more storage than its volumes have now: what is to be planned for.

    A volume grows late, or never where its class cannot; a limit that went ahead of it would have a server run into the
    end of the disk.
    """
    stream, store = pipeline.spec.stream, pipeline.spec.store
    nats, postgres = (_too_small(server, pipeline, claims) for server in ("nats", "postgres"))
    if stream.managed and nats:
        size = min(nats.values(), key=quantity_bytes)
        stream = stream.model_copy(update={"nats": stream.managed.model_copy(update={"storage": size})})
    if store.managed and postgres:
        size = min(postgres.values(), key=quantity_bytes)
        store = store.model_copy(update={"postgres": store.managed.model_copy(update={"storage": size})})
    spec = pipeline.spec.model_copy(update={"stream": stream, "store": store})
    return pipeline.model_copy(update={"spec": spec})


def still_to_grow(pipeline: EventPipeline, claims: Mapping[Key, Object]) -> dict[Key, str]:
    """The claims whose volumes are smaller than spec says, and their capacities."""
    return {
        key: capacity
        for server in ("nats", "postgres")
        for key, capacity in _too_small(server, pipeline, claims).items()
    }


def _too_small(server: str, pipeline: EventPipeline, claims: Mapping[Key, Object]) -> dict[Key, str]:
    managed = pipeline.spec.stream.managed if server == "nats" else pipeline.spec.store.managed
    if managed is None:
        return {}
    return {
        key: capacity
        for key, claim in claims.items()
        if key.name.startswith(f"data-{pipeline.metadata.name}-{server}-")
        and (capacity := claim.get("status", {}).get("capacity", {}).get("storage"))
        and quantity_bytes(capacity) < quantity_bytes(managed.storage)
    }
