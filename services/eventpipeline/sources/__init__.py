"""Sources: where events come from, each described by one declarative file.

Gateway, collector and reporter all read the same description, so an event type, a field or a dimension is
written down once. The form is data, not code: a source declared by a user has the same fields.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

FunnelStage = Literal["top", "bottom"]
FUNNEL_STAGES: tuple[FunnelStage, ...] = ("top", "bottom")

Pointer = Annotated[str, Field(pattern=r"^(/[A-Za-z0-9_-]+)+$")]
"""A JSON Pointer (RFC 6901) into `data`, of plain member names."""

SourceName = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")]


class SourceModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


JsonType = Literal["object", "string", "integer", "number", "null"]


class Schema(SourceModel):
    """The part of JSON Schema (draft 2020-12) in which the data of a source is described.

    Members that are not named are allowed and kept. `format` is `date-time` (RFC 3339) or `decimal` (an amount of
    at most 15 digits before and 6 after the point, as a string).
    """

    type: JsonType | tuple[JsonType, ...]
    properties: dict[str, Schema] = {}
    required: tuple[str, ...] = ()
    enum: tuple[str, ...] | None = None
    format: Literal["date-time", "decimal"] | None = None
    min_length: int | None = None
    max_length: int | None = None
    minimum: int | None = None
    maximum: int | None = None

    @property
    def types(self) -> tuple[JsonType, ...]:
        return (self.type,) if isinstance(self.type, str) else self.type

    def at(self, pointer: str) -> Schema | None:
        """The schema of the member that `pointer` names, or None where there is none."""
        found: Schema | None = self
        for member in pointer.strip("/").split("/"):
            found = found.properties.get(member) if found else None
        return found


class EventTypes(SourceModel):
    top: tuple[str, ...]
    bottom: tuple[str, ...]


class DataSchemas(SourceModel):
    top: Schema
    bottom: Schema


class Transactions(SourceModel):
    """Which event types are transactions, and where their amount and currency stand."""

    event_types: tuple[str, ...]
    amount: Pointer
    currency: Pointer | None = None


class Average(SourceModel):
    """A number whose mean over all events that carry it is reported."""

    name: str
    pointer: Pointer


class Distribution(SourceModel):
    """A value by which events are counted; with `ranges`, the lower bounds of all ranges but the first."""

    name: str
    pointer: Pointer
    ranges: tuple[int, ...] = ()
    high_cardinality: bool = False
    """Whether about as many values are to be expected as there are events: they are then counted later than others,
    which is cheaper, and shows in no report."""

    @property
    def range_labels(self) -> tuple[str, ...]:
        """`<18`, `18-24`, …, `65+`: the names of the ranges in their order."""
        inner = [f"{low}-{high - 1}" for low, high in zip(self.ranges, self.ranges[1:], strict=False)]
        return (f"<{self.ranges[0]}", *inner, f"{self.ranges[-1]}+") if self.ranges else ()


class Source(SourceModel):
    """One source of events."""

    name: SourceName
    metrics_prefix: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    event_types: EventTypes
    schemas: DataSchemas = Field(alias="schema")
    user: Pointer
    transactions: Transactions | None = None
    campaign: Pointer | None = None
    averages: tuple[Average, ...] = ()
    distributions: tuple[Distribution, ...] = ()

    @property
    def low_cardinality(self) -> Source:
        """The same source without its distributions of high cardinality."""
        kept = tuple(distribution for distribution in self.distributions if not distribution.high_cardinality)
        return self.model_copy(update={"distributions": kept})

    def event_types_of(self, stage: FunnelStage) -> tuple[str, ...]:
        return self.event_types.top if stage == "top" else self.event_types.bottom

    def schema_of(self, stage: FunnelStage) -> Schema:
        return self.schemas.top if stage == "top" else self.schemas.bottom

    def stages_with(self, pointer: str) -> tuple[FunnelStage, ...]:
        """The funnel stages whose schema has a member at `pointer`.

        A member that the schema does not name may be there all the same, with any value: senders put stray
        fields on the wrong source, so nothing may be read outside these stages.
        """
        return tuple(stage for stage in FUNNEL_STAGES if self.schema_of(stage).at(pointer))

    @model_validator(mode="after")
    def _pointers_lead_somewhere(self) -> Source:
        pointers = [self.user, *(average.pointer for average in self.averages)]
        pointers += [distribution.pointer for distribution in self.distributions]
        pointers += [self.transactions.amount] if self.transactions else []
        pointers += [self.campaign] if self.campaign else []
        for pointer in pointers:
            if not self.stages_with(pointer):
                raise ValueError(f"{pointer} names no member of the schema of source {self.name}")
        return self


BUILT_IN: tuple[str, ...] = ("facebook", "tiktok")


def _known(name: str) -> str:
    if name not in BUILT_IN:
        raise ValueError(f"there is no source {name!r}; known are {', '.join(BUILT_IN)}")
    return name


KnownSource = Annotated[str, AfterValidator(_known)]
"""The name of a source that there is."""


@cache
def built_in(name: str) -> Source:
    """The source `name` that comes with the project. Raises ValueError for a name that is not one of `BUILT_IN`."""
    _known(name)
    text = (Path(__file__).parent / f"{name}.yaml").read_text(encoding="utf-8")
    return Source.model_validate(yaml.safe_load(text))


def load(names: Sequence[str]) -> tuple[Source, ...]:
    """The sources of these names, in this order. Raises ValueError for an unknown one."""
    return tuple(built_in(name) for name in names)
