"""From a body to the stream: each event validated once, valid ones packed and published, the others dead letters.

Events are looked at a packed message at a time: as many as fit one message are validated together by one compiled
call over their bytes, and only where that fails is each looked at on its own. Between two messages the event loop
gets its turn, so a body of 50,000 events stalls nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from eventpipeline import envelope
from eventpipeline.envelope import PACKED_BYTES, REASON_HEADER, RequestRun
from eventpipeline.events import (
    UNREADABLE,
    EventValidator,
    Reason,
    Rejection,
    fault_without_source,
    fits_fast_path,
    refused,
    source_of,
)
from eventpipeline.gateway.cloudevents import Fault
from eventpipeline.gateway.groups import Groups
from eventpipeline.gateway.metrics import STREAM_UNAVAILABLE, UNKNOWN, GatewayMetrics
from eventpipeline.sources import Source
from eventpipeline.stream import DEAD, Stream, StreamFull, StreamUnavailable

NO_FAULTS: Mapping[int, Fault] = {}
_ERRORS_SHOWN = 100
_TURN_BYTES = 16 * 1024
"""Bytes of events that take about as long as giving the others their turn."""


@dataclass
class Outcome:
    """What became of the events of one request."""

    accepted: int = 0
    rejected: int = 0
    errors: list[dict[str, Any]] = field(default_factory=list)
    """The first 100 rejections: `{"index", "eventId", "reason", "detail"}`."""


class Ingest:
    """Takes the events of requests into the stream."""

    def __init__(
        self,
        sources: tuple[Source, ...],
        stream: Stream,
        metrics: GatewayMetrics,
        *,
        ack_timeout: float,
        retention_days: int | None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._validators = {source.name: EventValidator(source) for source in sources}
        self._stream = stream
        self._metrics = metrics
        self._groups = Groups(stream, ack_timeout=ack_timeout)
        self._ack_timeout = ack_timeout
        self._retention_days = retention_days
        self._now = now

    async def take(
        self,
        events: Iterable[Any],
        correlation_id: str,
        traceparent: str | None,
        allowed: Sequence[str] | None = None,
        faults: Mapping[int, Fault] = NO_FAULTS,
    ) -> Outcome:
        """Validates and publishes `events`, JSON texts in the order of the body; returns once all are on disk.

        Of sources that are not in `allowed` none is taken. At the places in `faults` there is no JSON text, but what
        was refused before. Raises StreamUnavailable where one acknowledgement did not
        come: some events may be in the stream then, and a retry of the same body counts them once.
        """
        request = _Request(self, correlation_id, traceparent, allowed, faults)
        try:
            await request.sort(events)
            del events
            await request.finish()
        finally:
            await request.abandon()
        return request.outcome


class _Request:
    """The events of one request on their way."""

    def __init__(
        self,
        ingest: Ingest,
        correlation_id: str,
        traceparent: str | None,
        allowed: Sequence[str] | None,
        faults: Mapping[int, Fault],
    ) -> None:
        self._ingest = ingest
        self._faults = faults
        known = ingest._validators
        self._validators = known if allowed is None else {name: known[name] for name in allowed}
        self._metrics = ingest._metrics
        self._correlation_id = correlation_id
        self._traceparent = traceparent
        self._received_at = ingest._now()
        self._oldest = (
            self._received_at - timedelta(days=ingest._retention_days) if ingest._retention_days is not None else None
        )
        self._dead: dict[Reason, list[bytes]] = {}
        self._dead_bytes: dict[Reason, int] = {}
        self._publishing: list[tuple[str, int, asyncio.Future[None]]] = []
        """What is on its way: of which source or stream, how many events, and what is done when they are on disk."""
        self.outcome = Outcome()

    async def sort(self, events: Iterable[Any]) -> None:
        """Groups the events by source into messages, and sends each message off when it is full."""
        validators = self._validators
        plain: dict[str, _Pack] = {}
        large: dict[str, _Pack] = {}
        for index, event in enumerate(events):
            length = len(memoryview(event))
            try:
                name = source_of(event).source
                validators[name]  # a KeyError of one that is not allowed
            except (*UNREADABLE, KeyError):
                fault = self._faults.get(index)
                text = fault.text if fault else bytes(event)
                self._reject(index, text, fault.rejection if fault else fault_without_source(text, validators))
                await self._yield_after(length)
                continue
            packs = plain if fits_fast_path(length) else large
            pack = packs.get(name)
            if pack and pack.bytes + length > PACKED_BYTES - 2:
                await self._send(name, pack, together=packs is plain)
                pack = None
            if pack is None:
                pack = packs[name] = _Pack()
            pack.add(index, event, length)
        for packs in (plain, large):
            for name, pack in packs.items():
                await self._send(name, pack, together=packs is plain)

    async def _send(self, name: str, pack: _Pack, *, together: bool) -> None:
        if together:
            packed = envelope.pack(pack.events)
            if self._ingest._validators[name].all_valid(packed) and self._all_recent(packed):
                self._publish(name, packed, len(pack.events))
                if pack.bytes > _TURN_BYTES:
                    await asyncio.sleep(0)
                return
        await self._send_each(name, pack)

    async def _send_each(self, name: str, pack: _Pack) -> None:
        """Looks at each event on its own, and sends the valid ones."""
        validator = self._ingest._validators[name]
        valid = []
        for position, (index, event) in enumerate(zip(pack.indices, pack.events, strict=True)):
            text = bytes(event)
            fault = validator.fault(text) or self._too_old(text)
            if fault:
                self._reject(index, text, fault)
            else:
                valid.append(text)
            if position % 100 == 99:
                await asyncio.sleep(0)
        if valid:
            self._publish(name, envelope.pack(valid), len(valid))
        await asyncio.sleep(0)

    def _all_recent(self, packed: bytes) -> bool:
        return self._oldest is None or all(event.timestamp >= self._oldest for event in _timestamps.decode(packed))

    def _too_old(self, event: bytes) -> Rejection | None:
        if self._oldest is None or _timestamp.decode(event).timestamp >= self._oldest:
            return None
        message = f"is older than the {self._ingest._retention_days} days that events are kept"
        return refused(event, "beyond_retention", message, loc=["timestamp"])

    def _reject(self, index: int, event: Any, rejection: Rejection) -> None:
        self.outcome.rejected += 1
        if len(self.outcome.errors) < _ERRORS_SHOWN:
            self.outcome.errors.append(
                {
                    "index": index,
                    "eventId": rejection.event_id,
                    "reason": rejection.reason,
                    "detail": rejection.detail,
                }
            )
        source = rejection.source if rejection.source in self._ingest._validators else UNKNOWN
        self._metrics.failed.labels(source, rejection.reason).inc()
        letter = envelope.dead_letter(bytes(event), rejection, self._correlation_id, self._received_at.isoformat())
        letters = self._dead.setdefault(rejection.reason, [])
        if letters and self._dead_bytes[rejection.reason] + len(letter) > PACKED_BYTES:
            self._publish_dead(rejection.reason)
            letters = self._dead[rejection.reason] = []
        letters.append(letter)
        self._dead_bytes[rejection.reason] = self._dead_bytes.get(rejection.reason, 0) + len(letter) + 1

    async def _yield_after(self, length: int) -> None:
        if self.outcome.rejected % 100 == 0 or length > PACKED_BYTES:
            await asyncio.sleep(0)

    # --- publishing --------------------------------------------------------------------------------------------------

    def _publish(self, source: str, packed: bytes, count: int) -> None:
        self._metrics.accepted_of[source].inc(count)
        run = RequestRun(self._correlation_id, self._traceparent, count)
        self._publishing.append((source, count, self._ingest._groups.publish(source, packed, run)))

    def _publish_dead(self, reason: Reason) -> None:
        letters = self._dead.pop(reason)
        self._dead_bytes[reason] = 0
        self._publishing.append((DEAD, len(letters), asyncio.create_task(self._publish_letters(reason, letters))))

    async def _publish_letters(self, reason: Reason, letters: list[bytes]) -> None:
        try:
            await self._ingest._stream.publish(
                DEAD, envelope.pack(letters), {REASON_HEADER: reason}, self._ingest._ack_timeout
            )
        except StreamFull:
            # Valid events are still taken; what could not be kept is counted, and shown.
            self._metrics.dead_letters_lost.inc(len(letters))

    async def finish(self) -> None:
        """Waits for every acknowledgement. Raises StreamUnavailable for the first that did not come."""
        for reason in tuple(self._dead):
            self._publish_dead(reason)
        failed = await self._first_failure()
        if failed:
            try:
                raise failed
            finally:
                del failed  # its traceback would hold this frame, and with it the whole body, until a collection

    async def _first_failure(self) -> StreamUnavailable | None:
        first = None
        for source, count, answered in self._publishing:
            try:
                await answered
            except StreamUnavailable as error:
                # Its traceback holds this frame, which holds what holds the error: as above.
                first = first or error.with_traceback(None)
                if source != DEAD:
                    self._metrics.failed.labels(source, STREAM_UNAVAILABLE).inc(count)
            else:
                if source != DEAD:
                    self._metrics.processed_of[source].inc(count)
                    self.outcome.accepted += count
        self._publishing.clear()
        return first

    async def abandon(self) -> None:
        """Ends what is still on its way, where the client left or the body went wrong in the middle."""
        publishing, self._publishing = [answered for _, _, answered in self._publishing], []
        for answered in publishing:
            answered.cancel()
        if publishing:
            await asyncio.gather(*publishing, return_exceptions=True)


class _Pack:
    """Events of one source on their way into one message."""

    __slots__ = ("bytes", "events", "indices")

    def __init__(self) -> None:
        self.indices: list[int] = []
        self.events: list[Any] = []
        self.bytes = 0

    def add(self, index: int, event: Any, length: int) -> None:
        self.indices.append(index)
        self.events.append(event)
        self.bytes += length + 1


class _Timestamp(msgspec.Struct):
    timestamp: datetime


_timestamp = msgspec.json.Decoder(_Timestamp)
_timestamps = msgspec.json.Decoder(list[_Timestamp])
