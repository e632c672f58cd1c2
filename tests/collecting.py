"""A collector inside the test's own process, and messages as a gateway publishes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from eventpipeline import envelope
from eventpipeline.collector.batches import BatchStore
from eventpipeline.collector.collect import Collector
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.envelope import REQUESTS_HEADER, RequestRun
from eventpipeline.settings import StreamSettings
from eventpipeline.sources import built_in
from eventpipeline.store.pool import open_pool
from eventpipeline.stream import Stream
from eventpipeline.telemetry import Health, new_registry


async def eventually(condition: Callable[[], Any], what: str, seconds: float = 60.0) -> None:
    """Returns when the condition, which may be a coroutine function, holds."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        holds = condition()
        if asyncio.iscoroutine(holds):
            holds = await holds
        if holds:
            return
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def streaming(nats_url: str, prefix: str, *, wait: bool = True, **settings: Any) -> AsyncIterator[Stream]:
    limits = {"stream_bytes": 64 * 2**20, "dead_bytes": 16 * 2**20}  # the tests' streams share one server
    stream = Stream(StreamSettings(nats_url=nats_url, stream_prefix=prefix, **limits | settings), "test")
    stream.start()
    try:
        if wait:
            await stream.connected()
        yield stream
    finally:
        await stream.close()


@asynccontextmanager
async def collecting(
    nats_url: str, database: str, prefix: str, source: str = "facebook", look_seconds: float = 0.1, **settings: Any
) -> AsyncIterator[CollectorMetrics]:
    """A collector that runs until the end of the block, which then stores what it has in hand."""
    declared, registry, health = built_in(source), new_registry(), Health()
    metrics = CollectorMetrics(registry, declared)
    pool = open_pool(database, name="test", read_only=False, max_size=3)
    await pool.open(wait=False)
    async with streaming(nats_url, prefix, wait=False, **settings) as stream:
        store = BatchStore(declared, pool, metrics, health)
        collector = Collector(
            declared, stream, store, metrics, health, batch_bytes=4 * 2**20, look_seconds=look_seconds
        )
        running = asyncio.create_task(collector.run())
        try:
            yield metrics
        finally:
            collector.stop()
            await running
            await pool.close()


def packed(events: Iterable[dict[str, Any]]) -> bytes:
    return json.dumps(list(events)).encode()


async def publish(
    stream: Stream, events: Sequence[dict[str, Any]], *, source: str = "facebook", correlation_id: str = "test"
) -> None:
    """One message, as the gateway publishes it."""
    headers = {REQUESTS_HEADER: envelope.requests_header([RequestRun(correlation_id, None, len(events))])}
    await stream.publish(source, packed(events), headers, 5.0)
