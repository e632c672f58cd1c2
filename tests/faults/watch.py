"""Watching a run: how far the streams are stored, what is ready, how much memory everything takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection
from dataclasses import dataclass, field

import httpx2
import psutil

from eventpipeline.local import workloads
from eventpipeline.stream import DEAD
from faults import recovering
from faults.recovering import Place, Recovering
from faults.rig import Rig

_POLL = 0.1


@dataclass
class Watch(Recovering):
    rig: Rig
    client: httpx2.AsyncClient
    resets: list[str] = field(default_factory=list)
    """Streams that have forgotten what they held: the server made them anew, or lost their end."""
    memory: dict[str, int] = field(default_factory=dict)
    """The most bytes that each program took."""
    _last: dict[str, int] = field(default_factory=dict)

    async def places(self) -> dict[str, Place] | None:
        """Where each stream is; None while NATS does not answer."""
        port = self.rig.ports[workloads.NATS_MONITOR]
        try:
            answer = await self.client.get(f"http://127.0.0.1:{port}/jsz?consumers=true", timeout=2.0)
            found = recovering.places([answer.json()])
        except (httpx2.TransportError, ValueError):
            return None
        return found if set(found) >= {DEAD, *(f"EVENTS_{source}" for source in self.rig.sources)} else None

    async def look(self) -> dict[str, Place] | None:
        """`places`, and a note of a stream whose end has moved back."""
        places = await self.places()
        for name, place in (places or {}).items():
            if place.last < self._last.get(name, 0):
                self.resets.append(f"{name} went back from message {self._last[name]} to {place.last}")
            self._last[name] = place.last
        return places

    async def keep_looking(self) -> None:
        """Looks again and again, until cancelled."""
        while True:
            await self.look()
            for name, pid in self.rig.supervisor.pids().items():
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    self.memory[name] = max(self.memory.get(name, 0), process.memory_info().rss)
            await asyncio.sleep(1.0)

    async def until_well(self, gone: Collection[str], since: float, most: float) -> float | None:
        while time.monotonic() < since + most:
            if await self.rig.is_ready(self.client):
                return time.monotonic() - since
            await asyncio.sleep(3 * _POLL)
        return None
