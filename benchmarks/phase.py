"""One phase of the drill: a load against a running pipeline, measured until all of it is stored, and verified."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import httpx2

from benchmarks.client import LoadProcess, load_process
from benchmarks.lag import Sample, look, quarters
from benchmarks.load import Order, Sent
from benchmarks.report import Phase
from benchmarks.resources import Meter
from eventpipeline.local import Running
from eventpipeline.publisher import Observer, Verdict, judge

SAMPLE_SECONDS = 0.9
"""Not the second in which the loads tick: samples in step with the posts would all see the same moment of it."""
_DRAIN_SAMPLE_SECONDS = 0.25
_TELL_SECONDS = 10.0
_POSTGRES = "postgres"

Tell = Callable[[str], None]


class DrillFailed(Exception):  # noqa: N818 - reads as what happened
    """The drill cannot measure; the message says why."""


@dataclass
class _Measured:
    """What was seen from the first post until all was stored."""

    sent: Sent
    started: float
    before: Sample
    meter: Meter
    samples: list[Sample] = field(default_factory=list)
    """While the load ran."""
    missed: int = 0
    drained: Sample | None = None
    last: Sample | None = None


async def measure(name: str, run: Running, order: Order, *, drain_limit: float, deaths: list[str], tell: Tell) -> Phase:
    """Sends the load of `order` and says what came of it. `deaths` grows when a program of the pipeline ends."""
    died_before = len(deaths)
    async with httpx2.AsyncClient(base_url=run.reporter_url, timeout=60.0, trust_env=False) as client:
        observer = Observer(client)
        tell(f"{name}: getting ready")
        async with load_process(order) as load:
            before = await observer.observe()
            measured = await _send_and_watch(name, run, load, client, drain_limit, tell)
        tell(f"{name}: comparing the reports with what was answered")
        after = await observer.observe_stored(measured.sent.ledger, before)
    verdict = judge(measured.sent.ledger, before, after)
    return _phase(order, measured, verdict, tuple(deaths[died_before:]))


async def _send_and_watch(
    name: str, run: Running, load: LoadProcess, client: httpx2.AsyncClient, drain_limit: float, tell: Tell
) -> _Measured:
    def pids() -> Mapping[str, int]:
        return {**run.pids(), "publisher": load.pid, "drill": os.getpid()}

    first = await look(client)
    if first is None:
        raise DrillFailed("the reporter does not say how the pipeline fares; see its log")
    meter = Meter(pids, trees=(_POSTGRES,))
    meter.start()
    started = time.monotonic()
    sending = asyncio.create_task(load.send())
    try:
        samples, missed = await _watch_while(name, sending, client, meter, first, tell)
    finally:
        sending.cancel()
    measured = _Measured(await sending, started, first, meter, samples, missed)
    await _watch_drain(measured, client, drain_limit)
    meter.sample()
    return measured


async def _watch_while(
    name: str, sending: asyncio.Task[Sent], client: httpx2.AsyncClient, meter: Meter, first: Sample, tell: Tell
) -> tuple[list[Sample], int]:
    samples: list[Sample] = []
    missed, started = 0, time.monotonic()
    due = told = started
    while True:
        due = max(due + SAMPLE_SECONDS, time.monotonic())
        await asyncio.wait([sending], timeout=due - time.monotonic())
        if sending.done():
            return samples, missed
        sample = await look(client)
        meter.sample()
        if sample is None:
            missed += 1
            continue
        samples.append(sample)
        if sample.at - told >= _TELL_SECONDS:
            told = sample.at
            tell(
                f"{name}: {sample.at - started:3.0f} s, {sample.events - first.events:,} events stored, "
                f"{sample.pending_messages} messages pending, the oldest for {sample.oldest_seconds:.1f} s"
            )


async def _watch_drain(measured: _Measured, client: httpx2.AsyncClient, limit: float) -> None:
    while time.monotonic() < measured.sent.answered_at + limit:
        sample = await look(client)
        if sample:
            measured.last = sample
            if sample.is_drained:
                measured.drained = sample
                return
        measured.meter.sample()
        await asyncio.sleep(_DRAIN_SAMPLE_SECONDS)


def _phase(order: Order, measured: _Measured, verdict: Verdict, deaths: tuple[str, ...]) -> Phase:
    sent, started, last = measured.sent, measured.started, measured.last or measured.before
    totals = sent.ledger.totals()
    samples = [*measured.samples, last]
    cpu = measured.meter.cpu_seconds()
    window = max(last.at, sent.answered_at) - started
    return Phase(
        seconds=order.seconds,
        seed=order.seed,
        bodies=sent.bodies,
        requests=totals.requests,
        answers=dict(Counter(str(request.status or request.failure) for request in sent.ledger.requests)),
        accepted=totals.accepted,
        rejected=totals.rejected,
        body_mb=totals.body_bytes / 1e6,
        # A load whose last post is answered before its last second is over was not any faster.
        events_per_second=totals.accepted / max(order.seconds, sent.answered_at - started),
        committed_per_second=(last.events - measured.before.events) / max(order.seconds, last.at - started),
        answer_p50_ms=totals.latency.p50 * 1000,
        answer_p99_ms=totals.latency.p99 * 1000,
        answer_max_ms=totals.latency.max * 1000,
        sent_late_max_ms=totals.late * 1000,
        lag_max_messages=max(sample.pending_messages for sample in samples),
        lag_max_seconds=max(sample.oldest_seconds for sample in samples),
        lag_max_seconds_by_quarter=tuple(quarters(measured.samples, started, sent.answered_at)),
        lag_samples=len(measured.samples),
        lag_samples_missed=measured.missed,
        drain_seconds=max(0.0, measured.drained.at - sent.answered_at) if measured.drained else None,
        cpu_seconds=cpu,
        cpu_us_per_event={name: 1e6 * seconds / max(1, totals.accepted) for name, seconds in cpu.items()},
        postgres_cpu_us_per_event={
            kind: 1e6 * seconds / max(1, totals.accepted)
            for kind, seconds in measured.meter.part_cpu_seconds(_POSTGRES).items()
        },
        other_cpu_cores=measured.meter.other_cpu_seconds() / window,
        peak_memory_mb=measured.meter.peak_memory_mb(),
        refused=totals.refused_requests + totals.unanswered_requests + totals.failed_connections,
        lost=verdict.lost,
        doubled=verdict.doubled,
        invented=verdict.invented,
        verdict=verdict.summary,
        differences=verdict.differences[:20],
        died=deaths,
    )
