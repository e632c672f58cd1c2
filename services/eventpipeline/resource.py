"""Reading the resource from a file: every mistake at once, each with its place and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from eventpipeline.spec import (
    API_VERSION,
    BYTES_PATTERN,
    CPU_PATTERN,
    DNS_LABEL_PATTERN,
    DNS_NAME_PATTERN,
    KIND,
    PIPELINE_NAME_PATTERN,
    EventPipeline,
)

MINIMAL = {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "marketing"}, "spec": {}}
"""What runs where no file is given: both sources, every default."""

Place = tuple[str | int, ...]

_PATTERNS = {
    DNS_LABEL_PATTERN: "must be a DNS label: at most 63 lower-case letters, digits and '-', such as my-pipeline",
    DNS_NAME_PATTERN: "must be a DNS name: lower-case letters, digits, '-' and '.', such as my-secret",
    PIPELINE_NAME_PATTERN: "must be a DNS label of at most 40 characters that begins with a letter: my-pipeline",
    BYTES_PATTERN: "is not a size in bytes; write a whole number and a suffix, such as 10Gi",
    CPU_PATTERN: "must be an amount of CPU, such as 500m or 2",
}


@dataclass(frozen=True)
class Mistake:
    """One mistake in a file. `line` is counted from 1; `place` is a path such as `spec.sources[0].name`."""

    place: str
    message: str
    line: int | None = None

    def __str__(self) -> str:
        where = f"line {self.line}: " if self.line else ""
        return f"{where}{self.place}: {self.message}" if self.place else f"{where}{self.message}"


class ResourceError(ValueError):
    """A file is no EventPipeline; `mistakes` says why, each on its own."""

    def __init__(self, source: str, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = tuple(mistakes)
        super().__init__("\n".join(f"{source}: {mistake}" for mistake in mistakes))


def minimal() -> EventPipeline:
    return EventPipeline.model_validate(MINIMAL)


def load(path: Path) -> tuple[EventPipeline, ...]:
    """The EventPipelines in a YAML file; documents of other kinds are passed over.

    Raises ResourceError with every mistake in it.
    """
    try:
        nodes = list(yaml.compose_all(path.read_text(encoding="utf-8"), yaml.SafeLoader))
    except OSError as error:
        raise ResourceError(str(path), [Mistake("", error.strerror or str(error))]) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ResourceError(str(path), [_not_yaml(error)]) from error
    found: list[EventPipeline] = []
    mistakes: list[Mistake] = []
    for node in filter(None, nodes):
        document = yaml.SafeLoader("").construct_document(node)
        mistakes += _repeated(node)
        if isinstance(document, dict) and document.get("kind", KIND) != KIND:
            continue
        try:
            found.append(EventPipeline.model_validate(document))
        except ValidationError as error:
            faults = error.errors()
            # A list whose items are all wrong also counts as empty, which helps nobody.
            faulty = {fault["loc"][: len(fault["loc"]) - depth] for fault in faults for depth in (1, 2)}
            mistakes += [
                _mistake(fault, node) for fault in faults if fault["type"] != "too_short" or fault["loc"] not in faulty
            ]
    if not found and not mistakes:
        mistakes = [Mistake("", f"holds no document of kind {KIND}")]
    if mistakes:
        raise ResourceError(str(path), mistakes)
    return tuple(found)


def _not_yaml(error: Exception) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    return Mistake("", f"is not YAML: {getattr(error, 'problem', None) or error}", mark.line + 1 if mark else None)


def _mistake(fault: ErrorDetails, node: yaml.Node) -> Mistake:
    place = fault["loc"]
    message = fault["msg"].removeprefix("Value error, ").replace("Input should ", "must ")
    match fault["type"]:
        case "missing":
            message = "is missing"
        case "extra_forbidden":
            message = "is no field of an EventPipeline" + _did_you_mean(place)
        case "string_pattern_mismatch":
            message = _PATTERNS.get(fault["ctx"]["pattern"], message)
        case "model_type" | "dict_type":
            message = "must be an object with named fields"
    return Mistake(_written(place), message, _line(node, place))


def _did_you_mean(place: Place) -> str:
    model: Any = EventPipeline
    for part in place[:-1]:
        model = _member(model, part)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return ""
    names = [field.alias or name for name, field in model.model_fields.items()]
    close = difflib.get_close_matches(str(place[-1]), names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; its fields are {', '.join(names)}"


def _member(model: Any, part: str | int) -> Any:
    """The model of a field, found through what is optional or repeated around it."""
    if isinstance(part, int):
        return model
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        return None
    annotations = [field.annotation for name, field in model.model_fields.items() if (field.alias or name) == part]
    return next((found for annotation in annotations for found in _models(annotation)), None)


def _models(annotation: Any) -> Iterator[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models(argument)


def _written(place: Place) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")


def _line(node: yaml.Node, place: Place) -> int:
    """The line of the innermost part of `place` that is in the file."""
    line: int = node.start_mark.line
    for part in place:
        if isinstance(node, yaml.MappingNode):
            pair = next((pair for pair in node.value if pair[0].value == part), None)
            if pair is None:
                break
            line, node = pair[0].start_mark.line, pair[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line
    return line + 1


def _repeated(node: yaml.Node, place: Place = ()) -> Iterator[Mistake]:
    """Keys that stand twice in one mapping: YAML would silently take the last."""
    if isinstance(node, yaml.MappingNode):
        seen: Mapping[str, int] = {}
        for key, value in node.value:
            here = (*place, key.value)
            if key.value in seen:
                yield Mistake(_written(here), f"stands twice, first in line {seen[key.value]}", key.start_mark.line + 1)
            seen = {**seen, key.value: key.start_mark.line + 1}
            yield from _repeated(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated(item, (*place, index))
