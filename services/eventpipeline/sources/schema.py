"""The schema of the data of a source, as it is written in a declaration. Pure."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer
from pydantic.alias_generators import to_camel

FunnelStage = Literal["top", "bottom"]
FUNNEL_STAGES: tuple[FunnelStage, ...] = ("top", "bottom")

POINTER_PATTERN = r"^(/[A-Za-z0-9_-]+)+$"
Pointer = Annotated[str, Field(pattern=POINTER_PATTERN, max_length=256)]
"""A JSON Pointer (RFC 6901) into `data`, of plain member names."""


class SourceModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


JsonType = Literal["object", "string", "integer", "number", "null"]
JsonTypes = Annotated[
    tuple[JsonType, ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    PlainSerializer(lambda types: types[0] if len(types) == 1 else list(types)),
]
"""One type, or several in a list."""


class Schema(SourceModel):
    """The part of JSON Schema (draft 2020-12) in which the data of a source is described.

    Members that are not named are allowed and kept. `format` is `date-time` (RFC 3339) or `decimal` (an amount of
    at most 15 digits before and 6 after the point, as a string).
    """

    types: JsonTypes = Field(alias="type")
    title: str | None = None
    description: str | None = None
    properties: dict[str, Schema] = {}
    required: tuple[str, ...] = ()
    enum: tuple[str, ...] | None = None
    format: Literal["date-time", "decimal"] | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None

    def at(self, pointer: str) -> Schema | None:
        """The schema of the member that `pointer` names, or None where there is none."""
        found: Schema | None = self
        for member in pointer.strip("/").split("/"):
            found = found.properties.get(member) if found else None
        return found
