"""One gateway under one load: arrays of a size, over so many connections, each as fast as its answers come."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import nats
from nats.js.api import DiscardPolicy, StreamConfig

from benchmarks.connection import Connection, post
from benchmarks.peers.programs import SUBJECTS, Peer, Place
from benchmarks.resources import Meter
from eventpipeline.local import nats as local_nats
from eventpipeline.local.supervisor import Supervisor

_SOURCES = ("facebook", "tiktok")
_STREAM_BYTES = 4 * 2**30
_MAX_FILE_BYTES = 16 * 2**30


@dataclass(frozen=True)
class Load:
    """Arrays that are posted again and again."""

    size: int
    """Events of one array."""
    connections: int
    bodies: Sequence[bytes]
    seconds: float


@dataclass
class Result:
    """What came of a load. Times in seconds."""

    events: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    answers: Counter[int] = field(default_factory=Counter)
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_memory_mb: dict[str, float] = field(default_factory=dict)

    @property
    def events_per_second(self) -> float:
        return self.events / self.seconds

    def cpu_us_per_event(self, name: str) -> float:
        return self.cpu_seconds[name] / max(1, self.events) * 1e6


class Bench:
    """A nats-server that writes before it acknowledges, one as it comes, and a gateway at a time."""

    def __init__(self, folder: Path, ports: Iterator[int]) -> None:
        self._folder = folder
        self._ports = ports
        self._supervisor = Supervisor()
        self._urls: dict[bool, str] = {}

    @contextlib.asynccontextmanager
    async def servers(self) -> AsyncIterator[None]:
        try:
            for before_disk in (False, True):
                self._urls[before_disk] = await self._start_nats(before_disk)
            yield
        finally:
            await self._supervisor.stop(*(_nats(before_disk) for before_disk in (False, True)))

    async def _start_nats(self, before_disk: bool) -> str:
        folder, port = self._folder / _nats(before_disk), next(self._ports)
        program = local_nats.server(
            folder, port=port, monitor_port=next(self._ports), max_file_bytes=_MAX_FILE_BYTES,
            log=self._folder / "nats.log",
        )  # fmt: skip
        if before_disk:
            config = folder / "nats.conf"
            config.write_text(config.read_text().replace("sync_interval: always", ""))
        self._supervisor.start(replace(program, name=_nats(before_disk)))
        await self._supervisor.ready(_nats(before_disk))
        return f"nats://127.0.0.1:{port}"

    async def measure(self, peer: Peer, load: Load, *, warm_seconds: float) -> Result:
        """Starts the gateway, and stops it in the end. What it published is deleted."""
        nats_url = self._urls[peer.acknowledges_before_disk]
        place = Place(next(self._ports), nats_url, self._folder / f"{peer.name}.log")
        async with _streams(nats_url, made_by_gateway=peer.ours):
            self._supervisor.start(peer.program(place))
            try:
                await self._supervisor.ready("gateway")
                url = f"http://127.0.0.1:{place.port}"
                await self._send(url, load, warm_seconds, Result(), None)
                return await self._send(url, load, load.seconds, Result(), self._meter(peer))
            finally:
                await self._supervisor.stop("gateway")

    def _meter(self, peer: Peer) -> Meter:
        def pids() -> dict[str, int]:
            running = self._supervisor.pids()
            server = running[_nats(peer.acknowledges_before_disk)]
            return {"gateway": running["gateway"], "nats": server, "benchmark": os.getpid()}

        return Meter(pids)

    async def _send(self, url: str, load: Load, seconds: float, result: Result, meter: Meter | None) -> Result:
        requests = itertools.cycle([post(url, body) for body in load.bodies])
        connections = [await Connection.open(url) for _ in range(load.connections)]
        if meter:
            meter.start()
        started = time.monotonic()

        async def go(connection: Connection) -> None:
            while (sent := time.monotonic()) < started + seconds:
                answer = await connection.send(next(requests))
                result.latencies.append(time.monotonic() - sent)
                result.answers[answer.status] += 1
                result.events += _accepted(answer.body) if answer.status == 202 else 0

        await asyncio.gather(*map(go, connections))
        # Until the last answer, since a request that is under way at the end counts too.
        result.seconds = time.monotonic() - started
        for connection in connections:
            connection.close()
        if meter:
            meter.sample()
            result.cpu_seconds, result.peak_memory_mb = meter.cpu_seconds(), meter.peak_memory_mb()
        return result


def _nats(before_disk: bool) -> str:
    return "nats as it comes" if before_disk else "nats"


_accepted_count = re.compile(rb'"accepted": ?([0-9]+)')


def _accepted(body: bytes) -> int:
    found = _accepted_count.search(body)
    return int(found[1]) if found else 0


@contextlib.asynccontextmanager
async def _streams(url: str, *, made_by_gateway: bool) -> AsyncIterator[None]:
    """The streams of a peer, made like this project's; all are deleted in the end, and their disk is free."""
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        if not made_by_gateway:
            for source in _SOURCES:
                config = StreamConfig(
                    name=f"PEER_{source}", subjects=[SUBJECTS + source], max_bytes=_STREAM_BYTES,
                    discard=DiscardPolicy.NEW,
                )  # fmt: skip
                await jetstream.add_stream(config)
        yield
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(str(stream.config.name))
    finally:
        await client.close()
