"""What a declaration must keep beside its form, so that what the gateway accepts can be stored and reported. Pure.

The store casts and indexes what the pointers lead to: a member that is sometimes missing, sometimes of another type or
too long for a key would make Postgres refuse a batch that was answered 202.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from eventpipeline.faults import Fault, Place
from eventpipeline.sources.schema import FUNNEL_STAGES, FunnelStage, Schema

if TYPE_CHECKING:
    from eventpipeline.sources.declaration import Declaration

MAX_KEY = 256
"""Characters of a string that becomes a key or a dimension."""
MAX_DEPTH = 16
MAX_NUMBER = 2**53 - 1
_OF_REPORT = ("source", "events", "users")
"""Names that an item of the demographics report has already."""
_FOR = {
    "properties": ("object",), "required": ("object",), "enum": ("string",), "format": ("string",),
    "min_length": ("string",), "max_length": ("string",), "minimum": ("integer", "number"),
    "maximum": ("integer", "number"),
}  # fmt: skip
_WRITTEN = {"min_length": "minLength", "max_length": "maxLength"}


def faults_of(declaration: Declaration) -> Iterator[Fault]:
    """Every mistake of a declaration that its form does not show."""
    yield from _event_types(declaration)
    for stage in FUNNEL_STAGES:
        schema = declaration.schemas.top if stage == "top" else declaration.schemas.bottom
        if schema:
            yield from _root(("schema", stage), schema)
    yield from _user(declaration)
    yield from _transactions(declaration)
    if declaration.campaign:
        yield from _key(declaration, declaration.campaign, ("campaign",))
    yield from _dimensions(declaration)


def _event_types(declaration: Declaration) -> Iterator[Fault]:
    if not declaration.stages:
        yield Fault(("eventTypes",), "names no event type; give at least one, in top or in bottom")
    for stage in FUNNEL_STAGES:
        names = declaration.event_types_of(stage)
        for index, name in enumerate(names):
            if name in names[:index]:
                yield Fault(("eventTypes", stage, index), f"is {name!r} again; a name is given once")
            if stage == "bottom" and declaration.mapping and name in declaration.event_types_of("top"):
                yield Fault(
                    ("eventTypes", stage, index), f"is {name!r}, as in top; a mapping cannot tell which is meant"
                )
        has_schema = (declaration.schemas.top if stage == "top" else declaration.schemas.bottom) is not None
        if names and not has_schema:
            yield Fault(("schema", stage), f"is missing; eventTypes.{stage} has event types")
        if has_schema and not names:
            yield Fault(("schema", stage), f"is of no use, since eventTypes.{stage} has no event types; remove it")


# --- schemas ---------------------------------------------------------------------------------------------------------


def _root(place: Place, schema: Schema) -> Iterator[Fault]:
    if schema.types != ("object",):
        yield Fault((*place, "type"), "must be object: data is one")
    yield from _schema(place, schema)


def _schema(place: Place, schema: Schema, depth: int = 1) -> Iterator[Fault]:
    kinds = [kind for kind in schema.types if kind != "null"]
    if len(kinds) != 1 or len(schema.types) > 2:
        yield Fault((*place, "type"), 'must be one type, alone or in a list with "null", such as [string, "null"]')
    for keyword, types in _FOR.items():
        if keyword in schema.model_fields_set and len(kinds) == 1 and kinds[0] not in types:
            name = _WRITTEN.get(keyword, keyword)
            yield Fault((*place, name), f"is for type {' or '.join(types)}, and says nothing of {kinds[0]}; remove it")
    yield from _bounds(place, schema)
    for index, name in enumerate(schema.required):
        if name not in schema.properties:
            yield Fault((*place, "required", index), f"is {name!r}, which properties does not describe")
    if depth == MAX_DEPTH and schema.properties:
        yield Fault((*place, "properties"), f"is deeper than {MAX_DEPTH} levels")
        return
    for name, member in schema.properties.items():
        yield from _schema((*place, "properties", name), member, depth + 1)


def _bounds(place: Place, schema: Schema) -> Iterator[Fault]:
    if schema.enum is not None:
        if not schema.enum:
            yield Fault((*place, "enum"), "has no value, so no event would be valid")
        if "null" in schema.types:
            yield Fault((*place, "enum"), "would refuse the null that type allows; give type string alone")
        for keyword in ("format", "min_length", "max_length"):
            if keyword in schema.model_fields_set:
                yield Fault((*place, _WRITTEN.get(keyword, keyword)), "says nothing beside enum; remove it")
    for keyword in ("min_length", "max_length"):
        if (getattr(schema, keyword) or 0) < 0:
            yield Fault((*place, _WRITTEN[keyword]), "must not be negative")
    for keyword in ("minimum", "maximum"):
        if abs(getattr(schema, keyword) or 0) > MAX_NUMBER:
            yield Fault((*place, keyword), f"must be within ±{MAX_NUMBER}, up to which every reader reads alike")
    for low, high in (("min_length", "max_length"), ("minimum", "maximum")):
        least, most = getattr(schema, low), getattr(schema, high)
        if least is not None and most is not None and least > most:
            yield Fault((*place, _WRITTEN.get(low, low)), f"must not be greater than {_WRITTEN.get(high, high)}")


# --- pointers --------------------------------------------------------------------------------------------------------


def _is_key(schema: Schema) -> bool:
    """Whether every value fits a key of an index."""
    if "string" not in schema.types:
        return False
    if schema.enum is not None:
        return all(len(value) <= MAX_KEY for value in schema.enum)
    return schema.format is not None or (schema.max_length is not None and schema.max_length <= MAX_KEY)


def _user(declaration: Declaration) -> Iterator[Fault]:
    for stage in declaration.stages:
        found = declaration.schema_of(stage).at(declaration.user)
        wanted = "a required string of at most 256 characters (maxLength)"
        if not found:
            yield Fault(("user",), f"must lead to {wanted} in the schema of {stage}; {declaration.user} is not there")
        elif not _is_key(found) or "null" in found.types or not _is_required(declaration, stage):
            yield Fault(("user",), f"must lead to {wanted} in the schema of {stage}, in objects that are required too")


def _is_required(declaration: Declaration, stage: FunnelStage) -> bool:
    schema = declaration.schema_of(stage)
    for member in declaration.user.strip("/").split("/"):
        if member not in schema.required or schema.types != ("object",):
            return False
        schema = schema.properties[member]
    return True


def _transactions(declaration: Declaration) -> Iterator[Fault]:
    transactions = declaration.transactions
    if not transactions:
        return
    known = [name for stage in FUNNEL_STAGES for name in declaration.event_types_of(stage)]
    for index, name in enumerate(transactions.event_types):
        if name not in known:
            place = ("transactions", "eventTypes", index)
            yield Fault(place, f"is {name!r}, which eventTypes does not have; it has {', '.join(known)}")
    for stage in declaration.stages:
        if not set(transactions.event_types) & set(declaration.event_types_of(stage)):
            continue
        schema = declaration.schema_of(stage)
        amount = schema.at(transactions.amount)
        if not amount or "string" not in amount.types or amount.format != "decimal":
            message = f"must lead to a string of format decimal in the schema of {stage}, which has transactions"
            yield Fault(("transactions", "amount"), message)
        if transactions.currency:
            currency = schema.at(transactions.currency)
            if not currency or not _is_key(currency):
                message = f"must lead to a string of at most {MAX_KEY} characters (maxLength) in the schema of {stage}"
                yield Fault(("transactions", "currency"), message)


def _key(declaration: Declaration, pointer: str, place: Place) -> Iterator[Fault]:
    found = [schema for stage in declaration.stages if (schema := declaration.schema_of(stage).at(pointer))]
    if not found:
        yield Fault(place, f"is {pointer}, which no schema of this source describes")
    elif not all(map(_is_key, found)):
        yield Fault(place, f"must lead to a string of at most {MAX_KEY} characters (maxLength), or of an enum")


def _number(declaration: Declaration, pointer: str, place: Place) -> Iterator[Fault]:
    found = [schema for stage in declaration.stages if (schema := declaration.schema_of(stage).at(pointer))]
    if not found:
        yield Fault(place, f"is {pointer}, which no schema of this source describes")
    elif any(schema.types not in (("integer",), ("number",)) for schema in found):
        yield Fault(place, "must lead to an integer or number that is never null; a member may be left out instead")


def _dimensions(declaration: Declaration) -> Iterator[Fault]:
    names: list[str] = []
    for index, average in enumerate(declaration.averages):
        yield from _name(average.name, names, ("averages", index, "name"))
        yield from _number(declaration, average.pointer, ("averages", index, "pointer"))
    for index, distribution in enumerate(declaration.distributions):
        yield from _name(distribution.name, names, ("distributions", index, "name"))
        place = ("distributions", index, "pointer")
        if not distribution.ranges:
            yield from _key(declaration, distribution.pointer, place)
            continue
        yield from _number(declaration, distribution.pointer, place)
        if not _ascends(distribution.ranges):
            yield Fault(("distributions", index, "ranges"), f"must ascend, within ±{MAX_NUMBER}")


def _name(name: str, before: list[str], place: Place) -> Iterator[Fault]:
    if name in _OF_REPORT:
        yield Fault(place, f"must not be {name}, which every item of the report has already")
    if name in before:
        yield Fault(place, f"is {name!r} again; averages and distributions share one list of names")
    before.append(name)


def _ascends(numbers: Sequence[int]) -> bool:
    return all(abs(number) <= MAX_NUMBER for number in numbers) and all(low < high for low, high in pairwise(numbers))
