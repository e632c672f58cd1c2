"""The loads of the drill, and the process that sends one: `python -m benchmarks.load ORDER`, with ORDER as JSON.

It makes ready, writes a line, waits for one, sends, writes a line, and stays until its input ends: so the drill knows
when the measured time begins, and can read off what this process cost.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import msgspec

from benchmarks.machine import available_memory
from eventpipeline.publisher import Generator, Ledger, Options, publish
from eventpipeline.publisher.batch import Batch, Facts
from eventpipeline.publisher.ledger import Request
from eventpipeline.publisher.post import post, post_client
from eventpipeline.publisher.publish import webhook

MOST_A_POST = 50_000
BYTES_AN_EVENT = 450
"""Of a body, at most."""
_MEMORY_SHARE = 0.25
_TIMEOUT_SECONDS = 60.0


class Order(msgspec.Struct, frozen=True):
    """What to send. Without `rate` it is the true load of the public publisher."""

    url: str
    seconds: float
    seed: int
    folder: str
    """Where the record goes, and the bodies that do not fit into memory."""
    rate: int | None = None
    """Events a second, from bodies that are made before the measured time."""

    @property
    def record(self) -> Path:
        return Path(self.folder) / "sent.json"


class Sent(msgspec.Struct, frozen=True):
    """What was sent and answered."""

    ledger: Ledger
    answered_at: float
    """When the last answer came, on the monotonic clock of the machine."""
    bodies: str
    """Where the bodies came from."""


@dataclass(frozen=True)
class Plan:
    """When which batch goes out."""

    batches: int
    size: int
    interval: float
    """Seconds from one batch to the next."""

    @classmethod
    def of(cls, rate: int, seconds: float) -> Plan:
        """One post a second where it can carry `rate` events, else as many as needed; at least one post."""
        posts_a_second = -(-rate // MOST_A_POST)
        return cls(max(1, round(seconds * posts_a_second)), rate // posts_a_second, 1 / posts_a_second)

    @property
    def body_bytes(self) -> int:
        return self.batches * self.size * BYTES_AN_EVENT


@dataclass(frozen=True)
class _InMemory:
    batch: Batch

    @property
    def facts(self) -> Facts:
        return self.batch.facts

    async def read(self) -> Batch:
        return self.batch


@dataclass(frozen=True)
class _OnDisk:
    index: int
    path: Path
    facts: Facts

    async def read(self) -> Batch:
        return Batch(self.index, await asyncio.to_thread(self.path.read_bytes), self.facts)


_Stored = _InMemory | _OnDisk


def fits_in_memory(plan: Plan) -> bool:
    return plan.body_bytes < _MEMORY_SHARE * available_memory()


def _make(plan: Plan, seed: int, folder: Path) -> deque[_Stored]:
    """The batches of `plan`, their timestamps close to now; those of another seed have other event ids."""
    generator, in_memory = Generator(seed, (plan.size, plan.size), corrupt=0.0), fits_in_memory(plan)
    stored: deque[_Stored] = deque()
    for index in range(plan.batches):
        batch = generator.batch(index, datetime.now(UTC))
        if in_memory:
            stored.append(_InMemory(batch))
        else:
            path = folder / f"body-{index}.json"
            path.write_bytes(batch.body)
            stored.append(_OnDisk(index, path, batch.facts))
    return stored


class _Poster:
    """Posts ready batches at their times, whether earlier ones were answered or not, and none twice."""

    def __init__(self, ledger: Ledger, client: httpx2.AsyncClient) -> None:
        self._ledger, self._client = ledger, client
        self._clock = asyncio.get_running_loop().time

    async def post_all(self, batches: deque[_Stored], interval: float) -> None:
        """Takes each batch out of `batches`, so that the memory of what was answered is the machine's again."""
        started, posts_to_make = self._clock(), len(batches)
        batch = await batches.popleft().read()
        async with asyncio.TaskGroup() as posts:
            for index in range(posts_to_make):
                due = started + index * interval
                await asyncio.sleep(max(0.0, due - self._clock()))
                posts.create_task(self._post(batch, started, due))
                if batches:
                    batch = await batches.popleft().read()

    async def _post(self, batch: Batch, started: float, due: float) -> None:
        sent = self._clock()
        request = Request(
            batch=batch.index,
            copy=False,
            events=batch.facts.events,
            body_bytes=len(batch.body),
            sent_at=sent - started,
            late=max(0.0, sent - due),
            latency=0.0,
        )
        request = await post(self._client, self._ledger.url, batch.body, request, {})
        self._ledger.record(batch.facts, replace(request, latency=self._clock() - sent))


async def _send_true_load(order: Order) -> Sent:
    _wait_for_go()
    ledger = await publish(order.url, Options(seconds=order.seconds, seed=order.seed))
    return Sent(ledger, asyncio.get_running_loop().time(), "generated while the load runs")


async def _send_made_bodies(order: Order, rate: int) -> Sent:
    plan = Plan.of(rate, order.seconds)
    batches = _make(plan, order.seed, Path(order.folder))
    where = "memory" if isinstance(batches[0], _InMemory) else "files, read one ahead"
    ledger = Ledger(seed=order.seed, url=webhook(order.url))
    timeout = httpx2.Timeout(_TIMEOUT_SECONDS, pool=None)
    async with post_client(timeout) as client:
        _wait_for_go()
        await _Poster(ledger, client).post_all(batches, plan.interval)
        answered_at = asyncio.get_running_loop().time()
    return Sent(ledger, answered_at, f"made before the measured time, from {where}")


def _wait_for_go() -> None:
    print("ready", flush=True)
    if not sys.stdin.readline():
        sys.exit("the drill is gone")


def main() -> None:
    order = msgspec.json.decode(sys.argv[1], type=Order)
    sending = _send_made_bodies(order, order.rate) if order.rate else _send_true_load(order)
    order.record.write_bytes(msgspec.json.encode(asyncio.run(sending)))
    print("sent", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
