"""The process `eventpipeline-operator`: watches, workers, the slow resync, and /livez, /readyz and /metrics."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from eventpipeline.server import serve
from eventpipeline.settings import SettingsError
from eventpipeline.telemetry import Health, configure_logging, log, new_registry, routes
from eventpipeline_operator import handlers
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.errors import OperatorError
from eventpipeline_operator.look import Looking
from eventpipeline_operator.metrics import OperatorMetrics
from eventpipeline_operator.objects import PIPELINE, Object
from eventpipeline_operator.probe import Probe
from eventpipeline_operator.reconcile import Reconciler, Renderer
from eventpipeline_operator.render import ChartRenderer
from eventpipeline_operator.settings import OperatorSettings
from eventpipeline_operator.streams import Streams
from eventpipeline_operator.triggers import Triggers
from eventpipeline_operator.watching import Watching

_log = log("operator")
_MISSED_RESYNCS = 4
"""So many times the slow look may fail to end well, or find the watches deaf, before /livez says so."""


def main() -> int:
    """Make the cluster run what its EventPipelines say. Settings come from the environment."""
    try:
        settings = OperatorSettings.read(os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    configure_logging("operator", level=settings.log_level, environment=settings.environment)
    asyncio.run(run(settings, ChartRenderer(settings)))
    return 0


async def run(settings: OperatorSettings, render: Renderer, cluster: Cluster | None = None) -> None:
    """Runs until SIGTERM; a pass under way may end, and the next start takes up what it left."""
    registry: CollectorRegistry = new_registry()
    metrics = OperatorMetrics(registry)
    health = Health(stale_after=_MISSED_RESYNCS * settings.resync_seconds)
    cluster = cluster or Cluster.connect()
    triggers, streams, probe = Triggers(), Streams(), Probe()
    watching, stopping = Watching(triggers), asyncio.Event()
    reconciler = Reconciler(cluster, render, Looking(cluster, streams, probe), metrics)

    async def stop() -> None:
        stopping.set()
        await asyncio.wait((controlling,), timeout=20)

    controlling = asyncio.create_task(
        _control(settings, cluster, watching, reconciler, stopping, _tick(health, metrics, triggers))
    )
    app = Starlette(routes=routes(health, registry))
    try:
        await serve(app, settings, health, stop=stop, watch=controlling)
    finally:
        controlling.cancel()
        await asyncio.gather(controlling, return_exceptions=True)
        await streams.close_all()
        await probe.close()


def _tick(health: Health, metrics: OperatorMetrics, triggers: Triggers) -> Callable[[int, bool], None]:
    def tick(pipelines: int, deaf: bool) -> None:
        metrics.pipelines.set(pipelines)
        metrics.waiting.set(len(triggers))
        metrics.deaf.set(deaf)
        if deaf:
            _log.error("a change of a pipeline was listed that no watch told of; the watches are deaf")
        else:
            health.beat()

    return tick


async def _control(
    settings: OperatorSettings,
    cluster: Cluster,
    watching: Watching,
    reconciler: Reconciler,
    stopping: asyncio.Event,
    tick: Callable[[int, bool], None],
) -> None:
    """Everything that runs beside HTTP; ends when `stopping` is set, or where one part of it fails."""
    parts = {
        asyncio.create_task(handlers.watch(watching, settings.watch_namespaces, stopping)),
        asyncio.create_task(watching.triggers.run(reconciler, workers=settings.workers, stopping=stopping)),
        asyncio.create_task(_resync(settings, cluster, watching, stopping, tick)),
    }
    try:
        done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
        for part in done:
            part.result()
        if not stopping.is_set():
            raise RuntimeError("the watches ended")
        await asyncio.wait(parts, timeout=15)
    finally:
        for part in parts:
            part.cancel()
        await asyncio.gather(*parts, return_exceptions=True)


async def _resync(
    settings: OperatorSettings,
    cluster: Cluster,
    watching: Watching,
    stopping: asyncio.Event,
    tick: Callable[[int, bool], None],
) -> None:
    while not stopping.is_set():
        try:
            async with asyncio.timeout(settings.resync_seconds):
                await stopping.wait()
        except TimeoutError:
            pass
        else:
            return
        try:
            listed = await _list(cluster, settings.watch_namespaces)
        except OperatorError as error:
            # Starting anew would not help: it is the API server that is away.
            _log.warning("cannot list the pipelines", error=str(error))
            tick(0, False)
        else:
            tick(len(listed), watching.resync(listed))


async def _list(cluster: Cluster, namespaces: tuple[str, ...]) -> list[Object]:
    listings = await asyncio.gather(*(cluster.list_all(PIPELINE, namespace) for namespace in namespaces or ("",)))
    return [item for listing in listings for item in listing.values()]


if __name__ == "__main__":
    sys.exit(main())
