"""The loops of a collector: events into the store, dead letters into their table, a look at the lag."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from eventpipeline import envelope
from eventpipeline.collector.batches import Batch, BatchStore
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.envelope import requests_of
from eventpipeline.sources import Source
from eventpipeline.stream import DEAD, Message, Puller, Stream, StreamUnavailable, acknowledge, give_back, keep_alive
from eventpipeline.telemetry import Health, log

_log = log("collector")
_MAX_MESSAGES = 1000
_WAIT_SECONDS = 5.0
_LOOK_EVERY = 2.0
_RETRY_EVERY = 1.0

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
    ) -> None:
        self._source = source
        self._stream = stream
        self._store = store
        self._metrics = metrics
        self._health = health
        self._batch_bytes = batch_bytes
        self._stopping = asyncio.Event()
        self._held: set[Message] = set()

    async def run(self) -> None:
        background = [asyncio.create_task(keep_alive(self._held)), asyncio.create_task(self._look())]
        try:
            await asyncio.gather(self._collect(self._source.name, self._store_events), self._collect(DEAD, self._land))
        finally:
            for task in background:
                task.cancel()

    def stop(self) -> None:
        """Lets the batch that is being stored be the last one."""
        self._stopping.set()

    async def _collect(self, name: str, store: Store) -> None:
        connecting = asyncio.create_task(self._stream.connected())
        if not await self._unless_stopped(connecting):
            connecting.cancel()
        while not self._stopping.is_set():
            self._health.beat()
            try:
                puller = await self._stream.puller(name)
                try:
                    await self._pull(puller, store)
                finally:
                    await puller.close()
            except StreamUnavailable as error:
                _log.warning("the stream gives nothing", stream=name, error=str(error), retry_seconds=_RETRY_EVERY)
                self._stream.forget(name)
                await asyncio.sleep(_RETRY_EVERY)

    async def _pull(self, puller: Puller, store: Store) -> None:
        """Stores one batch while the next one is fetched."""
        fetching = self._fetch(puller)
        try:
            while await self._unless_stopped(fetching):
                messages = fetching.result()
                fetching = self._fetch(puller)
                self._health.beat()
                if messages:
                    await store(messages)
                    await acknowledge(messages)
                    self._held.difference_update(messages)
        finally:
            fetching.cancel()
            left = (await asyncio.gather(fetching, return_exceptions=True))[0]
            if isinstance(left, list):
                await give_back(left)
                self._held.difference_update(left)

    async def _unless_stopped(self, task: asyncio.Task[T]) -> bool:
        """Waits until `task` is done, or the collector is told to stop; says whether to go on."""
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        return not self._stopping.is_set()

    def _fetch(self, puller: Puller) -> asyncio.Task[list[Message]]:
        async def fetch() -> list[Message]:
            messages = await puller.fetch(_MAX_MESSAGES, self._batch_bytes, _WAIT_SECONDS)
            self._held.update(messages)
            return messages

        return asyncio.create_task(fetch())

    async def _store_events(self, messages: Sequence[Message]) -> None:
        started = time.perf_counter()
        requests = tuple(run for message in messages for run in requests_of(message.headers))
        stored = await self._store.store(Batch(envelope.join(message.data for message in messages), requests))
        seconds = time.perf_counter() - started
        self._metrics.processed.inc(stored.events)
        self._metrics.duplicates.inc(stored.events - stored.new)
        self._metrics.batch_events.observe(stored.events)
        self._metrics.batch_seconds.observe(seconds)
        _log.info(
            "stored", events=stored.events, new=stored.new, refused=stored.refused, messages=len(messages),
            milliseconds=round(seconds * 1000, 1), correlationIds=[run.correlation_id for run in requests[:10]],
        )  # fmt: skip

    async def _land(self, messages: Sequence[Message]) -> None:
        landed = await self._store.land(envelope.join(message.data for message in messages))
        self._metrics.dead_letters.inc(landed)
        _log.info("landed dead letters", letters=landed, messages=len(messages))

    async def _look(self) -> None:
        """Shows the lag, and trims what is stored."""
        while True:
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
            await asyncio.sleep(_LOOK_EVERY)
