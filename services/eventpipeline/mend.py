"""Mending an event that was refused: members set to a value, or a JSON Patch (RFC 6902). Pure."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(decimal_format="number")
_MEMBERS = {
    "add": {"path", "value"},
    "replace": {"path", "value"},
    "test": {"path", "value"},
    "remove": {"path"},
    "move": {"path", "from"},
    "copy": {"path", "from"},
}


class MendError(Exception):
    """What was asked for is no mending, or does not fit the event; the message says why."""


@dataclass(frozen=True)
class Mending:
    """Changes to an event, in their order. Without any it leaves the bytes of an event as they are."""

    operations: tuple[Mapping[str, Any], ...] = ()
    """Of a JSON Patch; beside its own there is `set`, which makes the objects on the way to its path."""

    @classmethod
    def of(cls, settings: Sequence[str], patch: bytes | None = None) -> Mending:
        """From `settings` such as `data.user.gender=male`, after `patch`, the JSON of a JSON Patch.

        A value is JSON where it can be read as JSON, else text. Raises MendError.
        """
        return cls((*(_operations(patch) if patch is not None else ()), *map(_setting, settings)))

    def __call__(self, event: bytes) -> bytes:
        """The mended event. Raises MendError where it is no JSON object or a change does not fit it."""
        if not self.operations:
            return event
        try:
            document = _decoder.decode(event)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise MendError(f"the event is not JSON: {error}") from None
        if not isinstance(document, dict):
            raise MendError("the event is no JSON object")
        root = {"": document}
        for operation in self.operations:
            _APPLY[operation["op"]](root, operation)
        return _encoder.encode(root[""])


def _setting(text: str) -> Mapping[str, Any]:
    path, equals, value = text.partition("=")
    if not equals or not all(path.split(".")):
        raise MendError(f"--set {text}: write the place and the value, such as data.user.gender=male")
    try:
        parsed = _decoder.decode(value.encode())
    except (msgspec.DecodeError, UnicodeEncodeError):
        parsed = value
    return {"op": "set", "path": path.split("."), "value": parsed}


def _operations(patch: bytes) -> tuple[Mapping[str, Any], ...]:
    try:
        operations = _decoder.decode(patch)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MendError(f"the patch is not JSON: {error}") from None
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise MendError("the patch is no JSON Patch: that is an array of operations")
    return tuple(_operation(number, operation) for number, operation in enumerate(operations, 1))


def _operation(number: int, operation: dict[str, Any]) -> Mapping[str, Any]:
    needed = _MEMBERS.get(str(operation.get("op")))
    if needed is None:
        raise MendError(f"operation {number} of the patch: op must be one of {', '.join(_MEMBERS)}")
    if missing := needed - set(operation):
        raise MendError(f"operation {number} of the patch: {operation['op']} needs {', '.join(sorted(missing))}")
    return operation | {name: _pointer(operation[name]) for name in ("path", "from") if name in needed}


def _pointer(text: Any) -> list[str]:
    """The tokens of a JSON Pointer (RFC 6901)."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise MendError(f"{json.dumps(text, default=str)} is no JSON Pointer; one is like /data/user/gender")
    return [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]


# --- operations on the document, which is the member "" of `root` -----------------------------------------------------


def _add(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    _put(root, operation["path"], operation["value"])


def _replace(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    parent, token = _parent(root, operation["path"])
    parent[_existing(parent, token, operation["path"])] = operation["value"]


def _remove(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    _take(root, operation["path"])


def _move(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    if operation["path"][: len(operation["from"])] == operation["from"] != operation["path"]:
        raise MendError(f"/{'/'.join(operation['from'])} cannot be moved into itself")
    _put(root, operation["path"], _take(root, operation["from"]))


def _copy(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    _put(root, operation["path"], copy.deepcopy(_get(root, operation["from"])))


def _test(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    if _get(root, operation["path"]) != operation["value"]:
        raise MendError(f"/{'/'.join(operation['path'])} is not what the patch expects")


def _set(root: dict[str, Any], operation: Mapping[str, Any]) -> None:
    place: Any = root[""]
    *way, last = operation["path"]
    for token in way:
        if isinstance(place, list):
            place = place[_existing(place, token, operation["path"])]
        else:
            place = place.setdefault(token, {})
        if not isinstance(place, dict | list):
            raise MendError(f"{'.'.join(operation['path'])}: {token} is no object")
    place[_existing(place, last, operation["path"]) if isinstance(place, list) else last] = operation["value"]


_APPLY: Mapping[str, Callable[[dict[str, Any], Mapping[str, Any]], None]] = {
    "add": _add, "replace": _replace, "remove": _remove, "move": _move, "copy": _copy, "test": _test, "set": _set,
}  # fmt: skip


def _put(root: dict[str, Any], path: Sequence[str], value: Any) -> None:
    parent, token = _parent(root, path)
    if isinstance(parent, dict):
        parent[token] = value
    elif token == "-":  # noqa: S105 - the place after the last element
        parent.append(value)
    else:
        parent.insert(_index(token, len(parent), path), value)


def _take(root: dict[str, Any], path: Sequence[str]) -> Any:
    parent, token = _parent(root, path)
    return parent.pop(_existing(parent, token, path))


def _get(root: dict[str, Any], path: Sequence[str]) -> Any:
    parent, token = _parent(root, path)
    return parent[_existing(parent, token, path)]


def _parent(root: dict[str, Any], path: Sequence[str]) -> tuple[Any, str]:
    """The object or array that holds what is at `path`, and its name in there."""
    parent: Any = root
    tokens = ["", *path]
    for token in tokens[:-1]:
        parent = parent[_existing(parent, token, path)]
        if not isinstance(parent, dict | list):
            raise MendError(f"/{'/'.join(path)} is not there: {token} is no object")
    return parent, tokens[-1]


def _existing(parent: Any, token: str, path: Sequence[str]) -> Any:
    if isinstance(parent, list):
        return _index(token, len(parent) - 1, path)
    if token not in parent:
        raise MendError(f"/{'/'.join(path)} is not there")
    return token


def _index(token: str, most: int, path: Sequence[str]) -> int:
    if not (token.isascii() and token.isdigit() and str(int(token)) == token and int(token) <= most):
        raise MendError(f"/{'/'.join(path)} is not there: {token} is no element")
    return int(token)
