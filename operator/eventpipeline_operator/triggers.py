"""What has to be looked at, and when: many triggers of one resource become one pass, and no two run at once.

A pass that fails comes again after a growing delay; a trigger that arrives while a pass runs makes one more.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from eventpipeline.telemetry import log

_FIRST_BACKOFF, _LAST_BACKOFF = 1.0, 60.0
_log = log("triggers")


@dataclass(frozen=True, order=True)
class Target:
    """One EventPipeline, by its UID: another of the same name is another target."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Result:
    """`again_after` seconds the target wants to be looked at anew, or None. `failed` makes that delay grow."""

    again_after: float | None = None
    failed: bool = False


Pass = Callable[[Target], Awaitable[Result]]


class Triggers:
    def __init__(self) -> None:
        self._due: dict[Target, float] = {}
        self._running: set[Target] = set()
        self._failures: dict[Target, int] = {}
        self._changed = asyncio.Event()

    def add(self, target: Target, *, after: float = 0.0) -> None:
        """Has the target looked at in `after` seconds, or before, if that is planned already."""
        due = time.monotonic() + after
        self._due[target] = min(due, self._due.get(target, due))
        self._changed.set()

    def __len__(self) -> int:
        """How many targets wait, those that wait for a later time included."""
        return len(self._due)

    async def run(self, one_pass: Pass, *, workers: int, stopping: asyncio.Event | None = None) -> None:
        """Makes passes until `stopping` is set; a pass under way comes to its end."""
        stopping = stopping or asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self._work(one_pass, stopping))
            await stopping.wait()
            self._changed.set()

    async def _work(self, one_pass: Pass, stopping: asyncio.Event) -> None:
        while target := await self._next(stopping):
            try:
                result = await one_pass(target)
            except Exception:
                # A bug must not end the operator for every other pipeline.
                _log.exception("a pass failed", pipeline=str(target))
                result = Result(failed=True)
            finally:
                self._running.discard(target)
                self._changed.set()
            self._plan(target, result)

    def _plan(self, target: Target, result: Result) -> None:
        if not result.failed:
            self._failures.pop(target, None)
            if result.again_after is not None:
                self.add(target, after=result.again_after)
            return
        failures = self._failures.get(target, 0)
        self._failures[target] = failures + 1
        self.add(
            target, after=max(result.again_after or 0.0, min(_FIRST_BACKOFF * 2 ** min(failures, 10), _LAST_BACKOFF))
        )

    async def _next(self, stopping: asyncio.Event) -> Target | None:
        while not stopping.is_set():
            self._changed.clear()
            waiting = [(due, target) for target, due in self._due.items() if target not in self._running]
            due, target = min(waiting, default=(None, None))
            delay = None if due is None else due - time.monotonic()
            if target is not None and delay is not None and delay <= 0:
                del self._due[target]
                self._running.add(target)
                return target
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue
        return None
