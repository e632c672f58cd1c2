"""Group commit, over a stream that acknowledges when the test says so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from eventpipeline.envelope import PACKED_BYTES, REQUESTS_HEADER, RequestRun, requests_of
from eventpipeline.gateway.groups import Groups
from eventpipeline.stream import Stream, StreamUnavailable


class SlowStream(Stream):
    """Keeps what is published, and acknowledges it when `acknowledge` is called; `trouble` is raised then instead."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, list[Any], list[RequestRun], int]] = []
        self.trouble: Exception | None = None
        self._waiting: list[asyncio.Event] = []

    async def publish(self, source: str, payload: bytes, headers: dict[str, str], timeout: float) -> None:
        size = len(payload) + len(headers[REQUESTS_HEADER])
        self.kept.append((source, json.loads(payload), requests_of(headers), size))
        acknowledged = asyncio.Event()
        self._waiting.append(acknowledged)
        await acknowledged.wait()
        if self.trouble:
            raise self.trouble

    async def acknowledge(self) -> None:
        """All that was published so far; returns once nothing more happens by itself."""
        for waiting in self._waiting:
            waiting.set()
        self._waiting.clear()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def publish(groups: Groups, number: int, source: str = "facebook", *, size: int = 1) -> asyncio.Future[None]:
    packed = json.dumps(["x" * size + str(number)]).encode()
    return groups.publish(source, packed, RequestRun(f"r-{number}", None, 1))


@pytest.fixture
def stream() -> SlowStream:
    return SlowStream()


def groups_of(stream: SlowStream, gather_seconds: float = 60.0) -> Groups:
    return Groups(stream, ack_timeout=5.0, gather_seconds=gather_seconds)


async def test_one_that_comes_alone_goes_at_once(stream: SlowStream) -> None:
    request = publish(groups_of(stream), 1)
    await settle()
    assert [runs for _, _, runs, _ in stream.kept] == [[RequestRun("r-1", None, 1)]]
    assert not request.done(), "it is not on disk yet"
    await stream.acknowledge()
    assert request.done()


async def test_what_comes_while_one_is_under_way_goes_together_and_in_order(stream: SlowStream) -> None:
    groups = groups_of(stream)
    requests = [publish(groups, number) for number in range(10)]
    await settle()
    assert len(stream.kept) == 1
    await stream.acknowledge()
    assert [request.done() for request in requests] == [True] + [False] * 9
    _, events, runs, _ = stream.kept[1]
    assert events == [f"x{number}" for number in range(1, 10)]
    assert runs == [RequestRun(f"r-{number}", None, 1) for number in range(1, 10)]
    await stream.acknowledge()
    assert all(request.done() for request in requests)
    assert len(stream.kept) == 2


async def test_where_several_were_answered_together_the_next_ones_gather(stream: SlowStream) -> None:
    groups = groups_of(stream, gather_seconds=0.05)
    requests = [publish(groups, number) for number in range(3)]
    await settle()
    await stream.acknowledge()
    await stream.acknowledge()
    assert all(request.done() for request in requests)
    again = [publish(groups, 3)]
    await settle()
    again.append(publish(groups, 4))
    assert len(stream.kept) == 2, "nothing is under way, and they gather all the same"
    async with asyncio.timeout(5):
        while len(stream.kept) < 3:
            await asyncio.sleep(0.001)
    assert stream.kept[2][1] == ["x3", "x4"]
    await stream.acknowledge()
    await asyncio.gather(*again)


async def test_sources_do_not_wait_for_each_other(stream: SlowStream) -> None:
    groups = groups_of(stream)
    requests = [publish(groups, 1, "facebook"), publish(groups, 2, "tiktok")]
    await settle()
    assert [source for source, *_ in stream.kept] == ["facebook", "tiktok"]
    await stream.acknowledge()
    await asyncio.gather(*requests)


async def test_a_slow_acknowledgement_holds_nobody_longer_than_the_time_to_gather(stream: SlowStream) -> None:
    groups = groups_of(stream, gather_seconds=0.001)
    requests = [publish(groups, number) for number in range(3)]
    async with asyncio.timeout(5):
        while len(stream.kept) < 2:
            await asyncio.sleep(0.001)
    assert stream.kept[1][1] == ["x1", "x2"], "the first is still not acknowledged"
    await stream.acknowledge()
    await asyncio.gather(*requests)


async def test_what_would_only_wait_behind_others_at_the_server_gathers(stream: SlowStream) -> None:
    groups = groups_of(stream, gather_seconds=0.001)
    first = publish(groups, 1), publish(groups, 2)
    async with asyncio.timeout(5):
        while len(stream.kept) < 2:
            await asyncio.sleep(0.001)
    later = [publish(groups, number) for number in (3, 4)]
    await asyncio.sleep(0.02)  # much longer than the time to gather
    assert len(stream.kept) == 2, "two are under way"
    later.append(publish(groups, 5))
    await stream.acknowledge()
    assert stream.kept[2][1] == ["x3", "x4", "x5"]
    await stream.acknowledge()
    await asyncio.gather(*first, *later)


async def test_a_big_one_goes_alone_and_at_once(stream: SlowStream) -> None:
    groups = groups_of(stream)
    requests = [publish(groups, 1), publish(groups, 2, size=70_000), publish(groups, 3)]
    await settle()
    assert sorted(run.correlation_id for _, _, runs, _ in stream.kept for run in runs) == ["r-1", "r-2"]
    await stream.acknowledge()
    await stream.acknowledge()
    await asyncio.gather(*requests)


async def test_no_message_is_larger_than_a_message_may_be(stream: SlowStream) -> None:
    """Two hundred of 10 kB: four messages, the header with all the requests included."""
    groups = groups_of(stream, gather_seconds=0.001)
    requests = [publish(groups, number, size=10_000) for number in range(200)]
    await settle()
    while not all(request.done() for request in requests):
        await stream.acknowledge()
        await asyncio.sleep(0.001)
    assert max(size for *_, size in stream.kept) <= PACKED_BYTES
    assert sum(len(events) for _, events, _, _ in stream.kept) == 200
    assert len(stream.kept) == 5, "the first one alone, and four full ones"


async def test_each_of_a_message_that_is_lost_hears_of_it_and_the_next_is_tried(stream: SlowStream) -> None:
    groups = groups_of(stream)
    first = publish(groups, 1)
    await settle()
    lost = [publish(groups, number) for number in (2, 3)]
    await settle()
    await stream.acknowledge()
    stream.trouble = StreamUnavailable("away")
    await stream.acknowledge()
    await first
    for request in lost:
        with pytest.raises(StreamUnavailable, match="away"):
            await request
    stream.trouble = None
    next_one = publish(groups, 4)
    await settle()
    await stream.acknowledge()
    await next_one


async def test_one_that_is_given_up_takes_no_other_with_it(stream: SlowStream) -> None:
    groups = groups_of(stream)
    first, given_up, other = (publish(groups, number) for number in (1, 2, 3))
    await settle()
    given_up.cancel()
    await settle()
    await stream.acknowledge()
    assert stream.kept[1][1] == ["x2", "x3"], "it had gathered already, and may be stored: nobody was told of it"
    await stream.acknowledge()
    await asyncio.gather(first, other)
    assert given_up.cancelled()
