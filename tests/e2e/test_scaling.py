"""Autoscalers: up under load and back; every event is counted once, nobody is refused, nobody quarrels."""

from __future__ import annotations

import asyncio
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx2
import pytest
from pipelines import SYSTEM, Pipeline

from cluster.access import Cluster, Object
from eventpipeline.publisher import Ledger, Observer, Options, judge, publish
from eventpipeline_operator.observe import is_ready

_SOON = {
    "scaleDown": {
        "stabilizationWindowSeconds": 15,
        "policies": [{"type": "Percent", "value": 100, "periodSeconds": 5}],
    }
}
SPEC: Object = {
    # Requests are the defaults. Never to all of the one node, and back at once. The collectors' target is lower: here
    # Postgres has no more for them to do.
    "gateway": {"autoscaling": {"maxReplicas": 3, "behavior": _SOON}},
    "collector": {"autoscaling": {"maxReplicas": 2, "targetCPUUtilizationPercent": 50, "behavior": _SOON}},
    "reporter": {"autoscaling": {"maxReplicas": 1}},
    "stream": {"nats": {"storage": "6Gi"}},
    "store": {"postgres": {"storage": "6Gi"}},
}
GATEWAY, COLLECTORS = "gateway", ("facebook-collector", "tiktok-collector")


@pytest.fixture(scope="module")
def pipeline(operator: Cluster) -> Iterator[Pipeline]:
    with operator.namespace("scaling") as namespace:
        found = Pipeline(operator, namespace)
        found.create(SPEC)
        found.until_ready()
        yield found


async def test_replicas_follow_the_load_and_every_event_is_counted_once(pipeline: Pipeline) -> None:
    written, replicas = _writes(pipeline), _Replicas(pipeline)
    async with pipeline.reporter() as client:
        observer = Observer(client)
        before = await observer.observe()
        heavy = await _publish_until(
            replicas.have_grown, pipeline, Options(seconds=120, batch=(20_000, 30_000), seed=11)
        )
        # While what lags is still being stored. So light that one collector of a source is enough, on slow cores too:
        # a batch costs it milliseconds, and where both together need more than half of the request of one, both stay.
        light = await _publish_until(
            replicas.are_one_each, pipeline, Options(seconds=480, rate=1, batch=(20, 100), seed=12), _EverySecondAnew()
        )
        ledger = _together(heavy, light)
        verdict = judge(ledger, before, await observer.observe_stored(ledger, before, quiet=60.0))
    print(f"{replicas}. {verdict.summary}")
    assert verdict.ok, verdict.differences
    totals = light.totals()
    assert (totals.refused_requests, totals.unanswered_requests, totals.failed_connections) == (0, 0, 0), (
        "somebody was refused while pods went"
    )
    assert totals.accepted
    assert _writes(pipeline) == written, "the operator wrote while the autoscalers did"


def _together(*ledgers: Ledger) -> Ledger:
    """One ledger of several runs, whose batches are numbered anew."""
    whole = Ledger(seed=0, url=ledgers[0].url)
    for run, ledger in enumerate(ledgers):
        for request in ledger.requests:
            whole.record(ledger.facts[request.batch], replace(request, batch=run * 1_000_000 + request.batch))
    return whole


class _Replicas:
    """How many pods each service has, looked at again and again."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._started = time.monotonic()
        self._story: list[str] = []

    def __str__(self) -> str:
        return "; ".join(self._story)

    def have_grown(self) -> bool:
        """Whether the gateway and a collector have more than one that is ready."""
        ready = self._count(is_ready)
        return ready[GATEWAY] > 1 and any(ready[name] > 1 for name in COLLECTORS)

    def are_one_each(self) -> bool:
        """Whether all others are gone, not only going."""
        count = self._count(lambda pod: True)
        return all(count[name] == 1 for name in (GATEWAY, *COLLECTORS))

    def _count(self, counts: Callable[[Object], bool]) -> Counter[str]:
        pods = self._pipeline.cluster.get_all(
            "pods", namespace=self._pipeline.namespace, selector=f"eventpipeline.dev/pipeline={self._pipeline.name}"
        )
        found = Counter(_service(pod) for pod in pods if counts(pod))
        shown = ", ".join(f"{name} {found[name]}" for name in (GATEWAY, *COLLECTORS))
        if not self._story or not self._story[-1].endswith(shown):
            self._story.append(f"{time.monotonic() - self._started:.0f} s: {shown}")
        return found


def _service(pod: Object) -> str:
    labels = pod["metadata"]["labels"]
    source, component = labels.get("eventpipeline.dev/source"), labels["app.kubernetes.io/component"]
    return f"{source}-{component}" if source else str(component)


async def _publish_until(
    done: Callable[[], bool],
    pipeline: Pipeline,
    options: Options,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> Ledger:
    """Publishes until `done`; fails where that does not come while the options let it publish."""
    stop = asyncio.Event()

    async def look() -> None:
        # A second is how often kubectl can be run beside a load that shall have the cores.
        while not await asyncio.to_thread(done):
            await asyncio.sleep(1.0)
        stop.set()

    looking = asyncio.create_task(look())
    try:
        ledger = await publish(pipeline.url("gateway"), options, stop=stop, transport=transport)
        assert looking.done(), f"not within {options.seconds:g} s: {done.__name__}"
    finally:
        looking.cancel()
    return ledger


class _EverySecondAnew(httpx2.AsyncBaseTransport):
    """Every second request opens a connection of its own, so that pods that come and go are met in both ways."""

    def __init__(self) -> None:
        self._kept = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(keepalive_expiry=2.0))
        self._new = httpx2.AsyncHTTPTransport(limits=httpx2.Limits(max_keepalive_connections=0))
        self._requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self._requests += 1
        return await (self._kept, self._new)[self._requests % 2].handle_async_request(request)

    async def aclose(self) -> None:
        await self._kept.aclose()
        await self._new.aclose()


def _writes(pipeline: Pipeline) -> dict[str, str]:
    """What the operator has written so far, statuses aside."""
    target = "service/eventpipeline-operator"
    with (
        pipeline.cluster.port_forward(target, 8080, namespace=SYSTEM) as address,
        urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer,
    ):
        lines = answer.read().decode().splitlines()
    found = dict(line.rsplit(" ", 1) for line in lines if line.startswith("eventpipeline_operator_writes_total{"))
    assert found
    return {name: value for name, value in found.items() if "status" not in name}
