"""The lag of a pipeline while a load runs, from the reporter's `/status`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx2


@dataclass(frozen=True, slots=True)
class Sample:
    """How the pipeline fared at one moment."""

    at: float
    """On the monotonic clock, when the answer was there."""
    events: int
    """Stored, since the pipeline was made."""
    pending_messages: int
    """Messages of events, a message holding about a thousand of them."""
    pending_letters: int
    oldest_seconds: float
    """The age of the oldest message that is not stored."""

    @property
    def is_drained(self) -> bool:
        return self.pending_messages == 0 and self.pending_letters == 0

    @classmethod
    def of(cls, at: float, status: dict[str, Any]) -> Self | None:
        """From the JSON of `/status`; None where the stream did not answer the reporter."""
        if status["stream"] != "ok":
            return None
        sources = status["sources"]
        return cls(
            at=at,
            events=sum(source["events"] for source in sources),
            pending_messages=sum(source["pendingMessages"] for source in sources),
            pending_letters=status["deadLetters"]["pendingMessages"],
            oldest_seconds=max(source["oldestPendingSeconds"] for source in sources),
        )


async def look(client: httpx2.AsyncClient) -> Sample | None:
    """A sample of now; None where the reporter has none."""
    try:
        response = await client.get("/status")
        response.raise_for_status()
    except httpx2.HTTPError:
        return None
    return Sample.of(time.monotonic(), response.json())


def quarters(samples: Sequence[Sample], started: float, ended: float) -> list[float]:
    """The greatest `oldest_seconds` in each quarter of the time; a bounded lag does not grow from one to the next."""
    greatest = [0.0] * 4
    for sample in samples:
        quarter = int(4 * (sample.at - started) / (ended - started)) if ended > started else 0
        if 0 <= quarter < 4:
            greatest[quarter] = max(greatest[quarter], sample.oldest_seconds)
    return greatest
