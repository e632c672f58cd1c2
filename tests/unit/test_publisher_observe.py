from __future__ import annotations

import httpx2
import pytest
from publisher_fakes import FakePipeline

from eventpipeline.publisher.observe import ObserveError, Observer, judge
from eventpipeline.publisher.publish import Options, publish

OPTIONS = Options(batches=12, rate=1e6, batch=(20, 30), corrupt=1.0, wait=True)


def observer(answer) -> Observer:
    return Observer(httpx2.AsyncClient(transport=httpx2.MockTransport(answer), base_url="http://reporter"))


async def test_a_run_is_judged_by_what_the_reporter_says():
    pipeline = FakePipeline()
    reporter = observer(pipeline.answer)
    before = await reporter.observe()
    ledger = await publish("http://gateway", OPTIONS, transport=pipeline.transport)
    after = await reporter.observe_stored(ledger, before, poll=0)
    assert len(after.dead_letters) == len(pipeline.dead_letters) > pipeline.page
    assert judge(ledger, before, after).ok


async def test_it_waits_until_all_is_stored():
    pipeline, behind = FakePipeline(), FakePipeline()
    ledger = await publish("http://gateway", OPTIONS, transport=pipeline.transport)
    stored = iter(range(0, len(pipeline.events) + 10, 10))

    def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/reports/events":
            many = next(stored, len(pipeline.events))
            behind.events = dict(list(pipeline.events.items())[:many])
            behind.dead_letters = pipeline.dead_letters
        return behind.answer(request)

    before = await observer(FakePipeline().answer).observe()
    after = await observer(answer).observe_stored(ledger, before, poll=0)
    assert judge(ledger, before, after).ok


async def test_it_gives_up_when_nothing_more_comes():
    pipeline = FakePipeline()
    ledger = await publish("http://gateway", OPTIONS, transport=pipeline.transport)
    before = await observer(FakePipeline().answer).observe()
    pipeline.events.popitem()
    after = await observer(pipeline.answer).observe_stored(ledger, before, quiet=0.05, poll=0.01)
    assert judge(ledger, before, after).lost == 1


async def test_a_reporter_that_comes_back_is_waited_for():
    pipeline = FakePipeline()
    ledger = await publish("http://gateway", OPTIONS, transport=pipeline.transport)
    before = await observer(FakePipeline().answer).observe()
    failures = iter([httpx2.Response(503), httpx2.Response(200, json={"no": "report"})])
    after = await observer(lambda request: next(failures, None) or pipeline.answer(request)).observe_stored(
        ledger, before, poll=0
    )
    assert judge(ledger, before, after).ok


async def test_a_reporter_that_never_answers_is_an_error():
    pipeline = FakePipeline()
    ledger = await publish("http://gateway", OPTIONS, transport=pipeline.transport)
    before = await observer(pipeline.answer).observe()
    with pytest.raises(ObserveError, match="503"):
        await observer(lambda request: httpx2.Response(503)).observe_stored(ledger, before, quiet=0.02, poll=0.01)
