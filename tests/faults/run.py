"""One run: a pipeline under load, a schedule of faults, and the verdict."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2

from eventpipeline.local.supervisor import Event
from eventpipeline.publisher import Ledger, Observer, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.publisher import judge as judge_reports
from faults.inject import inject, targets
from faults.oracle import Judgement, judge
from faults.rig import Rig, Shape, rig
from faults.schedule import Step, Targets, schedule
from faults.sent import Sent
from faults.watch import Watch

MOST_SECONDS_TO_RECOVER = 150.0


@dataclass(frozen=True)
class Options:
    seed: int = 1
    seconds: float = 60.0
    """How long faults go on."""
    least: int = 0
    """How many faults there are at least, though it take half as long again."""
    samples: int = 1
    """How often a fault comes alone whose recovery is timed."""
    longest: float = 3.0
    """How many seconds a fault lasts at most."""
    load: Load = field(default_factory=lambda: Load(rate=2.0, batch=(500, 5000), duplicates=0.2, timeout=20.0))
    shape: Shape = field(default_factory=Shape)
    steps: tuple[Step, ...] | None = None
    """These instead of the seed's schedule."""
    prepare: Callable[[Rig], None] = lambda rig: None
    """What is done to the pipeline before the load begins."""


@dataclass(frozen=True)
class Recovery:
    """How one step of faults ended; times in seconds since its last fault was over, None where it did not come."""

    step: Step
    answering: float | None
    """Until a request that was sent after it was answered with 202."""
    drained: float | None
    """Until all was stored that the streams held when every service was ready again."""
    ready: float | None
    """Until every service says that all it depends on is there."""
    failed: int
    """Requests that were sent after the first fault began, and not taken."""

    @property
    def complete(self) -> bool:
        return None not in (self.answering, self.drained, self.ready)


@dataclass(frozen=True)
class Outcome:
    options: Options
    targets: Targets
    ledger: Ledger
    judgement: Judgement
    recoveries: tuple[Recovery, ...]
    resets: tuple[str, ...]
    memory: dict[str, int]
    seconds: float

    @property
    def faults(self) -> int:
        return sum(len(recovery.step.faults) for recovery in self.recoveries)

    @property
    def failures(self) -> list[str]:
        """Everything that is not as it must be."""
        stuck = [
            f"After {', '.join(map(str, recovery.step.faults))} not everything came back."
            for recovery in self.recoveries
            if not recovery.complete
        ]
        return [*self.judgement.differences, *self.resets, *stuck]


async def run(folder: Path, options: Options, tell: Callable[[str], None] = lambda line: None) -> Outcome:
    """Runs it in `folder`. Raises LocalError where the pipeline does not start."""
    started = time.monotonic()

    def on_event(event: Event) -> None:
        if event.kind in ("died", "note"):
            tell(f"{time.monotonic() - started:7.1f} s     {event}")

    async with (
        rig(folder, options.shape, on_event) as pipeline,
        httpx2.AsyncClient(trust_env=False) as client,
        httpx2.AsyncClient(base_url=pipeline.reporter_url, timeout=60.0, trust_env=False) as reporter,
    ):
        options.prepare(pipeline)
        watch, observer = Watch(pipeline, client), Observer(reporter)
        before = await observer.observe()
        stop = asyncio.Event()
        looking = asyncio.create_task(watch.keep_looking())
        with Sent(folder / "sent.tsv") as sent:
            load = _load(options)
            publishing = asyncio.create_task(
                publish(pipeline.gateway_url, load, watch.on_answer, stop, on_batch=sent.write)
            )
            try:
                await watch.until_answering(time.monotonic(), 30.0)
                broken = _Breaking(pipeline, watch, tell, started)
                await broken.all_of(_steps(options, pipeline), options)
            finally:
                stop.set()
                ledger = await publishing
        tell(f"{time.monotonic() - started:7.1f} s  the load has ended; waiting until everything is stored")
        await watch.until_drained(time.monotonic(), MOST_SECONDS_TO_RECOVER)
        looking.cancel()
        after = await observer.observe()
        verdict = judge_reports(ledger, before, after)
        judgement = await asyncio.to_thread(judge, pipeline.database_url, sent.path, ledger, verdict)
        return Outcome(
            options, targets(pipeline), ledger, judgement, tuple(broken.recoveries), tuple(watch.resets),
            watch.memory, time.monotonic() - started,
        )  # fmt: skip


def _load(options: Options) -> Load:
    return replace(options.load, seed=options.seed, seconds=24 * 3600.0)


def _steps(options: Options, pipeline: Rig) -> Iterable[Step]:
    if options.steps is not None:
        return options.steps
    return schedule(options.seed, targets(pipeline), options.longest, options.samples)


class _Breaking:
    """Does the steps of a schedule, one after the other, each once all is well again."""

    def __init__(self, pipeline: Rig, watch: Watch, tell: Callable[[str], None], started: float) -> None:
        self._pipeline, self._watch, self._tell, self._started = pipeline, watch, tell, started
        self.recoveries: list[Recovery] = []

    async def all_of(self, steps: Iterable[Step], options: Options) -> None:
        began = time.monotonic()
        for number, step in zip(itertools.count(1), steps, strict=False):
            if options.steps is None and self._enough(time.monotonic() - began, options):
                return
            await asyncio.sleep(step.pause)
            recovery = await self._do(step)
            self.recoveries.append(recovery)
            self._tell(
                f"{time.monotonic() - self._started:7.1f} s  {number}. {', '.join(map(str, step.faults))}: answering "
                f"{_seconds(recovery.answering)}, stored {_seconds(recovery.drained)}, ready "
                f"{_seconds(recovery.ready)}, {recovery.failed} requests not taken"
            )
            if not recovery.complete:
                return

    def _enough(self, seconds: float, options: Options) -> bool:
        done = sum(len(recovery.step.faults) for recovery in self.recoveries)
        return seconds > options.seconds and (done >= options.least or seconds > 1.5 * options.seconds)

    async def _do(self, step: Step) -> Recovery:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, fault in enumerate(step.faults):
                if number:
                    await asyncio.sleep(step.gap)
                group.create_task(inject(fault, self._pipeline, self._watch))
        over = time.monotonic()
        most = MOST_SECONDS_TO_RECOVER
        answering, ready = await asyncio.gather(
            self._watch.until_answering(over, most), self._watch.until_ready(over, most)
        )
        # Only now, since what came in meanwhile waits too.
        drained = await self._watch.until_drained(over, most)
        return Recovery(step, answering, drained, ready, len(self._watch.failed_since(began)))


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
