"""How a pipeline recovers, wherever it runs: what was answered when, and how far its streams are stored."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from eventpipeline.publisher.ledger import Fate, Ledger, Request

_POLL = 0.1


@dataclass(frozen=True)
class Answer:
    sent_at: float
    """By the monotonic clock."""
    request: Request

    @property
    def failed(self) -> bool:
        return self.request.fate not in (Fate.ACCEPTED, Fate.REJECTED)


@dataclass(frozen=True)
class Place:
    """How far one stream is, in sequence numbers."""

    last: int
    stored: int
    """Everything up to here is acknowledged by the collectors."""


def places(answers: Iterable[Mapping[str, Any]]) -> dict[str, Place]:
    """Where each stream is, by name, after what each server says at `/jsz?consumers=true`.

    Of several servers that have a stream, the one that is ahead knows.
    """
    found: dict[str, Place] = {}
    for answer in answers:
        for account in answer.get("account_details") or ():
            for stream in account.get("stream_detail") or ():
                floors = [one["ack_floor"]["stream_seq"] for one in stream.get("consumer_detail") or ()]
                seen = found.get(stream["name"], Place(0, 0))
                last = max(seen.last, stream["state"]["last_seq"])
                found[stream["name"]] = Place(last, max(seen.stored, *floors, 0))
    return found


@dataclass
class Recovering(ABC):
    """Looks on while a pipeline is broken, and says how soon it is well again."""

    answers: list[Answer] = field(default_factory=list, kw_only=True)
    troubles: list[str] = field(default_factory=list, kw_only=True)
    """What `until_well` saw last that was not well, where it can tell."""

    def on_answer(self, ledger: Ledger) -> None:
        request = ledger.requests[-1]
        self.answers.append(Answer(time.monotonic() - request.latency, request))

    def answered_since(self, moment: float) -> bool:
        """Whether a request that was sent since then was answered with 202."""
        return any(answer.sent_at >= moment and not answer.failed for answer in reversed(self.answers))

    def failed_since(self, moment: float) -> list[Answer]:
        """Requests sent since then that were not taken."""
        return [answer for answer in self.answers if answer.sent_at >= moment and answer.failed]

    async def until_answering(self, since: float, most: float) -> float | None:
        """Seconds from `since` until a request sent after it is answered 202; None where that takes too long."""
        while time.monotonic() < since + most:
            if self.answered_since(since):
                return time.monotonic() - since
            await asyncio.sleep(_POLL / 2)
        return None

    async def until_drained(self, since: float, most: float) -> float | None:
        """Seconds from `since` until everything that the streams hold now is stored."""
        goal: dict[str, Place] | None = None
        while time.monotonic() < since + most:
            places = await self.look()
            goal = goal or places
            if places and goal and all(places[name].stored >= place.last for name, place in goal.items()):
                return time.monotonic() - since
            await asyncio.sleep(_POLL)
        return None

    @abstractmethod
    async def look(self) -> dict[str, Place] | None:
        """Where each stream is; None while NATS does not answer."""

    @abstractmethod
    async def until_well(self, gone: Collection[str], since: float, most: float) -> float | None:
        """Seconds from `since` until nothing is left of what is to be `gone`, and everything says that it is ready."""
