"""How far more gateways, and more collectors a source, carry on this machine.

    make bench NAME=scaling
    .venv/bin/python -m benchmarks.scaling --replicas 1,2,4 --seconds 6 --events 300000

Gateways take arrays as fast as they are answered, with nothing behind the stream; collectors store a stream that was
filled before, with nothing in front of it. So each side shows where it bends by itself. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import uvloop

from benchmarks import machine
from benchmarks.connection import Connection, post
from benchmarks.ports import free_offset
from benchmarks.resources import Meter
from eventpipeline import resource
from eventpipeline.cli.output import print_table
from eventpipeline.local import nats, postgres, workloads
from eventpipeline.local.supervisor import Supervisor
from eventpipeline.plan import Addresses, Plan, Workload, plan
from eventpipeline.publisher import pregenerate
from eventpipeline.stream import Stream

_SIZE = 1_000
_CONNECTIONS = 8
_MAX_FILE_BYTES = 8 * 2**30
_FROM, _TO = 0.1, 0.9
"""The part of the stored events over which the rate is taken: beside it collectors start, or have no more work."""


@dataclass(frozen=True)
class Point:
    """What so many replicas carried."""

    side: str
    replicas: int
    events_per_second: float
    cpu_us_per_event: Mapping[str, float]

    @property
    def cores(self) -> float:
        """How many cores all programs together took."""
        return self.events_per_second * sum(self.cpu_us_per_event.values()) / 1e6


class _Scaling:
    """Servers, and as many services as are asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = itertools.count(free_offset() + 3000)
        self._supervisor = Supervisor()
        self.database_url = ""
        self.plan: Plan

    @contextlib.asynccontextmanager
    async def servers(self) -> AsyncIterator[None]:
        ports = [next(self._ports) for _ in range(3)]
        cluster = postgres.open_cluster(self._folder / "postgres")
        cluster.initialise()
        self.database_url = cluster.url(ports[0])
        log = self._folder / "servers.log"
        self.plan = plan(
            resource.minimal(), Addresses(nats_url=f"nats://127.0.0.1:{ports[1]}", database_url=self.database_url)
        )
        self._supervisor.start(cluster.server(port=ports[0], log=log))
        self._supervisor.start(
            nats.server(
                self._folder / "nats", port=ports[1], monitor_port=ports[2], max_file_bytes=_MAX_FILE_BYTES, log=log
            )
        )
        try:
            await self._supervisor.ready("postgres", "nats")
            migrate = workloads.owner_task("migrate", self.plan, database_url=self.database_url, log=log)
            assert await self._supervisor.once(migrate) == 0
            yield
        finally:
            await self._supervisor.stop(*self._supervisor.pids())

    @contextlib.asynccontextmanager
    async def running(self, *services: Workload, replicas: int) -> AsyncIterator[list[int]]:
        """The ports of the replicas, ready."""
        ports, names = [], []
        for workload, number in itertools.product(services, range(replicas)):
            ports.append(next(self._ports))
            names.append(f"{workload.name} {number}")
            program = workloads.service(workload, port=ports[-1], log=self._folder / f"{names[-1]}.log")
            self._supervisor.start(replace(program, name=names[-1]))
        try:
            await self._supervisor.ready(*names)
            yield ports
        finally:
            await self._supervisor.stop(*names)

    def meter(self) -> Meter:
        return Meter(lambda: {**self._supervisor.pids(), "benchmark": os.getpid()}, trees=("postgres",))

    async def empty(self) -> None:
        """Deletes the streams; who needs them makes them again."""
        stream = Stream(self.plan.gateway.settings, "scaling")  # type: ignore[arg-type]
        stream.start()
        await stream.connected()
        jetstream = stream._connection.jetstream()
        for info in await jetstream.streams_info():
            await jetstream.delete_stream(str(info.config.name))
        await stream.close()


async def _gateways(scaling: _Scaling, replicas: int, seconds: float) -> Point:
    bodies = [batch.body for batch in pregenerate(1, 100, _SIZE)]
    async with scaling.running(scaling.plan.gateway, replicas=replicas) as ports:
        await _post(ports, itertools.cycle(bodies), 1.0)
        meter = scaling.meter()
        meter.start()
        started = time.monotonic()
        events = await _post(ports, itertools.cycle(bodies), seconds)
        elapsed = time.monotonic() - started
        meter.sample()
    await scaling.empty()
    return _point("gateways", replicas, events, elapsed, meter)


