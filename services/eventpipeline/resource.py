"""Reading the resource from a file: every mistake at once, each with its place and what to do."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from eventpipeline.faults import flattened
from eventpipeline.models import DNS_LABEL_PATTERN, DNS_NAME_PATTERN
from eventpipeline.sources.declaration import (
    DIMENSION_PATTERN,
    EVENT_TYPE_PATTERN,
    PREFIX_PATTERN,
    SOURCE_NAME_PATTERN,
)
from eventpipeline.sources.mapping import EVENTS_PATTERN, WITHIN_PATTERN
from eventpipeline.sources.schema import POINTER_PATTERN, Schema
from eventpipeline.spec import (
    API_VERSION,
    BYTES_PATTERN,
    CPU_PATTERN,
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
    SOURCE_NAME_PATTERN: "must be at most 32 lower-case letters, digits and '-', and begin with a letter: web-shop",
    EVENT_TYPE_PATTERN: "must be letters, digits and ._:/- only, such as order.paid",
    POINTER_PATTERN: "must be a JSON Pointer into data of letters, digits, _ and -, such as /user/userId",
    EVENTS_PATTERN: "must be a JSON Pointer in which * is each element of an array, such as /entry/*/changes/*",
    WITHIN_PATTERN: "must be a JSON Pointer of letters, digits, _ and -, such as /value, or empty for the whole",
    PREFIX_PATTERN: "must be lower-case letters, digits and _, such as shop_collector",
    DIMENSION_PATTERN: "must be letters and digits, and begin with a lower-case one, such as averageAge",
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
            faults = list(flattened(error.errors()))
            mistakes += [_mistake(fault, node) for fault in faults if not _follows(fault, faults)]
    if not found and not mistakes:
        mistakes = [Mistake("", f"holds no document of kind {KIND}")]
    if mistakes:
        raise ResourceError(str(path), mistakes)
    return tuple(found)


def _not_yaml(error: Exception) -> Mistake:
    mark = getattr(error, "problem_mark", None)
    return Mistake("", f"is not YAML: {getattr(error, 'problem', None) or error}", mark.line + 1 if mark else None)


def _follows(fault: ErrorDetails, faults: Sequence[ErrorDetails]) -> bool:
    """Whether a list is called too short only because its items are wrong, which helps nobody."""
    place = fault["loc"]
    within = (other["loc"] for other in faults if other is not fault)
    return fault["type"] == "too_short" and any(other[: len(place)] == place for other in within)


def explained(error: ValidationError) -> list[Mistake]:
    """Each mistake of a document that is no EventPipeline, without lines."""
    return [Mistake(_written(fault["loc"]), _message(fault)) for fault in flattened(error.errors())]


def _mistake(fault: ErrorDetails, node: yaml.Node) -> Mistake:
    return Mistake(_written(fault["loc"]), _message(fault), _line(node, fault["loc"]))


def _message(fault: ErrorDetails) -> str:
    message = fault["msg"].removeprefix("Value error, ").replace("Input should ", "must ")
    within = _model_around(fault["loc"])
    match fault["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden" if within is Schema:
            return f"is not supported in the schema of a source; supported are {', '.join(_names(Schema))}"
        case "extra_forbidden":
            return "is no field of an EventPipeline" + _did_you_mean(str(fault["loc"][-1]), within)
        case "literal_error" if within is Schema:
            return f"is {fault['input']!r}, which is not supported in the schema of a source; it {message}"
        case "string_pattern_mismatch":
            return _PATTERNS.get(fault["ctx"]["pattern"], message)
        case "model_type" | "dict_type":
            return "must be an object with named fields"
    return message


def _did_you_mean(name: str, model: Any) -> str:
    if model is None:
        return ""
    names = _names(model)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else f"; its fields are {', '.join(names)}"


def _names(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _model_around(place: Place) -> type[BaseModel] | None:
    """The model that has the field at `place`; None where there is none."""
    named = max((index for index, part in enumerate(place) if isinstance(part, str)), default=0)
    annotation: Any = EventPipeline
    for part in place[:named]:
        annotation = _inside(annotation, part)
    return next(_models(annotation), None)


def _inside(annotation: Any, part: str | int) -> Any:
    """The annotation of a field, of an item of a list, or of a value of a mapping."""
    model = next(_models(annotation), None)
    if isinstance(part, int) or _is_mapping(annotation):
        return model
    fields = model.model_fields.items() if model else ()
    return next((field.annotation for name, field in fields if (field.alias or name) == part), None)


def _is_mapping(annotation: Any) -> bool:
    return typing.get_origin(annotation) is dict or any(map(_is_mapping, typing.get_args(annotation)))


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in typing.get_args(annotation):
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
