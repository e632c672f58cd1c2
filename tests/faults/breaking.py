"""Doing the steps of a schedule, one after the other, each once all is well again after the one before."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Collection, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from faults.recovering import Recovering
from faults.schedule import Fault, Step

MOST_SECONDS_TO_RECOVER = 150.0
Inject = Callable[[Fault], Coroutine[Any, Any, Collection[str]]]
"""Does a fault, lets it last and undoes it; returns what must be gone before all can be well."""


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


def stuck(recoveries: Iterable[Recovery]) -> list[str]:
    """A sentence for each step after which not everything came back."""
    return [
        f"After {', '.join(map(str, recovery.step.faults))} not everything came back."
        for recovery in recoveries
        if not recovery.complete
    ]


class Breaking:
    """`started` is when the run began, by the monotonic clock, for what is told."""

    def __init__(self, inject: Inject, watch: Recovering, tell: Callable[[str], None], started: float) -> None:
        self._inject, self._watch, self._tell, self._started = inject, watch, tell, started
        self.recoveries: list[Recovery] = []

    async def all_of(self, steps: Iterable[Step], seconds: float, least: int = 0) -> None:
        """Goes through the steps for so many seconds, and until `least` faults are done or half as long again.

        Ends where the pipeline does not recover.
        """
        began = time.monotonic()
        for number, step in zip(itertools.count(1), steps, strict=False):
            took = time.monotonic() - began
            if took > seconds and (self._faults >= least or took > 1.5 * seconds):
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
                self._tell(f"not well: {'; '.join(self._watch.troubles)}")
                return

    @property
    def _faults(self) -> int:
        return sum(len(recovery.step.faults) for recovery in self.recoveries)

    async def _do(self, step: Step) -> Recovery:
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            tasks = []
            for number, fault in enumerate(step.faults):
                if number:
                    await asyncio.sleep(step.gap)
                tasks.append(group.create_task(self._inject(fault)))
        over = time.monotonic()
        gone = {name for task in tasks for name in task.result()}
        most = MOST_SECONDS_TO_RECOVER
        answering, ready = await asyncio.gather(
            self._watch.until_answering(over, most), self._watch.until_well(gone, over, most)
        )
        # Only now, since what came in meanwhile waits too; and for as long again, however long the rest took.
        drained = await self._watch.until_drained(over, time.monotonic() - over + most)
        return Recovery(step, answering, drained, ready, len(self._watch.failed_since(began)))


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
