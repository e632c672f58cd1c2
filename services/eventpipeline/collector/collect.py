"""The loops of a collector: events into the store, dead letters into their table, a look at the lag."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from eventpipeline import envelope
from eventpipeline.collector.batches import BatchStore, Packed
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.sources import Source
from eventpipeline.store import StoreUnavailable
from eventpipeline.stream import DEAD, Message, Puller, Stream, StreamUnavailable, acknowledge, give_back, keep_alive
from eventpipeline.telemetry import Health, log

_log = log("collector")
_MAX_MESSAGES = 1000
_WAIT_SECONDS = 5.0
_FULL_AT_A_TIME = 2
_FOLD_EVERY = 30.0
_SMALL_BYTES = 64 * 1024
_GATHER_SECONDS = 0.02
"""How long after a small batch the next one gathers: a batch of three events costs as much as one of a hundred."""
_FIRST_DELAY, _LAST_DELAY = 0.1, 1.0

T = TypeVar("T")
Store = Callable[[Sequence[Message]], Awaitable[None]]


class Collector:
    """Collects one source. `run` goes on until `stop`."""

    def __init__(
        self,
        source: Source,
        stream: Stream,
        store: BatchStore,
        metrics: CollectorMetrics,
        health: Health,
        *,
        batch_bytes: int,
        look_seconds: float = 2.0,
    ) -> None:
        self._source = source
        self._stream = stream
        self._store = store
        self._metrics = metrics
        self._health = health
        self._batch_bytes = batch_bytes
        self._look_seconds = look_seconds
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        with contextlib.suppress(TimeoutError):  # a moment, so that an ordinary start warns of nothing
            await asyncio.wait_for(self._stream.connected(), 2.0)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._look())
            group.create_task(self._fold())
            group.create_task(self._collect(self._source.name, self._store_events))
            group.create_task(self._collect(DEAD, self._land))

    def stop(self) -> None:
        """Lets the batch that is being stored be the last one; where the store is away it is given back."""
        self._stopping.set()
        self._store.give_up()

    async def _collect(self, name: str, store: Store) -> None:
        delay = _FIRST_DELAY
        while not self._stopping.is_set():
            self._health.beat()
            started = time.monotonic()
            try:
                puller = await self._stream.puller(name)
                try:
                    await self._pull(puller, store)
                finally:
                    await puller.close()
            except StreamUnavailable as error:
                if time.monotonic() - started > _WAIT_SECONDS:
                    delay = _FIRST_DELAY  # it did give something meanwhile
                tell = _log.warning if delay == _FIRST_DELAY else _log.debug
                tell("the stream gives nothing", stream=name, error=str(error))
                self._stream.forget(name)
                await self._pause(delay)
                delay = min(delay * 2, _LAST_DELAY)

    async def _pull(self, puller: Puller, store: Store) -> None:
        """Stores batches while the next one is fetched; what is not stored in the end is given back.

        Of full batches two are stored at a time, each by a connection of its own: Postgres computes one while it waits
        for the disk to have the other. Small ones go one by one, so that the next gathers meanwhile.
        """
        held: set[Message] = set()
        keeping = asyncio.create_task(keep_alive(held))
        fetching = self._fetch(puller, held)
        storing: list[asyncio.Task[None]] = []
        try:
            while await self._unless_stopped(fetching):
                messages = fetching.result()
                size = sum(len(message.data) for message in messages)
                fetching = self._fetch(puller, held, after=_GATHER_SECONDS if 0 < size < _SMALL_BYTES else 0.0)
                self._health.beat()
                if messages:
                    at_a_time = _FULL_AT_A_TIME if size >= self._batch_bytes // 2 else 1
                    while len(storing) >= at_a_time:
                        await storing[0]
                        del storing[0]
                    if self._stopping.is_set():
                        break
                    storing.append(asyncio.create_task(_settle(store, messages, held)))
            await asyncio.gather(*storing)
        except StoreUnavailable as error:
            _log.warning("what is in hand is given back, since the store takes nothing", error=str(error))
        except asyncio.CancelledError:
            for task in storing:
                task.cancel()
            raise
        finally:
            fetching.cancel()
            keeping.cancel()
            await asyncio.gather(fetching, keeping, *storing, return_exceptions=True)
            await give_back(held)

    async def _unless_stopped(self, task: asyncio.Task[T]) -> bool:
        """Waits until `task` is done, or the collector is told to stop; says whether to go on."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return not self._stopping.is_set()

    async def _pause(self, seconds: float) -> None:
        """Waits so long, or until the collector is told to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def _fetch(self, puller: Puller, held: set[Message], *, after: float = 0.0) -> asyncio.Task[list[Message]]:
        async def fetch() -> list[Message]:
            await asyncio.sleep(after)
            messages = await puller.fetch(_MAX_MESSAGES, self._batch_bytes, _WAIT_SECONDS)
            held.update(messages)
            return messages

        return asyncio.create_task(fetch())

    async def _store_events(self, messages: Sequence[Message]) -> None:
        started = time.perf_counter()
        packed = [Packed(message.data, tuple(envelope.requests_of(message.headers))) for message in messages]
        self._metrics.accepted.inc(sum(message.count for message in packed))
        stored = await self._store.store(packed)
        seconds = time.perf_counter() - started
        self._metrics.processed.inc(stored.events)
        self._metrics.duplicates.inc(stored.events - stored.new)
        self._metrics.batch_events.observe(stored.events)
        self._metrics.batch_seconds.observe(seconds)
        identities = [run.correlation_id for message in packed for run in message.requests]
        _log.info(
            "stored", events=stored.events, new=stored.new, refused=len(stored.letters), messages=len(messages),
            milliseconds=round(seconds * 1000, 1), correlationIds=identities[:10],
        )  # fmt: skip

    async def _land(self, messages: Sequence[Message]) -> None:
        landed = await self._store.land([message.data for message in messages])
        self._metrics.dead_letters.inc(landed)
        _log.info("landed dead letters", letters=landed, messages=len(messages))

    async def _fold(self) -> None:
        """Keeps what reports have to add up small."""
        # Collectors that were started together would fold together, and have all cores for it.
        await self._pause(random.uniform(0.0, _FOLD_EVERY))  # noqa: S311 - nobody's secret
        while not self._stopping.is_set():
            if folded := await self._store.fold():
                _log.debug("folded what batches counted", rows=folded)
            await self._pause(_FOLD_EVERY)

    async def _look(self) -> None:
        """Shows the lag, and trims what is stored."""
        while not self._stopping.is_set():
            try:
                lag = await self._stream.lag(self._source.name)
                self._metrics.lag_messages.set(lag.pending_messages)
                self._metrics.oldest_seconds.set(lag.oldest_age)
                self._metrics.stream_bytes.set(lag.bytes)
                for name in (self._source.name, DEAD):
                    if gone := await self._stream.trim(name):
                        _log.info("trimmed", stream=name, messages=gone)
            except StreamUnavailable as error:
                _log.debug("the lag is not known", error=str(error))
            await self._pause(self._look_seconds)


async def _settle(store: Store, messages: Sequence[Message], held: set[Message]) -> None:
    """Stores a batch, and says so."""
    await store(messages)
    held.difference_update(messages)
    await acknowledge(messages)
