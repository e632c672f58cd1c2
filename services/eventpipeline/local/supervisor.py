"""Programs that run as children of this process: started, watched, started again when they end, stopped.

Use it from the main thread only. The kernel's signal at the parent's end is really one at the end of the thread that
started the child.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from eventpipeline.local.datadir import cap, tail
from eventpipeline.local.errors import StartFailed
from eventpipeline.local.program import Program, nothing

EventKind = Literal["started", "ready", "died", "stopping", "stopped", "note"]

GRACE_SECONDS = 30.0
"""How long a program may take to finish before it is killed."""
FIRST_DELAY, LONGEST_DELAY = 0.2, 10.0
"""Seconds before a program that died is started again; doubled each time."""
_WELL_SECONDS = 3.0
"""A program that was ready for this long begins again with the first delay."""
_START_ATTEMPTS = 6
"""Deaths before a program was ever ready that are taken as final. Postgres needs some when backends of a killed server
are still leaving."""
_POLL_SECONDS = 0.03
_GLANCE_SECONDS = 1.0
_LOOK_SECONDS = 10.0
_MOST_MISSES = 6


@dataclass(frozen=True)
class Event:
    """Something that happened to a program, or a note about the start; `str()` is a line for people."""

    kind: EventKind
    name: str
    pid: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        pid = f" (pid {self.pid})" if self.pid else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.name}{detail}" if self.kind == "note" else f"{self.name} {self.kind}{pid}{detail}"


OnEvent = Callable[[Event], None]


def ignore(_event: Event) -> None:
    pass


@dataclass
class _Child:
    program: Program
    first_ready: asyncio.Future[None]
    process: Process | None = None
    ready_at: float | None = None
    """When this life of it was ready first."""
    stopping: bool = False
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def send(self, number: signal.Signals) -> None:
        if self.process and self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    def kill(self) -> None:
        if self.process and self.process.returncode is None:
            # The whole group, since on a Mac the program is a child of the process we know.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)


class Supervisor:
    def __init__(self, on_event: OnEvent = ignore, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._on_event = on_event
        self._grace = grace_seconds
        self.on_start: Callable[[], None] = nothing
        """Called whenever another set of programs runs."""
        self._children: dict[str, _Child] = {}

    def start(self, program: Program) -> None:
        child = _Child(program, asyncio.get_running_loop().create_future())
        self._children[program.name] = child
        child.task = asyncio.create_task(self._keep(child), name=program.name)

    async def ready(self, *names: str) -> None:
        """Wait until each was ready once. Raises StartFailed, with the end of its log, when one does not get there."""
        await asyncio.gather(*(self._children[name].first_ready for name in names))

    async def once(self, program: Program) -> int:
        """Run a program to its end; its exit code, negative for a signal."""
        child = _Child(program, asyncio.get_running_loop().create_future())
        self._children[program.name] = child
        process = await self._spawn(child)
        try:
            return await process.wait()
        finally:
            child.kill()
            await process.wait()
            del self._children[program.name]

    def pids(self) -> dict[str, int]:
        return {
            name: child.process.pid
            for name, child in self._children.items()
            if child.process and child.process.returncode is None
        }

    async def stop(self, *names: str) -> None:
        """Stop these, all at once: ask, wait, kill. One that does not run is none to stop."""
        await asyncio.gather(*(self._stop(self._children[name]) for name in names if name in self._children))

    def kill(self) -> None:
        """End everything now. Whoever waits in `stop` goes on."""
        for child in self._children.values():
            child.stopping = True
            child.kill()

    async def _stop(self, child: _Child) -> None:
        name, process = child.program.name, child.process
        child.stopping = True
        if process and process.returncode is None:
            self._tell("stopping", child)
            child.send(child.program.stop_signal)
            try:
                await asyncio.wait_for(process.wait(), self._grace)
            except TimeoutError:
                self._tell("note", child, f"does not stop within {self._grace:g} s and is killed")
                child.kill()
                await process.wait()
            self._tell("stopped", child, _outcome(process))
        if child.task:
            child.task.cancel()
            await asyncio.gather(child.task, return_exceptions=True)
        self._children.pop(name, None)

    async def _keep(self, child: _Child) -> None:
        """Start the program, again and again, until it is to stop or was never ready in all of its first attempts."""
        delay, deaths = FIRST_DELAY, 0
        while True:
            child.ready_at = None
            outcome = await self._live(child)
            if child.stopping:
                return
            deaths += 1
            if not child.first_ready.done() and deaths >= _START_ATTEMPTS:
                self._tell("died", child, outcome)
                log = child.program.log
                child.first_ready.set_exception(
                    StartFailed(f"{child.program.name} does not start ({outcome}); the end of {log}:\n{tail(log)}")
                )
                return
            if child.ready_at is not None and time.monotonic() - child.ready_at >= _WELL_SECONDS:
                delay = FIRST_DELAY
            self._tell("died", child, f"{outcome}; starting again in {delay:g} s")
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)

    async def _live(self, child: _Child) -> str:
        """One life of the program; says how it ended."""
        try:
            process = await self._spawn(child)
        except OSError as error:
            return str(error)
        watch = asyncio.create_task(self._watch(child, process))
        try:
            await process.wait()
        finally:
            watch.cancel()
        return _outcome(process)

    async def _spawn(self, child: _Child) -> Process:
        program = child.program
        program.prepare()
        with program.log.open("ab") as log:
            child.process = await asyncio.create_subprocess_exec(
                *program.command(), env=program.environ(), cwd=program.cwd, stdin=DEVNULL, stdout=log, stderr=log,
                # A terminal's Ctrl-C must reach only this process, which then stops its children in order.
                start_new_session=True,
            )  # fmt: skip
        self.on_start()
        self._tell("started", child)
        return child.process

    async def _watch(self, child: _Child, process: Process) -> None:
        """Announce when the program is ready; from then on keep its log short, and end it when it does not answer."""
        program = child.program
        while not await program.ready(process.pid):  # noqa: ASYNC110 - another process cannot set an Event
            await asyncio.sleep(_POLL_SECONDS)
        child.ready_at = time.monotonic()
        self._tell("ready", child)
        if not child.first_ready.done():
            child.first_ready.set_result(None)
        misses, looked_at = 0, time.monotonic()
        while True:
            await asyncio.sleep(_GLANCE_SECONDS)
            if await program.stuck(process.pid) and not child.stopping:
                self._tell("note", child, "cannot go on by itself and is started anew")
                await self._end(child)
            if time.monotonic() - looked_at < _LOOK_SECONDS:
                continue
            looked_at = time.monotonic()
            cap(program.log)
            misses = 0 if await program.live(process.pid) else misses + 1
            if misses >= _MOST_MISSES and not child.stopping:
                self._tell("note", child, f"has not answered for {misses * _LOOK_SECONDS:g} s and is stopped")
                await self._end(child)

    async def _end(self, child: _Child) -> None:
        """Ask it to finish; kill it where it does not. Cancelled once it has."""
        child.send(child.program.stop_signal)
        await asyncio.sleep(self._grace)
        child.kill()

    def _tell(self, kind: EventKind, child: _Child, detail: str = "") -> None:
        self._on_event(Event(kind, child.program.name, child.process.pid if child.process else None, detail))


def _outcome(process: Process) -> str:
    code = process.returncode
    assert code is not None
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
