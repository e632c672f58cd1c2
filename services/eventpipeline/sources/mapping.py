"""Where the parts of an event stand in a body that a sender shapes as it likes. Pure."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from eventpipeline.sources.schema import Pointer, SourceModel

WITHIN_PATTERN = r"^(/[A-Za-z0-9_-]+)*$"
EVENTS_PATTERN = r"^(/([A-Za-z0-9_-]+|\*))*$"

Within = Annotated[str, Field(pattern=WITHIN_PATTERN, max_length=256)]
"""A JSON Pointer; the empty one is the whole."""


class BodyMapping(SourceModel):
    """How a body that is not in this project's form becomes events."""

    events: str = Field(
        default="", pattern=EVENTS_PATTERN, max_length=256,
        description="Where the events stand in the body; * is each element of an array: /entry/*/changes/*. Without "
        "it, the body is one.",
    )  # fmt: skip
    event_id: tuple[Pointer, ...] = Field(
        default=(), max_length=4,
        description="What an event is known by, joined by a colon where there are several; without it, the digest of "
        "its text.",
    )  # fmt: skip
    event_type: Pointer = Field(description="Where the event type stands, a string of eventTypes.")
    timestamp: Pointer = Field(
        description="Where the time stands: RFC 3339, or a whole number of seconds or milliseconds since 1970."
    )
    data: Within = Field(default="", description="What becomes data: an object; without it, the whole event.")
    embedded: tuple[Pointer, ...] = Field(
        default=(), max_length=8, description="Members of data that are JSON in a string, and are taken out of it."
    )
    strings: tuple[Pointer, ...] = Field(
        default=(), max_length=16,
        description="Members of data that are numbers and become strings, digit by digit: amounts, and ids.",
    )  # fmt: skip
