"""Query parameters: each door's as a model, from which they are parsed and documented."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError
from starlette.requests import Request

from eventpipeline.problems import Problem
from eventpipeline.sources import FunnelStage, Source
from eventpipeline.store.dead_letter_queries import DeadLetterFilter, Position
from eventpipeline.store.reports import Selection
from eventpipeline.store.windows import Interval, Window

MAX_ITEMS = 1000
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The names that a parameter may have as its value, by parameter."""

    source: tuple[str, ...]
    event_type: tuple[str, ...]

    @classmethod
    def of(cls, sources: Sequence[Source]) -> Vocabulary:
        types = {name for source in sources for name in (*source.event_types.top, *source.event_types.bottom)}
        return cls(tuple(source.name for source in sources), tuple(sorted(types)))

    def for_parameter(self, name: str) -> tuple[str, ...]:
        return {"source": self.source, "eventType": self.event_type}.get(name, ())


def _instant(text: str) -> datetime:
    try:
        if not _INSTANT.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "; a + is written %2B in a URL" if re.search(r" \d\d:?\d\d$", text) else ""
        raise PydanticCustomError(
            "instant", f"must be an ISO 8601 time with an offset, such as 2024-05-01T12:00:00Z{hint}"
        ) from None


def _known_source(value: str, info: ValidationInfo) -> str:
    assert isinstance(info.context, Vocabulary)
    return _one_of(value, info.context.source)


def _known_event_type(value: str, info: ValidationInfo) -> str:
    assert isinstance(info.context, Vocabulary)
    return _one_of(value, info.context.event_type)


def _one_of(value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise PydanticCustomError("unknown", f"must be one of {', '.join(known)}")
    return value


def write_cursor(position: Position) -> str:
    text = f"{position.received_at.isoformat()} {position.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_cursor(text: str) -> Position:
    try:
        received_at, identity = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode().split(" ")
        return Position(datetime.fromisoformat(received_at).astimezone(UTC), UUID(identity))
    except (ValueError, OverflowError):
        raise PydanticCustomError("cursor", "must be the `next` of an earlier answer") from None


Instant = Annotated[datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
Text = Annotated[str, Field(max_length=256, pattern=r"^[^\x00]*$")]
Cursor = Annotated[Position, BeforeValidator(_read_cursor), WithJsonSchema({"type": "string", "maxLength": 256})]
Limit = Annotated[int, Field(ge=1, le=MAX_ITEMS)]


class Query(BaseModel):
    """The query parameters of a door, none of them required."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class WindowQuery(Query):
    from_: Instant | None = Field(
        None, alias="from", description="Only what is at or after this time.", examples=["2024-05-01T00:00:00Z"]
    )
    to: Instant | None = Field(
        None, description="Only what is before this time; later than `from`.", examples=["2024-06-01T00:00:00Z"]
    )

    @field_validator("to")
    @classmethod
    def _after_from(cls, to: datetime | None, info: ValidationInfo) -> datetime | None:
        start = info.data.get("from_")
        if start and to and to <= start:
            raise PydanticCustomError("empty_window", "must be later than from")
        return to

    @property
    def window(self) -> Window:
        return Window(self.from_, self.to)


class ReportQuery(WindowQuery):
    source: Annotated[str, AfterValidator(_known_source)] | None = Field(
        None, description="Only events of this source.", examples=["facebook"]
    )
    format: Literal["json", "csv"] | None = Field(
        None, description="The form of the answer; stronger than the header Accept.", examples=["json"]
    )


class DemographicsQuery(ReportQuery):
    exact: bool = Field(
        False,
        description="Counts distinct users, and the values of distributions that have very many, one by one: slow over "
        "many events. Without it they are estimates, and `estimates` says how good.",
        examples=[False],
    )


class EventsQuery(ReportQuery):
    funnel_stage: FunnelStage | None = Field(None, description="Only events of this stage.", examples=["top"])
    event_type: Annotated[str, AfterValidator(_known_event_type)] | None = Field(
        None, description="Only events of this type.", examples=["video.view"]
    )
    interval: Interval | None = Field(
        None, description="Adds a series with a bucket for each interval, in UTC.", examples=["day"]
    )

    @property
    def selection(self) -> Selection:
        return Selection(self.window, self.source, self.funnel_stage, self.event_type)


class RevenueQuery(ReportQuery):
    campaign_id: Text | None = Field(None, description="Only this campaign.", examples=["camp-7"])
    group_by: Literal["campaign"] | None = Field(
        None, description="Divides the items by campaign too.", examples=["campaign"]
    )
    limit: Limit = Field(100, description="How many items there may be; the largest come first.", examples=[100])
    interval: Interval | None = Field(
        None, description="Adds a series with a bucket for each interval, in UTC.", examples=["day"]
    )

    @property
    def selection(self) -> Selection:
        return Selection(self.window, self.source, campaign_id=self.campaign_id)

    @property
    def by_campaign(self) -> bool:
        return self.group_by is not None or self.campaign_id is not None


class SelectedQuery(WindowQuery):
    source: Text | None = Field(None, description="Only those that name this source.", examples=["facebook"])
    reason: Text | None = Field(None, description="Only those refused for this reason.", examples=["missing_field"])
    funnel_stage: Text | None = Field(None, description="Only those that name this stage.", examples=["top"])
    event_id: Text | None = Field(None, description="Only those of this event.", examples=["fb-1"])

    @property
    def selected(self) -> DeadLetterFilter:
        return DeadLetterFilter(self.window, self.source, self.reason, self.funnel_stage, self.event_id)


class DeadLettersQuery(SelectedQuery):
    limit: Limit = Field(100, description="How many items there may be.", examples=[100])
    after: Cursor | None = Field(None, description="Goes on where an earlier answer ended: its `next`.")


class DropQuery(SelectedQuery):
    all: bool = Field(False, description="Drop all, where nothing says which.")


class NoQuery(Query):
    pass


Q = TypeVar("Q", bound=Query)


def parse(model: type[Q], request: Request, vocabulary: Vocabulary) -> Q:
    """The query parameters of `request`. Raises Problem 422 that names each one that is unknown, repeated or wrong."""
    given = request.query_params.multi_items()
    faults = [
        _fault(name, "must be given once", "repeated")
        for name, times in Counter(name for name, _ in given).items()
        if times > 1
    ]
    try:
        query = model.model_validate(dict(given), context=vocabulary)
    except ValidationError as error:
        faults += [_explained(model, fault) for fault in error.errors(include_url=False, include_input=False)]
    if faults:
        detail = "; ".join(f"query parameter {fault['loc'][1]}: {fault['msg']}" for fault in faults)
        raise Problem(422, detail, errors=faults)
    return query


def _explained(model: type[Query], fault: Mapping[str, Any]) -> dict[str, Any]:
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden":
        known = ", ".join(str(field.alias) for field in model.model_fields.values()) or "none"
        return _fault(name, f"there is no such parameter; there are {known}", "unknown_parameter")
    return _fault(name, fault["msg"], fault["type"])


def _fault(name: str, message: str, kind: str) -> dict[str, Any]:
    return {"loc": ["query", name], "msg": message, "type": kind}
