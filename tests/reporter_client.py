"""The reporter over a database with random events, as a client that speaks to it without a network."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psycopg

from brute_force import Occurrence
from eventpipeline.envelope import dead_letter
from eventpipeline.events import Rejection
from eventpipeline.reporter.app import create_app
from eventpipeline.settings import ReporterSettings
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.dead_letters import land
from eventpipeline.store.pool import open_pool
from eventpipeline.store.rollups import fold
from eventpipeline.store.schema import migrate
from eventpipeline.stream import Stream
from eventpipeline.telemetry import Health, new_registry
from servers import free_port, wait_for

LETTERS = [
    (b'{"eventId": "a"}', Rejection("missing_field", ({"loc": ["user"], "msg": "m", "type": "t"},), "a", "facebook")),
    (b"\xff\x00", Rejection("invalid_json", ())),
    (b'{"eventId": "b"}', Rejection("invalid_value", (), "b", "facebook", "invalid-stage", "ad.view")),
    (b'{"eventId": "c"}', Rejection("unknown_source", (), "c", "myspace")),
    (b'{"eventId": "d"}', Rejection("missing_field", (), "d", "tiktok", "top", "like")),
]


NOBODY = "nats://127.0.0.1:9"


def settings_for(database_url: str, nats_url: str = NOBODY, **changes: Any) -> ReporterSettings:
    settings = {"database_url": database_url, "nats_url": nats_url, "sources": ("facebook", "tiktok"), "port": 0}
    return ReporterSettings.model_validate(settings | changes)


def fill(database_url: str, events: Sequence[Occurrence]) -> None:
    """Stores events as a collector does, in several batches, and lands LETTERS."""
    migrate(database_url)

    async def append() -> None:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            await connection.execute("SET timezone = 'UTC'")
            for name in ("facebook", "tiktok"):
                mine = [event.body for event in events if event.body["source"] == name]
                appender = Appender(built_in(name))
                for first in range(0, len(mine), 700):
                    # Of the last batch what it counted is not folded yet, as a reporter finds it.
                    await fold(connection, built_in(name))
                    await appender.append(connection, orjson.dumps(mine[first : first + 700]))
            await connection.execute("VACUUM (ANALYZE) events")
            packed = b",".join(
                dead_letter(event, rejection, "corr", f"2024-05-01T00:00:0{index}Z")
                for index, (event, rejection) in enumerate(LETTERS)
            )
            assert await land(connection, b"[" + packed + b"]") == len(LETTERS)

    asyncio.run(append())


@asynccontextmanager
async def reporter(database_url: str, nats_url: str | None = None, **changes: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of a reporter with the settings `changes`; without `nats_url` there is no NATS."""
    settings = settings_for(database_url, nats_url or NOBODY, **changes)
    pool = open_pool(database_url, name="reporter", read_only=True, max_size=4)
    stream = Stream(settings, "reporter")
    await pool.open(wait=False)
    if nats_url:
        stream.start()
    app = create_app(settings, pool, stream, new_registry(), Health())
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    try:
        async with httpx2.AsyncClient(transport=transport, base_url="http://reporter") as client:
            yield client
    finally:
        if nats_url:
            await stream.close()
        await pool.close()


@contextmanager
def reporter_process(database_url: str, log: Path, **changes: Any) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The reporter as a process of its own, ready, without NATS: the process and its address."""
    program = (
        "import asyncio, os\n"
        "from eventpipeline.reporter.app import run\n"
        "from eventpipeline.settings import ReporterSettings\n"
        "asyncio.run(run(ReporterSettings.read(os.environ)))\n"
    )
    settings = settings_for(database_url, **changes).model_copy(
        update={"host": "127.0.0.1", "port": free_port(), "drain_seconds": 0.1}
    )
    address = f"http://127.0.0.1:{settings.port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=os.environ | settings.environ(), stdout=output, stderr=output
        )
    try:
        wait_for(lambda: _answers(f"{address}/readyz"), what=log.read_text)
        yield process, address
    finally:
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        return httpx2.get(url).status_code == 200
    except httpx2.TransportError:
        return False


async def ask(client: httpx2.AsyncClient, path: str, **parameters: Any) -> Any:
    """The JSON of an answer that must be 200; `from_` stands for `from`."""
    named = {name.rstrip("_"): value for name, value in parameters.items() if value is not None}
    response = await client.get(path, params=named)
    assert response.status_code == 200, response.text
    return response.json()
