"""One run: a pipeline under load, a schedule of faults, and the verdict."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx2

from eventpipeline.local.supervisor import Event
from eventpipeline.publisher import Ledger, Observer, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.publisher import judge as judge_reports
from faults.breaking import MOST_SECONDS_TO_RECOVER, Breaking, Recovery, stuck
from faults.inject import inject, targets
from faults.oracle import Judgement, judge
from faults.rig import Rig, Shape, rig
from faults.schedule import Step, Targets, schedule
from faults.sent import Sent
from faults.watch import Watch


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
    def failures(self) -> list[str]:
        """Everything that is not as it must be."""
        return [*self.judgement.differences, *self.resets, *stuck(self.recoveries)]


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
                broken = Breaking(lambda fault: inject(fault, pipeline, watch), watch, tell, started)
                seconds = options.seconds if options.steps is None else math.inf
                await broken.all_of(_steps(options, pipeline), seconds, options.least)
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
