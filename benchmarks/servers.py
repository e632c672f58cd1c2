"""A Postgres and a reporter of their own for a benchmark, started as `eventpipeline up` starts them."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from benchmarks.ports import free_port
from eventpipeline.local import postgres
from eventpipeline.settings import ReporterSettings


@dataclass(frozen=True)
class Server:
    """A process that listens: its URL and its pid."""

    url: str
    pid: int


_START_SECONDS = 60.0
_NO_STREAM = "nats://127.0.0.1:9"


@contextmanager
def postgres_server(folder: Path) -> Iterator[Server]:
    """A new Postgres in `folder`; yields it. Raises StartFailed, or TimeoutError where it does not come up."""
    cluster = postgres.open_cluster(folder / "postgres")
    cluster.initialise()
    port = free_port()
    program = cluster.server(port=port, log=folder / "postgres.log")
    program.prepare()
    with program.log.open("ab") as log:
        process = subprocess.Popen(
            program.command(), env=program.environ(), cwd=program.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _wait(lambda: asyncio.run(program.ready(process.pid)), "Postgres")
        yield Server(cluster.url(port), process.pid)
    finally:
        process.send_signal(program.stop_signal)
        process.wait()


@contextmanager
def reporter(database_url: str, folder: Path) -> Iterator[Server]:
    """A reporter over the database, without a stream; yields it. Raises TimeoutError."""
    port = free_port()
    settings = ReporterSettings(
        database_url=database_url, nats_url=_NO_STREAM, sources=("facebook", "tiktok"), host="127.0.0.1", port=port,
        log_level="warning",
    )  # fmt: skip
    with (folder / "reporter.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "eventpipeline", "reporter"],
            env=os.environ | settings.environ(), stdout=log, stderr=log,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _is_ready(address), "the reporter")
        yield Server(address, process.pid)
    finally:
        process.terminate()
        process.wait()


def _is_ready(address: str) -> bool:
    try:
        return httpx2.get(f"{address}/readyz", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} is not ready after {_START_SECONDS:g} s")
        time.sleep(0.05)
