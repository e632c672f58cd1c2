"""The worst load of the public publisher while NATS is slow: how much memory each service takes at most.

    python -m full.pressure [--seconds 600]

Eight senders post bodies of 50,000 events, each as fast as it is answered. What goes to Postgres arrives a quarter of a
second later. Of each minute NATS stands still for ten seconds, is so slow for twenty that nothing gets through in time,
and takes 25 MB a second in the rest. The last line is one JSON object;
the exit code is 1 where a gateway takes 512 MiB or more, an answer is neither 202 nor a 503 with Retry-After, a service
ends, or the reports do not have what was answered 202.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from eventpipeline.publisher.batch import Batch
from eventpipeline.publisher.generator import pregenerate
from faults.proxy import Mode
from faults.rig import NATS, POSTGRES, Rig, Shape, rig
from faults.watch import Watch

_MIB = 2**20
_MOST_GATEWAY_MIB = 512
_SENDERS, _BODIES, _EVENTS = 8, 6, 50_000
_SECONDS_TO_POSTGRES = 0.25
"""By which everything arrives later."""
_STANDSTILL = 10.0
_SLOW = ((20.0, 1.0), (30.0, 0.01))
"""After it NATS is slow: for how many seconds, and by how many of them each 256 KiB arrive later."""
_MOST_SECONDS_TO_RECOVER = 120.0


@dataclass
class Load:
    """What was posted, and what was answered."""

    answers: Counter[str] = field(default_factory=Counter)
    taken: set[int] = field(default_factory=set)
    """The bodies that were answered 202, by index: the same are sent again and again, and count once."""

    async def send(self, url: str, bodies: list[Batch], number: int, until: float) -> None:
        headers = {"content-type": "application/json"}
        async with httpx2.AsyncClient(timeout=60.0, trust_env=False) as client:
            while time.monotonic() < until:
                number = (number + 1) % len(bodies)
                try:
                    answer = await client.post(f"{url}/webhook/events", content=bodies[number].body, headers=headers)
                except httpx2.TransportError as error:
                    self.answers[type(error).__name__] += 1
                    continue
                word = " with Retry-After" if "retry-after" in answer.headers else ""
                self.answers[f"{answer.status_code}{word}"] += 1
                if answer.status_code == 202:
                    self.taken.add(number)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m full.pressure", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long the load lasts")
    seconds = parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="pressure-", ignore_cleanup_errors=True) as folder:
        found, failures = asyncio.run(_press(Path(folder), seconds))
    print(*(f"FAILED: {failure}" for failure in failures), sep="\n")
    print(json.dumps(found), flush=True)
    return 1 if failures else 0


async def _press(folder: Path, seconds: float) -> tuple[dict[str, object], list[str]]:
    bodies, load = pregenerate(1, _BODIES, _EVENTS), Load()
    shape = Shape(gateways=1, collectors=1, nats_storage="2Gi", volumes=False)
    async with rig(folder, shape) as pipeline, httpx2.AsyncClient(trust_env=False, timeout=60.0) as client:
        # Not through the proxy, which loses the answer to a body that was not read to its end.
        url = f"http://127.0.0.1:{pipeline.ports['gateway-0']}"
        pids = pipeline.supervisor.pids()
        _slow_down(pipeline, POSTGRES, _SECONDS_TO_POSTGRES)
        until = time.monotonic() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(_SENDERS):
                group.create_task(load.send(url, bodies, number, until))
            group.create_task(_slow_nats(pipeline, until))
            group.create_task(_read_reports(pipeline, client, until))
        _slow_down(pipeline, POSTGRES, 0.0)
        _slow_down(pipeline, NATS, 0.0)
        began = time.monotonic()
        await load.send(url, bodies[:1], 0, began + 0.1)
        drained = await Watch(pipeline, client).until_drained(began, _MOST_SECONDS_TO_RECOVER)
        total = (await client.get(f"{pipeline.reporter_url}/reports/events")).json()["total"]
        peaks = {name: round(_peak(pid) / _MIB) for name, pid in pipeline.supervisor.pids().items()}
        ended = sorted(name for name, pid in pipeline.supervisor.pids().items() if pids.get(name) != pid)
    accepted = sum(bodies[number].facts.valid for number in load.taken)
    found = {
        "seconds": seconds,
        "answers": dict(load.answers),
        "events": total,
        "drained_seconds": drained,
        "peak_mib": peaks,
    }
    return found, _failures(load, accepted, total, drained, peaks["gateway-0"], ended)


def _failures(
    load: Load, accepted: int, total: int, drained: float | None, gateway: int, ended: list[str]
) -> list[str]:
    failures = [f"{name} has ended" for name in ended]
    if gateway >= _MOST_GATEWAY_MIB:
        failures.append(f"the gateway took {gateway} MiB")
    if not set(load.answers) <= {"202", "503 with Retry-After"}:
        failures.append(f"answers {dict(load.answers)}")
    if drained is None:
        failures.append("not everything was stored in the end")
    if not accepted <= total <= _BODIES * _EVENTS:
        failures.append(f"{total:,} events are reported; {accepted:,} of {_BODIES * _EVENTS:,} were answered 202")
    return failures


def _slow_down(pipeline: Rig, server: str, seconds: float) -> None:
    for name, proxy in pipeline.proxies.items():
        if name.endswith(f"-{server}"):
            proxy.delay = seconds
            proxy.set(Mode.LATENCY if seconds else Mode.OPEN)


async def _slow_nats(pipeline: Rig, until: float) -> None:
    while time.monotonic() < until:
        pipeline.send(NATS, signal.SIGSTOP)
        try:
            await asyncio.sleep(_STANDSTILL)
        finally:
            pipeline.send(NATS, signal.SIGCONT)
        for seconds, delay in _SLOW:
            _slow_down(pipeline, NATS, delay)
            await asyncio.sleep(max(0.0, min(seconds, until - time.monotonic())))


async def _read_reports(pipeline: Rig, client: httpx2.AsyncClient, until: float) -> None:
    while time.monotonic() < until:
        for path in ("/reports/events?interval=minute", "/reports/revenue", "/reports/demographics", "/status"):
            await client.get(f"{pipeline.reporter_url}{path}")
        await asyncio.sleep(1.0)


def _peak(pid: int) -> int:
    """The most bytes that a process had resident."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024


if __name__ == "__main__":
    sys.exit(main())
