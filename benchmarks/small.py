"""Small requests: one event a POST over many connections, each answered after its fsync.

    make bench NAME=small
    .venv/bin/python -m benchmarks.small --connections 32 --seconds 20

Two passes over one pipeline: as fast as answers come, then at half that rate, paced. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2

from benchmarks import machine
from benchmarks.connection import Connection, post
from benchmarks.ports import free_offset
from benchmarks.resources import Meter
from eventpipeline import resource
from eventpipeline.cli.output import console, print_table
from eventpipeline.local import Options, Running, up
from eventpipeline.publisher import pregenerate
from eventpipeline.publisher.ledger import Latency

_EVENTS = 20_000
"""So many different events; a request sends the next one under an id of its own."""


@dataclass
class Pass:
    """What one pass saw. Latencies in seconds."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def document(self) -> dict[str, Any]:
        requests, latency = len(self.latencies) or 1, Latency.of(self.latencies)
        return {
            "requests_per_second": round(self.rate, 1),
            "answer_p50_ms": round(latency.p50 * 1000, 2),
            "answer_p99_ms": round(latency.p99 * 1000, 2),
            "answers": {str(status): count for status, count in sorted(self.answers.items())},
            "cpu_us_per_request": {name: round(used / requests * 1e6, 1) for name, used in self.cpu_seconds.items()},
        }


class Requests:
    """Ready-made requests without an end, each with an event of its own."""

    def __init__(self, url: str, seed: int) -> None:
        batch = pregenerate(seed, 1, _EVENTS, now=datetime.now(UTC))[0]
        self._events = [json.dumps({**event, "eventId": "%s"}).encode() for event in json.loads(batch.body)]
        self._url = url
        self._number = 0

    def __next__(self) -> bytes:
        self._number += 1
        event = self._events[self._number % _EVENTS].replace(b"%s", b"small-%d" % self._number, 1)
        return post(self._url, event)


async def load(run: Running, requests: Requests, connections: int, seconds: float, rate: float | None) -> Pass:
    """Sends for so many seconds over so many connections; with `rate`, so many requests a second in all."""
    clients = [await Connection.open(run.gateway_url) for _ in range(connections)]
    seen = Pass(seconds)
    meter = Meter(lambda: {**run.pids(), "benchmark": os.getpid()}, trees=("postgres",))
    meter.start()
    until = time.monotonic() + seconds

    async def go(index: int, client: Connection) -> None:
        due = time.monotonic() + (index / rate if rate else 0.0)
        while (now := time.monotonic()) < until:
            if rate:
                if due > now:
                    await asyncio.sleep(due - now)
                # What is late counts from when it should have gone out.
                started, due = due, due + connections / rate
            else:
                started = now
            seen.answers[(await client.send(next(requests))).status] += 1
            seen.latencies.append(time.monotonic() - started)

    await asyncio.gather(*(go(index, client) for index, client in enumerate(clients)))
    meter.sample()
    seen.cpu_seconds = meter.cpu_seconds()
    for client in clients:
        client.close()
    return seen


def fsync_seconds(folder: Path) -> Latency:
    """What writing 4 KiB to this disk for good takes: no answer can come sooner, nor many at a time."""
    taken = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(200):
            started = time.perf_counter()
            file.write(b"x" * 4096)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return Latency.of(taken)


async def stored(run: Running) -> int:
    """All events that are stored, once nothing is pending."""
    async with httpx2.AsyncClient(base_url=run.reporter_url, timeout=60.0, trust_env=False) as client:
        for _ in range(240):
            status = (await client.get("/status")).json()
            if not any(source["pendingMessages"] for source in status["sources"]):
                return int((await client.get("/reports/events")).json()["total"])
            await asyncio.sleep(0.25)
    raise TimeoutError("messages are pending after 60 s")


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where every request was answered 202 and is stored once, 1 where not."""
    parser = argparse.ArgumentParser(prog="benchmarks.small", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=20, help="of each pass")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args(arguments)
    passes: dict[str, Pass] = {}
    total = 0

    async def work(run: Running) -> None:
        nonlocal total
        requests = Requests(run.gateway_url, wanted.seed)
        await load(run, requests, wanted.connections, 2, None)  # connections, statements and caches are warm
        before = await stored(run)
        passes["closed"] = await load(run, requests, wanted.connections, wanted.seconds, None)
        passes["half"] = await load(run, requests, wanted.connections, wanted.seconds, passes["closed"].rate / 2)
        total = await stored(run) - before

    with tempfile.TemporaryDirectory(prefix="eventpipeline-small-", dir="/var/tmp") as folder:
        fsync = fsync_seconds(Path(folder))
        asyncio.run(up(resource.minimal(), Options(Path(folder), port_offset=free_offset()), lambda _: None, work))
    answered = sum(seen.answers[202] for seen in passes.values())
    document = {name: seen.document() for name, seen in passes.items()}
    rows = [
        (key, *(str(one[key]) for one in document.values()))
        for key in ("requests_per_second", "answer_p50_ms", "answer_p99_ms", "answers")
    ]
    print_table("Small requests", ("", "as fast as answers come", "at half of that"), rows)
    console.print(f"{answered:,} answered 202, {total:,} stored", markup=False)
    console.print(
        f"an fsync of this disk before: p50 {fsync.p50 * 1000:.2f}, p99 {fsync.p99 * 1000:.2f} ms", markup=False
    )
    conditions = {"connections": wanted.connections, "seconds": wanted.seconds, "load": machine.load_average(),
                  "fsync_p50_ms": round(fsync.p50 * 1000, 2), "fsync_p99_ms": round(fsync.p99 * 1000, 2)}  # fmt: skip
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": conditions}
    print(json.dumps({**about, **document, "accepted": answered, "stored": total}), flush=True)
    return 0 if answered == total and sum(map(len, (seen.latencies for seen in passes.values()))) == answered else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
