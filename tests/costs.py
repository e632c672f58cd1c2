"""What an event costs, as a ratio to a loop that is measured in turns with it: `python -m costs [DATABASE_URL]`.

A process of its own, since the one of the tests is traced for coverage. Each round measures everything once, and the
least of all rounds counts: what a busy machine adds is never negative. A loop of another kind than what it is compared
with is slowed down differently by a machine's caches and who else uses them, so each has one of its own kind: json of
the standard library for what reads JSON, a request to a bare application of Starlette for a request, the insertion of
the same events into a bare table for the append. What only computes would not do for either: to a loop of a few lines a
request had a ratio of 1.6 on one machine, and of 2.0 to 2.5 on another; to a query that hashes numbers the append had
2.5, and 3.6 on another.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Awaitable, Callable
from io import StringIO
from pathlib import Path
from uuid import uuid4

import uvloop
from prometheus_client import CollectorRegistry, Counter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message

from eventpipeline.envelope import RequestRun
from eventpipeline.events import EventValidator
from eventpipeline.gateway.app import create_app
from eventpipeline.gateway.bodies import JSON, events_of
from eventpipeline.gateway.ingest import Ingest
from eventpipeline.gateway.metrics import GatewayMetrics
from eventpipeline.publisher import pregenerate
from eventpipeline.settings import GatewaySettings
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.pool import connection, open_pool
from eventpipeline.stream import Stream
from eventpipeline.telemetry import Health, configure_logging

_SOURCES = (built_in("facebook"), built_in("tiktok"))
_EVENTS = 1_000
_REQUESTS = 60
_ROUNDS = 60
_APPENDS = 25
_BARE_TABLE = """
    CREATE TABLE bare (id text, at timestamptz, source text, data jsonb NOT NULL, PRIMARY KEY (at, id, source))
"""
_BARE_INSERT = """
    INSERT INTO bare
    SELECT event ->> 'eventId', (event ->> 'timestamp')::timestamptz, event ->> 'source', event -> 'data'
    FROM jsonb_array_elements(%s::jsonb) AS event
"""
Work = Callable[[], Awaitable[object]]


class _NoStream(Stream):
    """Acknowledges what it is given, and keeps nothing."""

    def __init__(self) -> None:
        pass

    async def check(self) -> str | None:
        return None

    async def publish(self, source: str, payload: bytes, headers: dict[str, str], timeout: float) -> None:
        pass


def gateway_works() -> dict[str, tuple[Work, Work]]:
    """What is measured in this process, and the loop beside it."""
    body = pregenerate(1, 1, _EVENTS)[0].body
    texts = [json.dumps(event).encode() for event in json.loads(body)]
    of_source = {source.name: b"[" + b",".join(text for text in texts if f'"{source.name}"'.encode() in text) + b"]"
                 for source in _SOURCES}  # fmt: skip
    validators = {source.name: EventValidator(source) for source in _SOURCES}
    metrics = GatewayMetrics(CollectorRegistry(), tuple(validators))
    ingest = Ingest(_SOURCES, _NoStream(), metrics, ack_timeout=1.0, retention_days=None)
    settings = GatewaySettings(nats_url="nats://nowhere", sources=tuple(validators))
    app = create_app(settings, _SOURCES, _NoStream(), CollectorRegistry(), Health())
    bare = _bare_application()

    async def validate() -> None:
        assert all(validators[name].all_valid(packed) for name, packed in of_source.items())

    async def pack() -> None:
        assert (await ingest.take(await events_of(body, JSON), "id", None)).accepted == _EVENTS

    async def take_small_ones() -> None:
        for text in texts[:_REQUESTS]:
            await _request(app, text)

    async def read_json() -> None:
        json.loads(body)

    async def take_barely() -> None:
        for text in texts[:_REQUESTS]:
            await _request(bare, text)

    return {
        "validation": (validate, read_json),
        "packing": (pack, read_json),
        "request": (take_small_ones, take_barely),
    }


async def _request(app: ASGIApp, body: bytes) -> None:
    """One event a POST, as the server gives it to the application."""
    headers = [(b"host", b"localhost"), (b"content-type", JSON.encode()), (b"content-length", b"%d" % len(body))]
    scope = {"type": "http", "method": "POST", "path": "/webhook/events", "headers": headers, "query_string": b"",
             "state": {}}  # fmt: skip
    statuses = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        statuses.append(message.get("status"))

    await app(scope, receive, send)
    assert statuses[0] == 202


def _bare_application() -> ASGIApp:
    """Reads a body, counts it, writes a line about it and answers."""
    counter = Counter("taken", "What was taken.", ["source"], registry=CollectorRegistry())
    lines = logging.getLogger("costs")
    lines.propagate = False
    lines.setLevel(logging.INFO)
    lines.addHandler(logging.StreamHandler(StringIO()))

    async def take(request: Request) -> Response:
        event = await request.json()
        counter.labels(event["source"]).inc()
        lines.info("took %s of %s", event["eventId"], event["source"])
        return JSONResponse({"id": str(uuid4()), "accepted": 1}, status_code=202)

    return Starlette(routes=[Route("/webhook/events", take, methods=["POST"])])


async def _cpu_seconds(work: Work) -> float:
    started = time.thread_time()
    await work()
    return time.thread_time() - started


async def gateway_ratios() -> dict[str, float]:
    works = gateway_works()
    least: dict[str, list[float]] = {name: [1e9, 1e9] for name in works}
    for _ in range(_ROUNDS):
        for name, pair in works.items():
            for index, work in enumerate(pair):
                least[name][index] = min(least[name][index], await _cpu_seconds(work))
    return {name: cost / beside for name, (cost, beside) in least.items()}


async def append_ratio(database_url: str) -> float:
    """What Postgres' own process takes to append batches of new events, to inserting the same ones barely."""
    source = _SOURCES[0]
    appender, least = Appender(source), [1e9, 1e9]
    pool = open_pool(database_url, name="costs", read_only=False, max_size=1)
    await pool.open()
    try:
        async with connection(pool) as opened:
            await opened.execute(_BARE_TABLE)
            backend = opened.info.backend_pid
            for round_ in range(_APPENDS):
                texts = pregenerate(round_, 1, _EVENTS)[0].body
                events = [event for event in json.loads(texts) if event["source"] == source.name]
                packed = json.dumps(events).encode()
                before = _backend_seconds(backend)
                await appender.append(opened, packed, [RequestRun("id", None, len(events))])
                appended = _backend_seconds(backend)
                await opened.execute(_BARE_INSERT, [packed.decode()])
                least[0] = min(least[0], (appended - before) / len(events))
                least[1] = min(least[1], (_backend_seconds(backend) - appended) / len(events))
    finally:
        await pool.close()
    return least[0] / least[1]


def _backend_seconds(pid: int) -> float:
    """CPU time of a process, to the nanosecond."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


async def main(database_url: str | None) -> None:
    configure_logging("gateway", level="error", environment="test")
    ratios = await gateway_ratios()
    if database_url:
        ratios["append"] = await append_ratio(database_url)
    print(json.dumps({name: round(ratio, 3) for name, ratio in ratios.items()}))


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
