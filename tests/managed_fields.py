"""Every field of an object that a manager set by server-side apply, and ways to edit each by hand.

The fields are read from the object's own record (FieldsV1 of metadata.managedFields), not from what rendered it; within
what the record takes as a whole, such as a list of arguments, every value counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
Step = str | int

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True)
class Leaf:
    """One value. `steps` lead to it in the object as it is read.

    `is_key`: it tells the items of a list apart, so that another value makes it another item.
    """

    steps: tuple[Step, ...]
    value: Any
    is_key: bool = False

    @property
    def pointer(self) -> str:
        """As a JSON pointer (RFC 6901)."""
        return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in self.steps)


def leaves(item: Object, manager: str) -> list[Leaf]:
    found: dict[tuple[Step, ...], Leaf] = {}
    for entry in item["metadata"]["managedFields"]:
        if entry["manager"] == manager and entry["operation"] == "Apply" and not entry.get("subresource"):
            for leaf in _managed(entry["fieldsV1"], item, ()):
                found[leaf.steps] = leaf
    return list(found.values())


def _managed(fields: Object, value: Any, steps: tuple[Step, ...]) -> Iterator[Leaf]:
    inner = {name: part for name, part in fields.items() if name != "."}
    if not inner:
        yield from _values(value, steps)
    for name, part in inner.items():
        step = _step(name, value)
        if step is None:
            continue
        found = _managed(part, value[step], (*steps, step))
        keys = json.loads(name[2:]) if name.startswith("k:") else {}
        own = len(steps) + 2
        yield from (
            Leaf(leaf.steps, leaf.value, (len(leaf.steps) == own and leaf.steps[-1] in keys) or leaf.is_key)
            for leaf in found
        )


def _step(name: str, value: Any) -> Step | None:
    """Where a part of FieldsV1 is; None for what the API server has left out because it is empty."""
    kind, _, rest = name.partition(":")
    if kind == "f":
        return rest if rest in value else None
    wanted = json.loads(rest)
    if kind == "k":
        return next(index for index, part in enumerate(value) if wanted.items() <= part.items())
    return next(index for index, part in enumerate(value) if part == wanted)


def _values(value: Any, steps: tuple[Step, ...]) -> Iterator[Leaf]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _values(part, (*steps, name))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from _values(part, (*steps, index))
    else:
        yield Leaf(steps, value)


def edits(leaf: Leaf) -> list[Any]:
    """Other values, likely ones first: the API server refuses what a field cannot be."""
    value = leaf.value
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    found: list[Any] = [f"{value}x", "Other", "other"]
    if _NUMBER.search(value):  # an amount, a percentage, an address
        found.insert(0, _NUMBER.sub(lambda match: str(int(match[0]) + 1), value, count=1))
    return [*found, *_WORDS.get(value, ())]


_WORDS = {
    "TCP": ("UDP",), "ClusterIP": ("NodePort",), "IfNotPresent": ("Always",), "RollingUpdate": ("Recreate", "OnDelete"),
    "RuntimeDefault": ("Unconfined",), "OnFailure": ("Never",), "Forbid": ("Allow",), "Retain": ("Delete",),
    "Delete": ("Retain",), "ScheduleAnyway": ("DoNotSchedule",), "Parallel": ("OrderedReady",), "Prefix": ("Exact",),
    "Utilization": ("AverageValue",), "FallbackToLogsOnError": ("File",), "Resource": ("Pods",), "Max": ("Min",),
    "Percent": ("Pods",), "Pods": ("Percent",), "ALL": ("NET_RAW",), "Ingress": ("Egress",), "Memory": ("",),
    "AlwaysAllow": ("IfHealthyBudget",), "In": ("NotIn",), "Exists": ("DoesNotExist",), "/livez": ("/other",),
}  # fmt: skip
