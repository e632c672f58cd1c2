"""Memory and disk of a pipeline that runs for long: do they stand still?

    make bench NAME=soak                        an hour
    SOAK_SECONDS=120 make bench NAME=soak

A steady load goes through a stream so small that the trimmer has work from the first minutes on. See README.md beside
this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.ports import free_offset
from benchmarks.resources import memory_mb
from eventpipeline.cli.output import console, print_table
from eventpipeline.local import Event, Options, Running, up
from eventpipeline.publisher import Ledger, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.spec import EventPipeline

_GOALS_MB = {"gateway": 256, "facebook-collector": 128, "tiktok-collector": 128, "reporter": 128}
_FLAT_MB_AN_HOUR = 10.0
_LEAST_SECONDS = 1800.0
"""Of a shorter run the slope says nothing: caches and pools are still filling."""
_STREAM = "1Gi"
_RETENTION_SECONDS = 60
_SHOWN = 8
Series = dict[str, list[tuple[float, float]]]


@dataclass
class Soak:
    """What was seen. Series of (seconds since the start, MB)."""

    seconds: float
    series: Series = field(default_factory=dict)
    ledger: Ledger | None = None
    deaths: list[str] = field(default_factory=list)

    def saw(self, at: float, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.series.setdefault(name, []).append((at, value))

    def slope(self, name: str) -> float:
        """MB an hour, by least squares over the second half."""
        late = [point for point in self.series[name] if point[0] >= self.seconds / 2]
        if len(late) < 2:
            return 0.0
        middle = sum(at for at, _ in late) / len(late)
        spread = sum((at - middle) ** 2 for at, _ in late)
        return 3600 * sum((at - middle) * value for at, value in late) / spread

    def failures(self) -> list[str]:
        failed = list(self.deaths)
        for name, goal in _GOALS_MB.items():
            if (most := max(value for _, value in self.series[name])) > goal:
                failed.append(f"{name} reached {most:.0f} MB, its goal is {goal}")
            if self.seconds >= _LEAST_SECONDS and self.slope(name) > _FLAT_MB_AN_HOUR:
                failed.append(f"{name} grows by {self.slope(name):.0f} MB an hour")
        totals = self.ledger.totals() if self.ledger else None
        if totals and totals.accepted != totals.sent:
            failed.append("not every event was accepted")
        return failed


async def _sample(run: Running, data: Path, soak: Soak, every: float) -> None:
    started = time.monotonic()
    while True:
        memory = {name: memory_mb(pid, tree=name == "postgres") for name, pid in run.pids().items()}
        disk = {f"{server} on disk": _disk_mb(data / server) for server in ("nats", "postgres")}
        soak.saw(time.monotonic() - started, memory | disk)
        await asyncio.sleep(every)


def _disk_mb(folder: Path) -> float:
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(at) / name).stat().st_blocks * 512
            except OSError:
                continue
    return total / 2**20


def _pipeline() -> EventPipeline:
    document = {
        "apiVersion": "eventpipeline.dev/v1alpha1",
        "kind": "EventPipeline",
        "metadata": {"name": "soak"},
        "spec": {"stream": {"nats": {"storage": _STREAM}, "retentionSeconds": _RETENTION_SECONDS}},
    }
    return EventPipeline.model_validate(document)


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where memory stands still within its goals, 1 where not."""
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=(__doc__ or "").splitlines()[0])
    seconds = float(os.environ.get("SOAK_SECONDS", "3600"))
    parser.add_argument("--seconds", type=float, default=seconds, help="(SOAK_SECONDS)")
    parser.add_argument("--rate", type=int, default=5_000, help="events a second, in one POST each")
    wanted = parser.parse_args(arguments)
    conditions = {**vars(wanted), "stream": _STREAM, "load_average_at_start": machine.load_average()}
    soak = Soak(wanted.seconds)

    def on_event(event: Event) -> None:
        if event.kind == "died":
            soak.deaths.append(str(event))

    with tempfile.TemporaryDirectory(prefix="eventpipeline-soak-", dir="/var/tmp") as folder:
        data = Path(folder)

        async def work(run: Running) -> None:
            sampling = asyncio.create_task(_sample(run, data, soak, max(1.0, wanted.seconds / 360)))
            load = Load(seconds=wanted.seconds, batch=(wanted.rate, wanted.rate), corrupt=0.0)
            soak.ledger = await publish(run.gateway_url, load)
            sampling.cancel()

        asyncio.run(up(_pipeline(), Options(data, port_offset=free_offset()), on_event, work))
    return _conclude(soak, conditions)


def _conclude(soak: Soak, conditions: Mapping[str, Any]) -> int:
    times = [at for at, _ in next(iter(soak.series.values()))]
    shown = [round(index * (len(times) - 1) / (_SHOWN - 1)) for index in range(_SHOWN)]
    head = ("MB", *(f"{times[index] / 60:.0f} min" for index in shown), "an hour")
    rows = [
        (name, *(f"{points[min(index, len(points) - 1)][1]:.0f}" for index in shown), f"{soak.slope(name):+.0f}")
        for name, points in soak.series.items()
    ]
    print_table("Soak: memory and disk", head, rows)
    assert soak.ledger
    totals = soak.ledger.totals()
    console.print(f"{totals.accepted:,} events accepted in {totals.requests:,} requests", markup=False)
    failed = soak.failures()
    for failure in failed:
        console.print(f"FAILED: {failure}", style="bold red", markup=False)
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": dict(conditions)}
    series = {name: [(round(at), round(value, 1)) for at, value in points] for name, points in soak.series.items()}
    slopes = {name: round(soak.slope(name), 1) for name in soak.series}
    document = {"benchmark": "soak", "ok": not failed, **about, "accepted": totals.accepted,
                "mb_an_hour": slopes, "series_mb": series}  # fmt: skip
    print(json.dumps(document), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
