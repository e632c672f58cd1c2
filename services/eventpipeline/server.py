"""Runs a service's HTTP application until it is told to stop, and lets it drain first."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from eventpipeline.held_writes import HeldWrites
from eventpipeline.settings import Settings
from eventpipeline.telemetry import Health, log


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: draining comes before closing."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """uvicorn's, which writes the head of an answer and its body one by one: here they go out together."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(HeldWrites(transport))


async def serve(
    app: ASGIApp,
    settings: Settings,
    health: Health,
    *,
    drain_seconds: float = 0.0,
    stop: Callable[[], Awaitable[None]] | None = None,
    watch: asyncio.Task[None] | None = None,
) -> None:
    """Serves `app` until SIGTERM or SIGINT; a second signal ends the process at once.

    `watch` is what the service does beside HTTP: where it fails, serving ends and its error is raised.

    Order: not ready, `stop` (what the service does beside HTTP ends), `drain_seconds` during which requests
    are still taken, each with `Connection: close`; then the listener closes and what is in flight is finished.
    """
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=_Protocol,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_graceful_shutdown=60,
        timeout_keep_alive=75,
    )
    server = _Server(config)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_signal(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        health.draining = True
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)

    async def end() -> None:
        await stopping.wait()
        log("server").info("draining", seconds=drain_seconds)
        if stop:
            await stop()
        await asyncio.sleep(drain_seconds)
        server.should_exit = True

    async def watching() -> None:
        assert watch is not None
        await asyncio.wait((watch,))
        if not stopping.is_set():
            server.should_exit = True

    async def beat() -> None:
        while True:
            health.beat()
            await asyncio.sleep(1)

    # A service with a loop of its own shows that that one lives; the others, that the event loop does.
    tasks = [asyncio.create_task(end()), asyncio.create_task(watching() if watch else beat())]
    log("server").info("listening", host=settings.host, port=settings.port)
    try:
        await server.serve()
    finally:
        for task in tasks:
            task.cancel()
    if watch and watch.done() and not watch.cancelled() and (error := watch.exception()):
        raise error
    log("server").info("stopped")