async def _post(ports: Sequence[int], bodies: Any, seconds: float) -> int:
    """Posts until the time is over, or the bodies are; how many events were taken."""
    until, taken = time.monotonic() + seconds, 0

    async def go(port: int) -> None:
        nonlocal taken
        url = f"http://127.0.0.1:{port}"
        connection = await Connection.open(url)
        while time.monotonic() < until and (body := next(bodies, None)):
            answer = await connection.send(post(url, body))
            assert answer.status == 202, answer
            taken += _SIZE
        connection.close()

    await asyncio.gather(*(go(port) for port in itertools.islice(itertools.cycle(ports), _CONNECTIONS)))
    return taken


async def _collectors(scaling: _Scaling, replicas: int, events: int) -> Point:
    bodies = iter([batch.body for batch in pregenerate(100 + replicas, events // _SIZE, _SIZE)])
    async with scaling.running(scaling.plan.gateway, replicas=1) as ports:
        await _post(ports, bodies, 600)
    before = await asyncio.to_thread(_stored, scaling.database_url)
    async with scaling.running(*scaling.plan.collectors, replicas=replicas):
        while (first := await asyncio.to_thread(_stored, scaling.database_url)) < before + _FROM * events:
            await asyncio.sleep(0.02)
        meter = scaling.meter()
        meter.start()
        started = time.monotonic()
        while (last := await asyncio.to_thread(_stored, scaling.database_url)) < before + _TO * events:
            await asyncio.sleep(0.05)
        elapsed = time.monotonic() - started
        meter.sample()
        while await asyncio.to_thread(_stored, scaling.database_url) < before + events:
            await asyncio.sleep(0.05)
    await scaling.empty()
    return _point("collectors a source", replicas, last - first, elapsed, meter)


def _stored(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT coalesce(sum(events), 0) FROM rollup_minute").fetchone()
    return int(row[0]) if row else 0


def _point(side: str, replicas: int, events: int, elapsed: float, meter: Meter) -> Point:
    cpu: dict[str, float] = {}
    for name, used in meter.cpu_seconds().items():
        program = name.rsplit(" ", 1)[0]
        cpu[program] = cpu.get(program, 0.0) + used / events * 1e6
    return Point(side, replicas, events / elapsed, cpu)


async def _measure(folder: Path, replicas: Sequence[int], seconds: float, events: int) -> list[Point]:
    scaling = _Scaling(folder)
    async with scaling.servers():
        return [await _gateways(scaling, count, seconds) for count in replicas] + [
            await _collectors(scaling, count, events) for count in replicas
        ]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.scaling", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicas", default="1,2,4")
    parser.add_argument("--seconds", type=float, default=6, help="of each number of gateways")
    parser.add_argument("--events", type=int, default=300_000, help="that each number of collectors stores")
    wanted = parser.parse_args(arguments)
    conditions = {**vars(wanted), "load_average_at_start": machine.load_average()}
    replicas = [int(count) for count in wanted.replicas.split(",")]
    with tempfile.TemporaryDirectory(prefix="eventpipeline-scaling-", dir="/var/tmp") as folder:
        points = uvloop.run(_measure(Path(folder), replicas, wanted.seconds, wanted.events))
    names = {"gateways": "gateway", "collectors a source": "postgres"}
    rows = [
        (f"{point.replicas} {point.side}", f"{point.events_per_second:,.0f}",
         f"{point.cpu_us_per_event[names[point.side]]:.1f}", f"{sum(point.cpu_us_per_event.values()):.1f}",
         f"{point.cores:.2f}")
        for point in points
    ]  # fmt: skip
    print_table("Scaling; CPU in µs an event", ("", "events/s", "gateway or Postgres", "all", "cores"), rows)
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": conditions}
    measured = [
        {"side": point.side, "replicas": point.replicas, "events_per_second": round(point.events_per_second),
         "cores": round(point.cores, 2),
         "cpu_us_per_event": {name: round(cost, 2) for name, cost in point.cpu_us_per_event.items()}}
        for point in points
    ]  # fmt: skip
    print(json.dumps({"benchmark": "scaling", **about, "points": measured}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
