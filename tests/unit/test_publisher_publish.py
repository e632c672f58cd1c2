from __future__ import annotations

import asyncio
import json
from collections import Counter

import httpx2
import pytest
from publisher_fakes import FakePipeline

from eventpipeline.publisher.ledger import Fate, Ledger
from eventpipeline.publisher.publish import Options, publish, webhook

FAST = Options(batches=10, rate=1e6, batch=(20, 40), seed=5)


def open_loop(answer):
    """A gateway that answers with what the coroutine function `answer` does with a request."""

    class Transport(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            await answer(request)
            return httpx2.Response(202, json={"accepted": 1, "rejected": 0, "errors": [], "correlationId": "c"})

    return Transport()


@pytest.mark.parametrize(
    ("url", "posted"),
    [
        ("http://localhost:3000", "http://localhost:3000/webhook/events"),
        ("http://localhost:3000/", "http://localhost:3000/webhook/events"),
        ("https://example.com/in", "https://example.com/in"),
    ],
)
def test_where_it_posts(url, posted):
    assert webhook(url) == posted


@pytest.mark.parametrize("url", ["localhost:3000", "ftp://localhost", "http://", ""])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ValueError, match="no address"):
        webhook(url)


async def test_the_same_seed_posts_the_same_events():
    one, two = FakePipeline(), FakePipeline()
    for pipeline in (one, two):
        await publish("http://gateway", FAST, transport=pipeline.transport)
    ids = [[[event.get("eventId") for event in json.loads(body)] for body in sorted(p.bodies)] for p in (one, two)]
    assert sorted(ids[0]) == sorted(ids[1])
    assert len(ids[0]) == 10


async def test_it_does_not_wait_for_answers():
    under_way = asyncio.Event()
    arrived: list[httpx2.Request] = []

    async def answer(request):
        arrived.append(request)
        if len(arrived) == 10:
            under_way.set()
        await asyncio.wait_for(under_way.wait(), 5)

    ledger = await publish("http://gateway", FAST, transport=open_loop(answer))
    assert len(arrived) == len(ledger.requests) == 10
    assert arrived[0].headers["content-type"] == "application/json"
    assert "x-correlation-id" not in arrived[0].headers


async def test_a_closed_loop_has_one_request_under_way():
    under_way, most = 0, 0

    async def answer(request):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.001)
        under_way -= 1

    await publish("http://gateway", Options(batches=10, rate=1e6, batch=(5, 5), wait=True), transport=open_loop(answer))
    assert most == 1


async def test_it_keeps_its_rate():
    pipeline = FakePipeline()
    options = Options(seconds=0.5, rate=20, batch=(5, 5))
    ledger = await publish("http://gateway", options, transport=pipeline.transport)
    assert len(ledger.requests) == 10
    assert [request.sent_at for request in ledger.requests][-1] == pytest.approx(0.45, abs=0.1)


async def test_copies_are_the_same_bytes_later():
    pipeline = FakePipeline()
    options = Options(batches=12, rate=1e6, batch=(5, 9), duplicates=1.0, wait=True)
    ledger = await publish("http://gateway", options, transport=pipeline.transport)
    assert set(Counter(pipeline.bodies).values()) == {2}
    assert Counter(request.copy for request in ledger.requests) == {False: 12, True: 12}


async def test_it_never_retries_and_writes_down_what_failed():
    pipeline = FakePipeline()
    pipeline.statuses = {0: 503, 1: 0, 2: -1}
    seen: list[int] = []
    options = Options(batches=5, rate=1e6, batch=(5, 5), wait=True)
    ledger = await publish(
        "http://gateway", options, lambda ledger: seen.append(len(ledger.requests)), transport=pipeline.transport
    )
    fates = [request.fate for request in ledger.requests]
    assert fates == [Fate.UNAVAILABLE, Fate.UNKNOWN, Fate.UNSENT, Fate.ACCEPTED, Fate.ACCEPTED]
    assert len(pipeline.bodies) == 5
    assert ledger.requests[1].failure == "ReadError: the connection was lost"
    assert seen == [1, 2, 3, 4, 5]


async def test_when_stopped_it_awaits_what_is_under_way():
    stop = asyncio.Event()

    async def answer(request):
        stop.set()
        await asyncio.sleep(0.01)

    options = Options(batches=1000, rate=1e6, batch=(5, 5))
    ledger = await publish("http://gateway", options, stop=stop, transport=open_loop(answer))
    assert 0 < len(ledger.requests) < 1000
    assert {request.fate for request in ledger.requests} == {Fate.ACCEPTED}


async def test_when_cancelled_what_is_under_way_is_unknown():
    ledgers: list[Ledger] = []
    started = asyncio.Event()

    async def answer(request):
        started.set()
        await asyncio.sleep(60)

    options = Options(rate=1.0, batch=(5, 5))
    run = asyncio.create_task(publish("http://gateway", options, ledgers.append, transport=open_loop(answer)))
    await started.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert [request.fate for request in ledgers[-1].requests] == [Fate.UNKNOWN]
