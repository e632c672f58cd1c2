"""Whether a live object still is what was rendered. Pure.

Compared are the rendered fields and keyed list items only; what others added is theirs. Which lists are keyed, and by
what, stands in the managed fields that the API server keeps of our own applies (server-side apply, FieldsV1:
https://kubernetes.io/docs/reference/using-api/server-side-apply/), so no schema has to be known here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from eventpipeline_operator.objects import HASH_ANNOTATION, MANAGER, Object

_SERVER_OWNED = ("apiVersion", "kind", "status")
_SUFFIXES: dict[str, Decimal | int] = {
    "": 1, "m": Decimal("0.001"), "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_QUANTITY = re.compile(r"([0-9.]+)([a-zA-Z]*)")


def differences(rendered: Object, live: Object) -> list[str]:
    """The paths, such as `spec.replicas`, at which `live` is not what was rendered."""
    owned = owned_fields(live, MANAGER)
    wanted = {key: value for key, value in rendered.items() if key not in _SERVER_OWNED}
    wanted["metadata"] = {
        key: value for key, value in rendered["metadata"].items() if key in ("labels", "annotations", "ownerReferences")
    }
    return list(_compare(wanted, live, owned, ""))


def is_drift(rendered: Object, live: Object) -> bool:
    """Whether what differs was changed by somebody else, not by a new rendering."""
    return _hash(rendered) == _hash(live)


def whole_lists(rendered: Object, paths: Iterable[str]) -> Object:
    """A merge patch that writes the lists in which `paths` lie just as they are rendered, without others' items."""
    patch: Object = {}
    for path in paths:
        place, in_a_list, _ = path.partition("[")
        if not in_a_list:
            continue
        *above, name = place.split(".")
        source, target = rendered, patch
        for step in above:
            source, target = source[step], target.setdefault(step, {})
        target[name] = source[name]
    return patch


def _hash(item: Object) -> str | None:
    found: str | None = item["metadata"].get("annotations", {}).get(HASH_ANNOTATION)
    return found


def owned_fields(live: Object, manager: str, operation: str = "Apply") -> dict[str, Any]:
    """The FieldsV1 tree of `manager`."""
    for entry in live["metadata"].get("managedFields", []):
        if entry.get("manager") == manager and entry.get("operation") == operation and not entry.get("subresource"):
            return dict(entry.get("fieldsV1", {}))
    return {}


def is_own_update(entry: Object) -> bool:
    """Whether an entry of managedFields is of a write of ours that was no apply."""
    return bool(entry.get("manager") == MANAGER and entry.get("operation") == "Update" and not entry.get("subresource"))


def _compare(wanted: Any, live: Any, owned: dict[str, Any], path: str) -> Iterator[str]:
    if isinstance(wanted, dict) and isinstance(live, dict):
        for name, value in wanted.items():
            here = f"{path}.{name}" if path else name
            if name in live:
                yield from _compare(value, live[name], owned.get(f"f:{name}", {}), here)
            elif not _is_zero(value):
                yield here
    elif isinstance(wanted, list) and isinstance(live, list):
        yield from _compare_lists(wanted, live, owned, path)
    elif wanted != live and not _same_quantity(wanted, live):
        yield path


def _compare_lists(wanted: list[Any], live: list[Any], owned: dict[str, Any], path: str) -> Iterator[str]:
    keys = next((tuple(json.loads(name[2:])) for name in owned if name.startswith("k:")), None)
    if keys is None and any(name.startswith("v:") for name in owned):  # a set
        yield from (f"{path}[{value}]" for value in wanted if value not in live)
    elif keys is None:
        if len(wanted) != len(live):
            yield path
        for index, (value, present) in enumerate(zip(wanted, live, strict=False)):
            yield from _compare(value, present, {}, f"{path}[{index}]")
    else:
        for value in wanted:
            named = {key: value[key] for key in keys if key in value}
            here = f"{path}[{','.join(map(str, named.values()))}]"
            present = next((item for item in live if all(item.get(key) == part for key, part in named.items())), None)
            if present is None:
                yield here
            else:
                yield from _compare(value, present, _item_owned(owned, named), here)


def _item_owned(owned: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    for name, fields in owned.items():
        if name.startswith("k:") and named.items() <= json.loads(name[2:]).items():
            return dict(fields)
    return {}


def _is_zero(value: Any) -> bool:
    """The API server leaves out empty values, which mean the same."""
    if isinstance(value, dict):
        return all(_is_zero(part) for part in value.values())
    return value in ("", 0, False, [])


def _same_quantity(left: Any, right: Any) -> bool:
    """Whether both are the same amount, such as 1000m and 1: the API server writes amounts in its own way."""
    numbers = [_amount(value) for value in (left, right)]
    return numbers[0] is not None and numbers[0] == numbers[1]


def _amount(value: Any) -> Decimal | None:
    match = _QUANTITY.fullmatch(str(value))
    if isinstance(value, bool) or not match or match[2] not in _SUFFIXES:
        return None
    try:
        return Decimal(match[1]) * _SUFFIXES[match[2]]
    except InvalidOperation:
        return None
