"""The drill: the true load and the ceiling against a pipeline on this machine, with what each costs, and verified.

    make bench NAME=drill                       on two cores it takes about five minutes
    .venv/bin/python -m benchmarks.drill --true-seconds 5 --ceiling-seconds 3

See README.md beside this file for how to read it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks import machine
from benchmarks.client import LoadFailed
from benchmarks.load import Order, fits_in_memory
from benchmarks.load import Plan as LoadPlan
from benchmarks.phase import DrillFailed, measure
from benchmarks.ports import free_offset
from benchmarks.report import Phase, document, failures, rows
from eventpipeline import resource
from eventpipeline.cli.output import console, print_table
from eventpipeline.local import Event, LocalError, Options, Running, up
from eventpipeline.publisher import ObserveError

_TRUE_RATE = 25_500
"""Events a second of the true load, on average."""
_DISK_BYTES_AN_EVENT = 2_100
"""A row and its indexes, its share of the WAL, and a copy in the stream."""
_DISK_BYTES_SPARE = 2 * 10**9


@dataclass(frozen=True)
class Asked:
    """What the drill is asked to do."""

    true_seconds: float
    ceiling_seconds: float
    rate: int
    seed: int
    drain_limit: float
    folder: Path

    @property
    def events(self) -> float:
        return self.true_seconds * _TRUE_RATE + self.ceiling_seconds * self.rate

    @property
    def disk_bytes(self) -> int:
        """What it will write, generously."""
        ceiling = LoadPlan.of(self.rate, self.ceiling_seconds)
        bodies = 0 if fits_in_memory(ceiling) else ceiling.body_bytes
        return int(self.events * _DISK_BYTES_AN_EVENT) + bodies + _DISK_BYTES_SPARE


def asked(arguments: Sequence[str]) -> Asked:
    """From the arguments, and for those that are not given from the environment, such as DRILL_TRUE_SECONDS."""
    parser = argparse.ArgumentParser(prog="benchmarks.drill", description=(__doc__ or "").splitlines()[0])
    for name, kind, default, text in (
        ("--true-seconds", float, 120, "how long the true load goes on; 0 leaves it out"),
        ("--ceiling-seconds", float, 60, "how long the ceiling is held; 0 leaves it out"),
        ("--rate", int, 50_000, "events a second of the ceiling"),
        ("--seed", int, 1, "of the loads"),
        ("--drain-limit", float, 60, "seconds after the last answer by which all must be stored"),
        ("--folder", Path, Path("/var/tmp"), "where the temporary data goes; must be a real disk"),
    ):
        variable = "DRILL_" + name.removeprefix("--").replace("-", "_").upper()
        given = os.environ.get(variable, str(default))
        parser.add_argument(name, type=kind, default=given, help=f"{text} ({variable}, {default})")
    options = parser.parse_args(arguments)
    if options.rate < 1 or max(options.true_seconds, options.ceiling_seconds) <= 0:
        parser.error("there is nothing to measure")
    return Asked(**vars(options))


@dataclass
class _Drill:
    asked: Asked
    folder: Path
    phases: dict[str, Phase] = field(default_factory=dict)
    disk_mb: dict[str, dict[str, float]] = field(default_factory=dict)
    deaths: list[str] = field(default_factory=list)
    done: bool = False

    def run(self) -> None:
        """Each load meets a pipeline of its own, with nothing stored yet, so that their order does not matter."""
        for name, order in self._orders():
            _tell(f"{name}: starting a pipeline")
            data = self.folder / name

            async def work(run: Running, name: str = name, order: Order = order, data: Path = data) -> None:
                self.phases[name] = await measure(
                    name,
                    run,
                    msgspec.structs.replace(order, url=run.gateway_url),
                    drain_limit=self.asked.drain_limit,
                    deaths=self.deaths,
                    tell=_tell,
                )
                self.disk_mb[name] = {server: _disk_mb(data / server) for server in ("nats", "postgres")}

            asyncio.run(up(resource.minimal(), Options(data, port_offset=free_offset()), self.on_event, work))
            if name not in self.phases:
                return  # interrupted
            shutil.rmtree(data)
        self.done = True

    def _orders(self) -> Iterator[tuple[str, Order]]:
        for name, seconds, rate in (
            ("true", self.asked.true_seconds, None),
            ("ceiling", self.asked.ceiling_seconds, self.asked.rate),
        ):
            if seconds > 0:
                yield name, Order("", seconds, self.asked.seed, str(self.folder), rate)

    def on_event(self, event: Event) -> None:
        if event.kind == "died":
            self.deaths.append(str(event))
        if event.kind in ("died", "note"):
            _tell(str(event))


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where the bar is met, 1 where it is not, 2 where nothing could be measured, 130 after Ctrl-C."""
    wanted = asked(arguments)
    free = shutil.disk_usage(wanted.folder).free
    if free < wanted.disk_bytes:
        return _cannot(
            f"{wanted.folder} has {free / 1e9:.1f} GB free and {wanted.disk_bytes / 1e9:.1f} GB are needed; "
            "choose another --folder, or fewer seconds"
        )
    about = _about(wanted)
    with tempfile.TemporaryDirectory(
        prefix="eventpipeline-drill-", dir=wanted.folder, ignore_cleanup_errors=True
    ) as at:
        drill = _Drill(wanted, Path(at))
        try:
            drill.run()
        except (LocalError, ObserveError, DrillFailed, LoadFailed) as error:
            return _cannot(str(error))
        except KeyboardInterrupt:
            pass
    if not drill.done:
        print("drill: interrupted; nothing is left behind", file=sys.stderr)
        return 130
    return _conclude(drill, about)


def _conclude(drill: _Drill, about: dict[str, Any]) -> int:
    phases = drill.phases
    titles = {"true": "true load", "ceiling": f"{drill.asked.rate:,} events/s"}
    console.print()
    print_table("Drill", ("", *(titles[name] for name in phases)), rows(phases))
    for name, phase in phases.items():
        console.print(f"{titles[name]}: {phase.verdict}", markup=False)
        for difference in phase.differences:
            console.print(f"  {difference}", markup=False)
    failed = failures(phases)
    for failure in failed:
        console.print(f"FAILED: {failure}", style="bold red", markup=False)
    if not failed:
        console.print("The bar is met: no post refused, the lag bounded, nothing lost or doubled.", style="bold green")
    print(json.dumps(document(phases, about | {"disk_mb": drill.disk_mb})), flush=True)
    return 1 if failed else 0


def _about(wanted: Asked) -> dict[str, Any]:
    return {
        "machine": machine.machine(),
        "versions": machine.versions(),
        "conditions": {
            "started_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "true_seconds": wanted.true_seconds,
            "ceiling_seconds": wanted.ceiling_seconds,
            "rate": wanted.rate,
            "seed": wanted.seed,
            "drain_limit_seconds": wanted.drain_limit,
            "load_average_at_start": machine.load_average(),
            "file_system": machine.file_system(wanted.folder),
        },
    }


def _disk_mb(folder: Path) -> float:
    """What it takes on the disk; files with holes count without them."""
    blocks = 0
    for path in folder.rglob("*"):
        try:
            blocks += path.lstat().st_blocks
        except FileNotFoundError:  # the servers still run
            continue
    return round(blocks * 512 / 1e6, 1)


def _tell(line: str) -> None:
    console.print(line, style="dim", markup=False)


def _cannot(reason: str) -> int:
    print(f"drill: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
