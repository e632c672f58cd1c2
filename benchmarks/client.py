"""The process that sends a load, as the drill sees it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator

import msgspec

from benchmarks.load import Order, Sent
from benchmarks.machine import REPOSITORY
from eventpipeline.local.program import child_command


class LoadFailed(Exception):  # noqa: N818 - reads as what happened
    """The process that sends the load ended before it had sent everything."""


class LoadProcess:
    """A process that has everything ready to send."""

    def __init__(self, order: Order, process: Process) -> None:
        self._order = order
        self._process = process
        self.pid = process.pid

    async def expect(self, word: str) -> None:
        assert self._process.stdout
        line = (await self._process.stdout.readline()).decode().strip()
        if line != word:
            raise LoadFailed(
                f"the process that sends the load said {line!r} instead of {word!r}; see its message above"
            )

    async def send(self) -> Sent:
        """Begins to send; returns when the last answer has come."""
        assert self._process.stdin
        self._process.stdin.write(b"go\n")
        await self.expect("sent")
        return msgspec.json.decode(self._order.record.read_bytes(), type=Sent)


@contextlib.asynccontextmanager
async def load_process(order: Order) -> AsyncIterator[LoadProcess]:
    """The process, once it is ready to send; it ends with the block, or with the drill, however that ends."""
    argv = (sys.executable, "-m", "benchmarks.load", msgspec.json.encode(order).decode())
    process = await asyncio.create_subprocess_exec(
        *child_command(argv, stop_signal=signal.SIGKILL), cwd=REPOSITORY, stdin=PIPE, stdout=PIPE,
        start_new_session=True,
    )  # fmt: skip
    try:
        load = LoadProcess(order, process)
        await load.expect("ready")
        yield load
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await process.wait()
