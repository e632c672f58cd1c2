"""Watching a run: what was answered when, how far the streams are stored, how much memory everything takes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx2
import psutil

from eventpipeline.local import workloads
from eventpipeline.publisher.ledger import Fate, Ledger, Request
from eventpipeline.stream import DEAD
from faults.rig import Rig

_POLL = 0.1


@dataclass(frozen=True)
class Place:
    """How far one stream is, in sequence numbers."""

    last: int
    stored: int
    """Everything up to here is acknowledged by the collectors."""


@dataclass(frozen=True)
class Answer:
    sent_at: float
    """By the monotonic clock."""
    request: Request

    @property
    def failed(self) -> bool:
        return self.request.fate not in (Fate.ACCEPTED, Fate.REJECTED)


@dataclass
class Watch:
    rig: Rig
    client: httpx2.AsyncClient
    answers: list[Answer] = field(default_factory=list)
    resets: list[str] = field(default_factory=list)
    """Streams that have forgotten what they held: the server made them anew, or lost their end."""
    memory: dict[str, int] = field(default_factory=dict)
    """The most bytes that each program took."""
    ledger: Ledger | None = None
    _last: dict[str, int] = field(default_factory=dict)

    def on_answer(self, ledger: Ledger) -> None:
        self.ledger = ledger
        request = ledger.requests[-1]
        self.answers.append(Answer(time.monotonic() - request.latency, request))

    def answered_since(self, moment: float) -> bool:
        """Whether a request that was sent since then was answered with 202."""
        return any(answer.sent_at >= moment and not answer.failed for answer in reversed(self.answers))

    def failed_since(self, moment: float) -> list[Answer]:
        """Requests sent since then that were not taken."""
        return [answer for answer in self.answers if answer.sent_at >= moment and answer.failed]

    async def places(self) -> dict[str, Place] | None:
        """Where each stream is; None while NATS does not answer."""
        port = self.rig.ports[workloads.NATS_MONITOR]
        try:
            answer = await self.client.get(f"http://127.0.0.1:{port}/jsz?consumers=true", timeout=2.0)
            accounts = answer.json().get("account_details", [])
        except (httpx2.TransportError, ValueError):
            return None
        found = {
            stream["name"]: Place(
                stream["state"]["last_seq"],
                max((one["ack_floor"]["stream_seq"] for one in stream.get("consumer_detail") or ()), default=0),
            )
            for account in accounts
            for stream in account.get("stream_detail") or ()
        }
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

    # --- recovery ----------------------------------------------------------------------------------------------------

    async def until_answering(self, since: float, most: float) -> float | None:
        """Seconds from `since` until a request sent after it is answered 202; None where that takes too long."""
        return await self._until(lambda: self.answered_since(since), since, most)

    async def until_drained(self, since: float, most: float) -> float | None:
        """Seconds from `since` until everything that the streams hold now is stored."""
        goal: dict[str, Place] | None = None
        while time.monotonic() < since + most:
            places = await self.look()
            goal = goal or places
            if places and goal and all(places[name].stored >= place.last for name, place in goal.items()):
                return time.monotonic() - since
            await asyncio.sleep(_POLL)
        return None

    async def until_ready(self, since: float, most: float) -> float | None:
        while time.monotonic() < since + most:
            if await self.rig.is_ready(self.client):
                return time.monotonic() - since
            await asyncio.sleep(3 * _POLL)
        return None

    async def _until(self, condition: Callable[[], bool], since: float, most: float) -> float | None:
        while time.monotonic() < since + most:
            if condition():
                return time.monotonic() - since
            await asyncio.sleep(_POLL / 2)
        return None
