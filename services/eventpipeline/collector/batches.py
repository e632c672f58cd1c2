"""Storing a batch, whatever is in it.

What Postgres refuses (SQLSTATE class 22 or 23) is halved until the event alone is left, and becomes a dead letter.
Everything else is an outage: the batch is tried again, for as long as it takes, and is never a dead letter.
"""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from eventpipeline import envelope
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.envelope import RequestRun
from eventpipeline.events import Reason, refused
from eventpipeline.sources import Source
from eventpipeline.store import Refused, SchemaMismatch, StoreUnavailable, dead_letters
from eventpipeline.store.append import Appender
from eventpipeline.store.pool import Pool, connection
from eventpipeline.telemetry import Health, log

_log = log("collector")
_FIRST_DELAY, _LAST_DELAY = 0.2, 5.0
_elements = msgspec.json.Decoder(list[msgspec.Raw])
T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """Events of one source, packed, with the requests they came with."""

    packed: bytes
    requests: tuple[RequestRun, ...]

    def part(self, events: Sequence[bytes], first: int, last: int) -> Batch:
        """The batch of `events[first:last]`, where `events` are all events of this one."""
        runs, start = [], 0
        for run in self.requests:
            count = min(last, start + run.count) - max(first, start)
            if count > 0:
                runs.append(RequestRun(run.correlation_id, run.traceparent, count))
            start += run.count
        return Batch(envelope.pack(events[first:last]), tuple(runs))


@dataclass(frozen=True)
class Stored:
    """Events that are in the store now, those of them that were not before, and those that were refused."""

    events: int = 0
    new: int = 0
    refused: int = 0

    def __add__(self, other: Stored) -> Stored:
        return Stored(self.events + other.events, self.new + other.new, self.refused + other.refused)


class BatchStore:
    """Stores batches of one source and dead letters, through any outage."""

    def __init__(self, source: Source, pool: Pool, metrics: CollectorMetrics, health: Health) -> None:
        self._appender = Appender(source)
        self._pool = pool
        self._metrics = metrics
        self._health = health
        self.trouble: str | None = None
        """Why the store takes nothing just now; None while it does."""

    async def store(self, batch: Batch) -> Stored:
        """Stores `batch`, or its parts; returns when all of it is committed."""
        return await self._through_outages(lambda: self._append_or_bisect(batch))

    async def land(self, packed: bytes) -> int:
        """Lands packed dead letters; returns how many were new."""
        return await self._through_outages(lambda: self._land(packed))

    async def _through_outages(self, attempt: Callable[[], Awaitable[T]]) -> T:
        delay = _FIRST_DELAY
        while True:
            try:
                result = await attempt()
            except (StoreUnavailable, SchemaMismatch) as error:
                self.trouble = str(error)
                self._metrics.outages.inc()
                _log.warning("the store takes nothing", error=str(error), retry_seconds=delay)
                self._health.beat()
                await asyncio.sleep(delay)
                delay = min(delay * 2, _LAST_DELAY)
            else:
                self.trouble = None
                return result

    async def _append_or_bisect(self, batch: Batch) -> Stored:
        try:
            return await self._append(batch)
        except Refused:
            _log.warning("Postgres refuses a batch; looking for the event")
            return await self._bisect(batch)

    async def _append(self, batch: Batch) -> Stored:
        async with connection(self._pool) as opened:
            appended = await self._appender.append(opened, batch.packed, batch.requests)
        for event in appended.beyond_retention:
            await self._refuse(event, batch, "beyond_retention", "belongs to a day that retention has dropped")
        dropped = len(appended.beyond_retention)
        # A foreign publisher need not say how many events it packed.
        events = max(sum(run.count for run in batch.requests) - dropped, appended.new)
        return Stored(events, appended.new, dropped)

    async def _bisect(self, batch: Batch) -> Stored:
        try:
            events = [bytes(event) for event in _elements.decode(batch.packed)]
        except (msgspec.DecodeError, RecursionError) as error:
            await self._refuse(batch.packed, batch, "invalid_json", f"is no array of events: {error}")
            return Stored(refused=1)
        return await self._store_part(batch, events, 0, len(events))

    async def _store_part(self, batch: Batch, events: Sequence[bytes], first: int, last: int) -> Stored:
        part = batch.part(events, first, last)
        try:
            return await self._append(part)
        except Refused as error:
            if last - first <= 1:
                await self._refuse(events[first], part, "invalid_value", f"Postgres refuses it: {error}")
                return Stored(refused=1)
        middle = (first + last) // 2
        return await self._store_part(batch, events, first, middle) + await self._store_part(
            batch, events, middle, last
        )

    async def _refuse(self, event: bytes, batch: Batch, reason: Reason, message: str) -> None:
        correlation_id = batch.requests[0].correlation_id if batch.requests else ""
        # A batch that is stored again after an outage must not make a second letter of the same event.
        identity = uuid.UUID(bytes=hashlib.sha256(correlation_id.encode() + event).digest()[:16])
        rejection = refused(event, reason, message)
        letter = envelope.dead_letter(
            event, rejection, correlation_id, datetime.now(UTC).isoformat(), identity=identity
        )
        async with connection(self._pool) as opened:
            await dead_letters.land(opened, envelope.pack([letter]))
        self._metrics.failed.inc()

    async def _land(self, packed: bytes) -> int:
        try:
            async with connection(self._pool) as opened:
                return await dead_letters.land(opened, packed)
        except Refused as error:
            # Not written by this project's gateway, so it is a dead letter itself.
            await self._refuse(packed, Batch(packed, ()), "invalid_json", f"is no message of dead letters: {error}")
            return 1
