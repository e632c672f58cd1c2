"""The events of a source as types that msgspec decodes: the quick yes to a whole array of them. Pure.

They hold exactly the members that the contract names, so an event with any other member is no event here; what says
no has not refused anything, it leaves the array to `eventpipeline.events`, which knows every rule. The rules that both
have are the same, word for word: what is decoded here is valid there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from eventpipeline.sources import FunnelStage, Schema, Source


def decoder(
    source: Source, patterns: Mapping[str, str], max_number: int, *, only_telling: bool
) -> Callable[[bytes], object]:
    """Decodes a JSON array of events of `source`.

    `patterns` has the regular expression of each format, `max_number` bounds the numbers that the source does not.
    With `only_telling`, a number that has a point or an exponent must be above zero: then its double tells that no
    digits of it are lost in an exponent far below. Raises msgspec.MsgspecError, UnicodeDecodeError or RecursionError
    where not every event is decoded.
    """
    # In Python `$` is also before a newline that ends the text.
    exact = {name: pattern.removesuffix("$") + r"\Z" for name, pattern in patterns.items()}
    rules = _Rules(exact, max_number, only_telling)
    types = tuple(_event(source, stage, rules) for stage in source.stages)
    return msgspec.json.Decoder(list[Union[types]]).decode  # type: ignore[valid-type]  # noqa: UP007


def has_fractions(schema: Schema) -> bool:
    """Whether a number in it may have a point or an exponent; else `only_telling` changes nothing."""
    return "number" in schema.types or any(map(has_fractions, schema.properties.values()))


@dataclass(frozen=True)
class _Rules:
    """What holds in all sources alike."""

    patterns: Mapping[str, str]
    max_number: int
    only_telling: bool


def _event(source: Source, stage: FunnelStage, rules: _Rules) -> type:
    members = {
        "eventId": (Annotated[str, Meta(min_length=1, max_length=128)], True),
        "timestamp": (Annotated[str, Meta(pattern=rules.patterns["date-time"])], True),
        "source": (Literal[source.name], True),
        "eventType": (_one_of(source.event_types_of(stage)), True),
        "data": (_type(source.schema_of(stage), rules), True),
    }
    if len(source.stages) == 1:
        # A tag that tells nothing apart may be missing.
        return _struct(members | {"funnelStage": (Literal[stage], True)})
    return _struct(members, tag_field="funnelStage", tag=stage)


def _type(schema: Schema, rules: _Rules) -> Any:
    found: Any
    kind = next(kind for kind in schema.types if kind != "null")
    if kind == "object":
        found = _struct(
            {name: (_type(member, rules), name in schema.required) for name, member in schema.properties.items()}
        )
    elif kind == "string":
        found = _string(schema, rules.patterns)
    else:
        found = _number(kind, schema, rules)
    return found | None if "null" in schema.types else found


def _number(kind: str, schema: Schema, rules: _Rules) -> Any:
    low = -rules.max_number if schema.minimum is None else schema.minimum
    high = rules.max_number if schema.maximum is None else schema.maximum
    whole = Annotated[int, Meta(ge=low, le=high)]
    if kind == "integer":
        return whole  # as msgspec has it: 5.0 and 5e0 are none
    if rules.only_telling and low <= 0:
        return whole | Annotated[float, Meta(gt=0, le=high)]
    return Annotated[float, Meta(ge=low, le=high)]


def _string(schema: Schema, patterns: Mapping[str, str]) -> Any:
    if schema.enum is not None:
        return _one_of(schema.enum)
    pattern = patterns[schema.format] if schema.format else None
    return Annotated[str, Meta(min_length=schema.min_length, max_length=schema.max_length, pattern=pattern)]


def _one_of(values: tuple[str, ...]) -> Any:
    return Literal[values]


def _struct(members: Mapping[str, tuple[Any, bool]], **options: Any) -> type:
    # A member's name need be no name of Python's.
    names = {f"member_{index}": name for index, name in enumerate(members)}
    fields: list[Any] = [
        (field, members[name][0]) if members[name][1] else (field, members[name][0] | UnsetType, UNSET)
        for field, name in names.items()
    ]
    # Fields with a default stand last. Nothing points back from an event, so no cycles need be looked for.
    fields.sort(key=len)
    return msgspec.defstruct("Members", fields, rename=names, forbid_unknown_fields=True, gc=False, **options)
