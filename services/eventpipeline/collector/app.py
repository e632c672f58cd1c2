"""The collector as a service: its loops, and the HTTP application that shows how it is."""

from __future__ import annotations

import asyncio

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware

from eventpipeline.collector.batches import BatchStore
from eventpipeline.collector.collect import Collector
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.problems import HANDLERS
from eventpipeline.server import serve
from eventpipeline.settings import CollectorSettings
from eventpipeline.sources import load
from eventpipeline.store.address import address
from eventpipeline.store.pool import check, open_pool
from eventpipeline.stream import DEAD, Stream, StreamUnavailable
from eventpipeline.telemetry import Health, RequestMiddleware, configure_logging, new_registry, routes


def create_app(registry: CollectorRegistry, health: Health) -> Starlette:
    """The application, which only shows how the collector is."""
    return Starlette(
        routes=routes(health, registry),
        middleware=[Middleware(RequestMiddleware, health=health)],
        exception_handlers=HANDLERS,
    )


async def run(settings: CollectorSettings) -> None:
    """Runs the collector of one source until it is told to stop; what it has in hand is stored first."""
    configure_logging(f"{settings.source}-collector", level=settings.log_level, environment=settings.environment)
    (source,) = load([settings.source], settings.declarations)
    registry = new_registry()
    health = Health()
    metrics = CollectorMetrics(registry, source)
    stream = Stream(settings, f"{source.name}-collector")
    pool = open_pool(
        address(settings.database_url, settings.database_tls_dir),
        name=f"{source.name}-collector", read_only=False, max_size=4,
    )  # fmt: skip
    store = BatchStore(source, pool, metrics, health)

    async def store_check() -> str | None:
        return store.trouble or await check(pool)

    health.require("store", store_check)

    async def stream_check() -> str | None:
        if fault := await stream.check():
            return fault
        try:  # the gateway may count on a collector that is ready: it may not be allowed to make streams
            await stream.ensure(source.name)
            await stream.ensure(DEAD)
        except StreamUnavailable as error:
            return str(error)
        return None

    health.require("stream", stream_check)
    app = create_app(registry, health)
    collector = Collector(source, stream, store, metrics, health, batch_bytes=settings.batch_bytes)
    stream.start()
    await pool.open(wait=False)
    collecting = asyncio.create_task(collector.run())

    async def stop() -> None:
        collector.stop()
        await asyncio.wait((collecting,))

    try:
        await serve(app, settings, health, stop=stop, watch=collecting)
    finally:
        collecting.cancel()
        await asyncio.gather(collecting, return_exceptions=True)
        await pool.close()
        await stream.close()
