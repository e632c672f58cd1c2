"""How long `eventpipeline up` takes until it is ready: the first time, and on data that is there.

    make bench NAME=startup
    .venv/bin/python -m benchmarks.startup --rounds 5 --events 1000000

The command itself is run, as a person would. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import httpx2

from benchmarks import machine
from benchmarks.connection import Connection, post
from benchmarks.lag import look
from benchmarks.ports import free_offset
from eventpipeline.cli.output import console, print_table
from eventpipeline.local.probe import http_status
from eventpipeline.local.program import child_command, python
from eventpipeline.publisher import pregenerate

_GOALS = {"first start": 4.0, "on existing data": 2.0}
"""Seconds until everything is ready."""
_GATEWAY, _REPORTER = 3000, 3003
_BATCH = 25_000
_POLL_SECONDS = 0.01
_LIMIT_SECONDS = 120.0


class StartupFailed(Exception):  # noqa: N818 - reads as what happened
    """The pipeline did not get ready, or not empty; the message says which."""


class _Up:
    """`eventpipeline up` as a child of this process."""

    def __init__(self, data: Path, offset: int) -> None:
        self._data, self._offset = data, offset
        self._process: Process | None = None

    async def start(self) -> float:
        """Seconds from the start of the command until gateway and reporter are ready."""
        started = time.monotonic()
        argv = (*python("-m", "eventpipeline", "up"), "--data-dir", str(self._data), "--port-offset", str(self._offset))
        self._process = await asyncio.create_subprocess_exec(
            *child_command(argv, stop_signal=signal.SIGINT), stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        for port in (_GATEWAY, _REPORTER):
            while await http_status(port + self._offset, "/readyz") != 200:
                if self._process.returncode is not None or time.monotonic() - started > _LIMIT_SECONDS:
                    raise StartupFailed(f"the pipeline in {self._data} does not get ready; its logs are there")
                await asyncio.sleep(_POLL_SECONDS)
        return time.monotonic() - started

    async def fill(self, events: int) -> None:
        """Sends so many events and waits until all are stored."""
        connection = await Connection.open(url := f"http://127.0.0.1:{_GATEWAY + self._offset}")
        for batch in pregenerate(1, -(-events // _BATCH), _BATCH):
            answer = await connection.send(post(url, batch.body))
            if answer.status != 202:
                raise StartupFailed(f"the gateway answered {answer.status}")
        connection.close()
        async with httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{_REPORTER + self._offset}", trust_env=False
        ) as client:
            while not ((sample := await look(client)) and sample.is_drained):
                await asyncio.sleep(0.2)

    async def stop(self) -> float:
        """Seconds until everything has ended."""
        assert self._process
        started = time.monotonic()
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        await self._process.communicate()
        return time.monotonic() - started


async def _measure(folder: Path, rounds: int, events: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {"first start": [], "on existing data": [], "stop": []}
    for round_ in range(rounds):
        run = _Up(folder / "first", free_offset())
        seconds["first start"].append(await _started(run))
        await run.stop()
        shutil.rmtree(folder / "first")
        kept = _Up(folder / "kept", free_offset())
        if round_ == 0:
            await _started(kept)
            await kept.fill(events)
            await kept.stop()
        seconds["on existing data"].append(await _started(kept))
        seconds["stop"].append(await kept.stop())
    return seconds


async def _started(run: _Up) -> float:
    try:
        return await run.start()
    except BaseException:
        await run.stop()
        raise


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where the medians are within the goals, 1 where not, 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.startup", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=500_000, help="that are there on the second start")
    wanted = parser.parse_args(arguments)
    conditions = {**vars(wanted), "load_average_at_start": machine.load_average()}
    with tempfile.TemporaryDirectory(prefix="eventpipeline-startup-", dir="/var/tmp") as folder:
        try:
            seconds = asyncio.run(_measure(Path(folder), wanted.rounds, wanted.events))
        except StartupFailed as error:
            print(f"startup: {error}", file=sys.stderr)
            return 2
    rows = [(name, f"{median(many):.2f}", f"{max(many):.2f}", _goal(name)) for name, many in seconds.items()]
    print_table("Startup, seconds until ready", ("", "median", "worst", "goal"), rows)
    late = [name for name, goal in _GOALS.items() if median(seconds[name]) > goal]
    for name in late:
        console.print(f"FAILED: {name} takes longer than its goal", style="bold red", markup=False)
    measured: dict[str, Any] = {name: [round(one, 3) for one in many] for name, many in seconds.items()}
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": conditions}
    print(json.dumps({"benchmark": "startup", "ok": not late, **about, "seconds": measured}), flush=True)
    return 1 if late else 0


def _goal(name: str) -> str:
    return f"{_GOALS[name]:g}" if name in _GOALS else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
