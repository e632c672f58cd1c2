"""Instants on the wire, and the buckets of a series. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import orjson

from eventpipeline.problems import Problem
from eventpipeline.store.reports import Span
from eventpipeline.store.windows import STEPS, Interval, Window, ceiling, floor

MAX_BUCKETS = 10_000


def written(instant: datetime) -> str:
    """`2024-05-01T12:00:00Z`, with microseconds where there are any."""
    # Ten times as fast as isoformat(), which asks for the offset again and again; a series has thousands.
    return orjson.dumps(instant.astimezone(UTC), option=orjson.OPT_UTC_Z)[1:-1].decode()


def all_written(instants: Sequence[datetime]) -> list[str]:
    """Each of many as `written` does it; they are of UTC. At once it takes a tenth of the time."""
    return orjson.dumps(instants, option=orjson.OPT_UTC_Z)[2:-2].decode().split('","') if instants else []


def written_or_none(instant: datetime | None) -> str | None:
    return None if instant is None else written(instant)


def bounds(window: Window) -> dict[str, str | None]:
    """The window as reports repeat it."""
    return {"from": written_or_none(window.start), "to": written_or_none(window.end)}


def bucket_starts(window: Window, span: Span, interval: Interval) -> list[datetime]:
    """The beginnings of all buckets of a series, empty ones too: over the window, or the data where that is open.

    Raises Problem 422 where there are more than MAX_BUCKETS.
    """
    step = STEPS[interval]
    first = window.start or span.first
    end = window.end or (span.last and floor(span.last, step) + step)
    if first is None or end is None or end <= first:
        return []
    start = floor(first, step)
    count = (ceiling(end, step) - start) // step
    if count > MAX_BUCKETS:
        raise _too_many(interval, count)
    return [start + index * step for index in range(count)]


def _too_many(interval: Interval, count: int) -> Problem:
    message = f"gives {count} buckets, more than {MAX_BUCKETS}; ask for a longer interval or a shorter time"
    return Problem(
        422,
        f"query parameter interval={interval} {message}",
        errors=[{"loc": ["query", "interval"], "msg": message, "type": "too_many_buckets"}],
    )
