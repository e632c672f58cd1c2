"""The declaration of a source: everything that gateway, collector and reporter know about it. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from eventpipeline.faults import refusal
from eventpipeline.sources.checks import faults_of
from eventpipeline.sources.mapping import BodyMapping
from eventpipeline.sources.schema import FUNNEL_STAGES, FunnelStage, Pointer, Schema, SourceModel

SOURCE_NAME_PATTERN = r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$"
EVENT_TYPE_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$"
PREFIX_PATTERN = r"^([a-z][a-z0-9_]*)?$"
DIMENSION_PATTERN = r"^[a-z][A-Za-z0-9]*$"

SourceName = Annotated[str, Field(pattern=SOURCE_NAME_PATTERN, max_length=32)]
EventType = Annotated[str, Field(pattern=EVENT_TYPE_PATTERN, max_length=128)]

_NOTHING = Schema(type=("object",))


class EventTypes(SourceModel):
    """The event types of a source, by funnel stage."""

    top: tuple[EventType, ...] = Field(
        default=(), max_length=64, description="Event types of the top of the funnel: views, likes, visits."
    )
    bottom: tuple[EventType, ...] = Field(
        default=(), max_length=64, description="Event types of the bottom of the funnel: clicks, sign-ups, purchases."
    )


class DataSchemas(SourceModel):
    """What the data of an event looks like, by funnel stage; each stage that has event types has one."""

    top: Schema | None = Field(default=None, description="JSON Schema of data in events of the top.")
    bottom: Schema | None = Field(default=None, description="JSON Schema of data in events of the bottom.")


class Transactions(SourceModel):
    """Which event types are transactions, and where their amount and currency stand."""

    event_types: tuple[EventType, ...] = Field(
        min_length=1, max_length=64, description="The event types that are transactions."
    )
    amount: Pointer = Field(description="Where the amount stands: a string of format decimal, such as 12.50, or null.")
    currency: Pointer | None = Field(default=None, description="Where the currency stands. Sums never cross it.")


class Average(SourceModel):
    """A number whose mean over all events that carry it is reported."""

    name: str = Field(pattern=DIMENSION_PATTERN, max_length=64, description="Its name in the demographics report.")
    pointer: Pointer = Field(description="Where the number stands.")


class Distribution(SourceModel):
    """A value by which events are counted."""

    name: str = Field(pattern=DIMENSION_PATTERN, max_length=64, description="Its name in the demographics report.")
    pointer: Pointer = Field(description="Where the value stands: a string, or with ranges a number.")
    ranges: tuple[int, ...] = Field(
        default=(), max_length=32, description="For a number, the lower bounds of all ranges but the first."
    )
    high_cardinality: bool = Field(
        default=False,
        description="Whether about as many values are to be expected as there are events: they are then counted later "
        "than others, which is cheaper, and fewer of them are kept: see docs/performance.md.",
    )

    @property
    def range_labels(self) -> tuple[str, ...]:
        """`<18`, `18-24`, …, `65+`: the names of the ranges in their order."""
        inner = [f"{low}-{high - 1}" for low, high in zip(self.ranges, self.ranges[1:], strict=False)]
        return (f"<{self.ranges[0]}", *inner, f"{self.ranges[-1]}+") if self.ranges else ()


class Declaration(SourceModel):
    """What a source is: its event types, the data of its events, and what reports read of it. Pointers are JSON
    Pointers into data, such as /user/userId.
    """

    metrics_prefix: str = Field(
        default="", pattern=PREFIX_PATTERN, max_length=64,
        description="Begins the names of its collector's metrics; without it, the source's name and _collector.",
    )  # fmt: skip
    mapping: BodyMapping | None = Field(
        default=None,
        description="How a body in the form of somebody else becomes events, at the path of this source; without it, "
        "bodies are events already.",
    )
    event_types: EventTypes = Field(description="Its event types, by funnel stage.")
    schemas: DataSchemas = Field(alias="schema", description="What data looks like, by funnel stage.")
    user: Pointer = Field(
        description="Where the id of the user stands: a required string in every stage, of at most 256 characters."
    )
    transactions: Transactions | None = Field(default=None, description="What is counted as revenue.")
    campaign: Pointer | None = Field(default=None, description="Where the id of the campaign stands.")
    averages: tuple[Average, ...] = Field(
        default=(), max_length=32, description="Numbers whose mean is reported under demographics."
    )
    distributions: tuple[Distribution, ...] = Field(
        default=(), max_length=32, description="Values by which events are counted under demographics."
    )

    @property
    def stages(self) -> tuple[FunnelStage, ...]:
        """The funnel stages that have event types."""
        return tuple(stage for stage in FUNNEL_STAGES if self.event_types_of(stage))

    def event_types_of(self, stage: FunnelStage) -> tuple[str, ...]:
        return self.event_types.top if stage == "top" else self.event_types.bottom

    def schema_of(self, stage: FunnelStage) -> Schema:
        """The schema of the data; one without members for a stage that has no events."""
        return (self.schemas.top if stage == "top" else self.schemas.bottom) or _NOTHING

    def stages_with(self, pointer: str) -> tuple[FunnelStage, ...]:
        """The funnel stages whose schema has a member at `pointer`.

        A member that the schema does not name may be there all the same, with any value: senders put stray
        fields on the wrong source, so nothing may be read outside these stages.
        """
        return tuple(stage for stage in FUNNEL_STAGES if self.schema_of(stage).at(pointer))

    def named(self, name: str) -> Source:
        """The source of this declaration. Raises ValueError where the name is none."""
        prefix = self.metrics_prefix or f"{name.replace('-', '_')}_collector"
        document = self.model_dump(mode="json", by_alias=True, exclude_unset=True)
        return Source.model_validate(document | {"name": name, "metricsPrefix": prefix})

    @model_validator(mode="after")
    def _can_be_stored_and_reported(self) -> Declaration:
        if error := refusal(faults_of(self)):
            raise error
        return self


class Source(Declaration):
    """One source of events."""

    name: SourceName

    @property
    def low_cardinality(self) -> Source:
        """The same source without its distributions of high cardinality."""
        kept = tuple(distribution for distribution in self.distributions if not distribution.high_cardinality)
        return self.model_copy(update={"distributions": kept})
