"""The publisher: posts batches at a steady rate and writes down what was answered.

Like the public publisher of this format it does not wait for an answer before the next batch, and never retries.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpx2

from eventpipeline.publisher.batch import Batch
from eventpipeline.publisher.generator import Generator
from eventpipeline.publisher.ledger import Ledger, Request
from eventpipeline.publisher.post import post, post_client

WEBHOOK = "/webhook/events"
_COPY_DELAY = (1, 5)
"""A copy is posted together with the batch that comes so many later."""


def _unsigned(_body: bytes) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class Options:
    """How to publish. The defaults are the real load, for a minute."""

    seconds: float = 60.0
    batches: int | None = None
    """So many batches, however long it takes, instead of `seconds`."""
    rate: float = 1.0
    """Batches a second; `math.inf` for as many as possible, with `wait`."""
    batch: tuple[int, int] = (1_000, 50_000)
    """Fewest and most events of a batch."""
    seed: int = 1
    corrupt: float = 0.1
    """The share of batches that carry a corrupted event more."""
    duplicates: float = 0.0
    """The share of batches that are posted again later, byte for byte."""
    wait: bool = False
    """Whether a batch waits for the answer to the one before: a closed loop."""
    in_flight: int = 48
    """Unanswered requests that are held in memory, 22 MB each at most; above it the next batch is late."""
    timeout: float = 60.0
    """Seconds of silence after which an answer is given up."""
    sign: Callable[[bytes], Mapping[str, str]] = _unsigned
    """The headers that prove who sends a body; a copy is signed anew."""


def webhook(url: str) -> str:
    """Where to post: `url` itself if it has a path, else its webhook.

    Raises ValueError where `url` is no http or https address.
    """
    parsed = httpx2.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError(f"{url} is no address to publish to; give one like http://localhost:3000")
    return str(parsed.copy_with(path=WEBHOOK) if parsed.path in ("", "/") else parsed)


async def publish(
    url: str,
    options: Options,
    on_progress: Callable[[Ledger], None] = lambda ledger: None,
    stop: asyncio.Event | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
    on_batch: Callable[[Batch], None] = lambda batch: None,
) -> Ledger:
    """Publishes to the gateway at `url` and returns when every request is answered or given up.

    `on_progress` is called with the growing ledger after each answer. When `stop` is set no further batch is posted,
    and the answers under way are awaited. When the task is cancelled they are not: they end as unknown in the ledger
    that `on_progress` has. `transport` stands in for the network. `on_batch` is given each batch before it is posted,
    in the thread that makes them.

    Raises ValueError where `url` is no http or https address.
    """
    ledger = Ledger(seed=options.seed, url=webhook(url))
    timeout = httpx2.Timeout(options.timeout, connect=min(10.0, options.timeout), pool=None)
    async with post_client(timeout, transport) as client:
        await _Run(ledger, options, client, on_progress, stop or asyncio.Event(), on_batch).go()
    return ledger


class _Run:
    """One run of the publisher."""

    def __init__(
        self,
        ledger: Ledger,
        options: Options,
        client: httpx2.AsyncClient,
        on_progress: Callable[[Ledger], None],
        stop: asyncio.Event,
        on_batch: Callable[[Batch], None],
    ) -> None:
        self._ledger, self._options, self._client = ledger, options, client
        self._on_progress, self._stop, self._on_batch = on_progress, stop, on_batch
        self._generator = Generator(options.seed, options.batch, options.corrupt)
        self._copies = _Copies(options.seed, options.duplicates)
        self._room = asyncio.Semaphore(1 if options.wait else options.in_flight)
        self._clock = asyncio.get_running_loop().time
        self._started = 0.0

    async def go(self) -> None:
        loop = asyncio.get_running_loop()
        # A thread: batches are at most 15 ms late, and Ctrl-C is simple. A process saves 5 ms of that (measured).
        with ThreadPoolExecutor(1, "generator") as thread:
            batch = await loop.run_in_executor(thread, self._make, 0)
            self._started = self._clock()
            index = 0
            async with asyncio.TaskGroup() as posts:
                while await self._tick(index):
                    # The next batch is made while this one is under way, so that it is ready at its tick.
                    ahead = loop.run_in_executor(thread, self._make, index + 1)
                    for body, copy in [(batch, False), *((earlier, True) for earlier in self._copies.due(index))]:
                        await self._room.acquire()
                        posts.create_task(self._post(body, copy, self._due(index)))
                    self._copies.plan(batch)
                    batch, index = await ahead, index + 1
                for earlier in () if self._stop.is_set() else self._copies.rest():
                    await self._room.acquire()
                    posts.create_task(self._post(earlier, True, self._clock()))

    def _make(self, index: int) -> Batch:
        batch = self._generator.batch(index, datetime.now(UTC))
        self._on_batch(batch)
        return batch

    def _due(self, index: int) -> float:
        return self._started + index / self._options.rate

    async def _tick(self, index: int) -> bool:
        """Waits until batch `index` is due. False: there is no such batch any more."""
        due, now = self._due(index), self._clock()
        if self._options.batches is None:
            over = max(due, now) >= self._started + self._options.seconds
        else:
            over = index >= self._options.batches
        if over:
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, due - now))
        return not self._stop.is_set()

    async def _post(self, batch: Batch, copy: bool, due: float) -> None:
        started = self._clock()
        request = Request(
            batch=batch.index,
            copy=copy,
            events=batch.facts.events,
            body_bytes=len(batch.body),
            sent_at=started - self._started,
            late=0.0 if self._options.wait else max(0.0, started - due),
            latency=0.0,
        )
        try:
            signed = self._options.sign(batch.body)
            request = await post(self._client, self._ledger.url, batch.body, request, signed)
        except asyncio.CancelledError:
            request = replace(request, failure="cancelled before the answer came")
            raise
        finally:
            self._room.release()
            self._ledger.record(batch.facts, replace(request, latency=self._clock() - started))
            self._on_progress(self._ledger)


class _Copies:
    """Which batches are posted again, and when."""

    def __init__(self, seed: int, share: float) -> None:
        self._rng = random.Random(f"{seed}/copies")  # noqa: S311 - repeatable, and nobody's secret
        self._share = share
        self._planned: list[tuple[int, Batch]] = []

    def plan(self, batch: Batch) -> None:
        if self._rng.random() < self._share:
            self._planned.append((batch.index + self._rng.randint(*_COPY_DELAY), batch))

    def due(self, index: int) -> list[Batch]:
        """The copies that go with batch `index`."""
        due = [batch for at, batch in self._planned if at <= index]
        self._planned = [(at, batch) for at, batch in self._planned if at > index]
        return due

    def rest(self) -> list[Batch]:
        return [batch for _, batch in self._planned]
