"""Storing a batch, whatever is in it.

What Postgres refuses (SQLSTATE class 22, 23 or 54) is halved until the event alone is left, and becomes a dead letter.
Everything else is an outage: the batch is tried again, for as long as it takes, and is never a dead letter.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain, repeat
from typing import TypeVar

import msgspec

from eventpipeline import envelope
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.envelope import RequestRun
from eventpipeline.events import Reason, refused
from eventpipeline.sources import Source
from eventpipeline.store import Refused, StoreUnavailable, dead_letters
from eventpipeline.store.append import Appender
from eventpipeline.store.pool import Pool, connection
from eventpipeline.store.rollups import fold
from eventpipeline.telemetry import Health, log

_log = log("collector")
_FIRST_DELAY, _LAST_DELAY = 0.2, 2.0
_elements = msgspec.json.Decoder(list[msgspec.Raw])
T = TypeVar("T")


@dataclass(frozen=True)
class Packed:
    """What one message carries: a JSON array of events, and the requests they came with, in the order of the events.

    A foreign publisher need not say any request; its array need not even be one.
    """

    data: bytes
    requests: tuple[RequestRun, ...] = ()

    @property
    def count(self) -> int:
        """How many events it holds; 1, the thing itself, where it is no array."""
        if self.requests:
            return sum(run.count for run in self.requests)
        try:
            return len(_elements.decode(self.data))
        except (msgspec.DecodeError, RecursionError):
            return 1

    def events(self) -> list[_Event]:
        """The events one by one. Raises msgspec.DecodeError or RecursionError where `data` is no JSON array."""
        texts = map(bytes, _elements.decode(self.data))
        identities = chain.from_iterable(repeat(run.correlation_id, run.count) for run in self.requests)
        return [_Event(text, identity) for text, identity in zip(texts, chain(identities, repeat("")), strict=False)]


@dataclass(frozen=True)
class _Event:
    text: bytes
    correlation_id: str


@dataclass(frozen=True)
class Stored:
    """Events that are in the store now, those of them that were not before, and letters of those that were refused."""

    events: int = 0
    new: int = 0
    letters: tuple[bytes, ...] = ()

    def __add__(self, other: Stored) -> Stored:
        return Stored(self.events + other.events, self.new + other.new, self.letters + other.letters)


class BatchStore:
    """Stores batches of one source and dead letters, through any outage."""

    def __init__(self, source: Source, pool: Pool, metrics: CollectorMetrics, health: Health) -> None:
        self._appender = Appender(source)
        self._source = source
        self._pool = pool
        self._metrics = metrics
        self._health = health
        self._giving_up = asyncio.Event()
        self.trouble: str | None = None
        """Why the store takes nothing just now; None while it does."""

    async def store(self, messages: Sequence[Packed]) -> Stored:
        """Stores the events of `messages`; returns when each is committed, or its dead letter is.

        Raises StoreUnavailable after `give_up` only.
        """
        return await self._through_outages(lambda: self._store(messages))

    async def land(self, messages: Sequence[bytes]) -> int:
        """Lands dead letters, packed like events; returns how many were new.

        Raises StoreUnavailable after `give_up` only.
        """
        return await self._through_outages(lambda: self._land(messages))

    async def fold(self) -> int:
        """Folds what stored batches counted into the rollups; returns how many rows went. An outage puts it off."""
        try:
            async with connection(self._pool) as opened:
                return await fold(opened, self._source)
        except StoreUnavailable:
            self._metrics.outages.inc()  # where no events come, the only one that meets it
            return 0

    def give_up(self) -> None:
        """Lets an outage be the end of what is being stored: it is not tried again."""
        self._giving_up.set()

    async def _through_outages(self, attempt: Callable[[], Awaitable[T]]) -> T:
        delay = _FIRST_DELAY
        while True:
            try:
                result = await attempt()
            except StoreUnavailable as error:
                if self._giving_up.is_set():
                    raise
                self.trouble = str(error)
                self._metrics.outages.inc()
                _log.warning("the store takes nothing", error=str(error), retry_seconds=delay)
                self._health.beat()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._giving_up.wait(), delay)
                delay = min(delay * 2, _LAST_DELAY)
            else:
                self.trouble = None
                return result

    async def _store(self, messages: Sequence[Packed]) -> Stored:
        ours = [message for message in messages if message.requests]
        # How many events a foreign message holds is not known, so that it would shift the correlation ids of others.
        foreign = [message for message in messages if not message.requests]
        stored = await self._store_ours(ours) + await self._store_singly(foreign)
        if stored.letters:
            # Counted as they land, so that a batch that is stored again after an outage is not counted again.
            self._metrics.failed.inc(await self._land_letters(stored.letters))
        return stored

    async def _store_ours(self, messages: Sequence[Packed]) -> Stored:
        if not messages:
            return Stored()
        requests = tuple(run for message in messages for run in message.requests)
        try:
            return await self._append(envelope.join(message.data for message in messages), requests)
        except Refused:
            _log.warning("Postgres refuses a batch; looking for the event")
            return await self._store_singly(messages)

    async def _store_singly(self, messages: Iterable[Packed]) -> Stored:
        """Stores the events of messages that are not trusted, so that none harms another."""
        events, letters = [], []
        for message in messages:
            try:
                events += message.events()
            except (msgspec.DecodeError, RecursionError) as error:
                letters.append(_letter(message.data, "", "invalid_json", f"is no array of events: {error}"))
        objects = [event for event in events if event.text.startswith(b"{")]
        letters += [
            _letter(event.text, event.correlation_id, "not_an_object", "is not a JSON object; an event is one")
            for event in events
            if not event.text.startswith(b"{")
        ]
        return Stored(letters=tuple(letters)) + await self._bisect(objects)

    async def _bisect(self, events: Sequence[_Event]) -> Stored:
        if not events:
            return Stored()
        try:
            return await self._append(
                envelope.pack([event.text for event in events]),
                tuple(RequestRun(event.correlation_id, None, 1) for event in events),
            )
        except Refused as error:
            if len(events) == 1:
                message = f"Postgres refuses it: {error}"
                return Stored(letters=(_letter(events[0].text, events[0].correlation_id, "invalid_value", message),))
        self._health.beat()
        middle = len(events) // 2
        return await self._bisect(events[:middle]) + await self._bisect(events[middle:])

    async def _append(self, packed: bytes, requests: tuple[RequestRun, ...]) -> Stored:
        async with connection(self._pool) as opened:
            appended = await self._appender.append(opened, packed, requests)
        count = sum(run.count for run in requests)
        if not appended.beyond_retention:
            return Stored(count, appended.new)
        events = Packed(packed, requests).events()
        letters = tuple(
            _letter(events[position].text, events[position].correlation_id, "beyond_retention",
                    "belongs to a day that retention has dropped")
            for position in appended.beyond_retention
        )  # fmt: skip
        return Stored(count - len(letters), appended.new, letters)

    async def _land(self, messages: Sequence[bytes]) -> int:
        try:
            async with connection(self._pool) as opened:
                return await dead_letters.land(opened, envelope.join(messages))
        except Refused as error:
            if len(messages) > 1:
                return sum([await self._land([message]) for message in messages])
            # Not written by this project's gateway, so it is a dead letter itself.
            letter = _letter(messages[0], "", "invalid_json", f"is no message of dead letters: {error}")
            return await self._land_letters([letter])

    async def _land_letters(self, letters: Sequence[bytes]) -> int:
        async with connection(self._pool) as opened:
            return await dead_letters.land(opened, envelope.pack(letters))


def _letter(event: bytes, correlation_id: str, reason: Reason, message: str) -> bytes:
    # A batch that is stored again after an outage must not make a second letter of the same event.
    identity = uuid.UUID(bytes=hashlib.sha256(correlation_id.encode() + event).digest()[:16])
    rejection = refused(event, reason, message)
    return envelope.dead_letter(event, rejection, correlation_id, datetime.now(UTC).isoformat(), identity=identity)
