"""This project's gateway beside gateways of other stacks, one process each, in turns.

    make bench NAME=peers
    .venv/bin/python -m benchmarks.peers --seconds 8 --rounds 3 --only eventpipeline,go

See README.md of the folder above for how to read it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from benchmarks import machine
from benchmarks.peers.measure import Bench, Load, Result
from benchmarks.peers.programs import CannotBuild, Peer, peers
from benchmarks.ports import free_offset
from eventpipeline.cli.output import console, print_table
from eventpipeline.publisher import pregenerate
from eventpipeline.publisher.ledger import Latency

_CONNECTIONS = {25_000: 4}
"""Where eight would hold more bytes of bodies than any of them needs to be busy."""
_BODIES_BYTES = 200_000_000
_WARM_SECONDS = 2.0
Results = Mapping[tuple[str, int], list[Result]]


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 where every request was taken whole, 1 where not, 2 where nothing could be measured."""
    parser = argparse.ArgumentParser(prog="benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=6, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=2, help="of all of them; the medians count")
    parser.add_argument("--sizes", default="1000,25000", help="events of an array")
    parser.add_argument("--only", default="", help="names of peers, separated by commas")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args(arguments)
    sizes = [int(size) for size in wanted.sizes.split(",")]
    try:
        chosen = [peer for peer in peers() if not wanted.only or peer.name in wanted.only.split(",")]
    except CannotBuild as error:
        print(f"peers: {error}", file=sys.stderr)
        return 2
    conditions = {**vars(wanted), "warm_seconds": _WARM_SECONDS, "load_average_at_start": machine.load_average()}
    loads = [_load(size, wanted.seconds, wanted.seed) for size in sizes]
    with tempfile.TemporaryDirectory(prefix="eventpipeline-peers-", dir="/var/tmp") as folder:
        results = uvloop.run(_measure(Path(folder), chosen, loads, wanted.rounds))
    _print(chosen, loads, results)
    about = {"machine": machine.machine(), "versions": _versions(), "conditions": conditions}
    print(json.dumps({"benchmark": "peers", **about, "peers": _document(chosen, loads, results)}), flush=True)
    answers = [status for several in results.values() for result in several for status in result.answers]
    return 0 if set(answers) == {202} else 1


def _load(size: int, seconds: float, seed: int) -> Load:
    count = max(2, min(200, _BODIES_BYTES // (size * 450)))
    bodies = [batch.body for batch in pregenerate(seed, count, size)]
    return Load(size, _CONNECTIONS.get(size, 8), bodies, seconds)


async def _measure(folder: Path, chosen: Sequence[Peer], loads: Sequence[Load], rounds: int) -> Results:
    results: dict[tuple[str, int], list[Result]] = {(peer.name, load.size): [] for peer in chosen for load in loads}
    first = free_offset() + 3000
    bench = Bench(folder, itertools.count(first))
    async with bench.servers():
        for round_, load, peer in itertools.product(range(rounds), loads, chosen):
            result = await bench.measure(peer, load, warm_seconds=_WARM_SECONDS)
            results[peer.name, load.size].append(result)
            line = f"round {round_ + 1}, {load.size:,} events a POST, {peer.name}: {result.events_per_second:,.0f}/s"
            print(line, file=sys.stderr, flush=True)
    return results


def _summary(several: Sequence[Result]) -> dict[str, Any]:
    latency = Latency.of([one for result in several for one in result.latencies])
    return {
        "events_per_second": round(median(result.events_per_second for result in several)),
        "rounds": [round(result.events_per_second) for result in several],
        "cpu_us_per_event": {
            name: round(median(result.cpu_us_per_event(name) for result in several), 2)
            for name in several[0].cpu_seconds
        },
        "answer_p50_ms": round(latency.p50 * 1000, 1),
        "answer_p99_ms": round(latency.p99 * 1000, 1),
        "peak_memory_mb": round(max(result.peak_memory_mb["gateway"] for result in several)),
        "answers": {str(status): sum(result.answers[status] for result in several) for status in several[0].answers},
    }


def _document(chosen: Sequence[Peer], loads: Sequence[Load], results: Results) -> dict[str, Any]:
    return {peer.name: {str(load.size): _summary(results[peer.name, load.size]) for load in loads} for peer in chosen}


def _print(chosen: Sequence[Peer], loads: Sequence[Load], results: Results) -> None:
    for load in loads:
        summaries = {peer.name: _summary(results[peer.name, load.size]) for peer in chosen}
        ours = summaries.get("eventpipeline")
        rows = [
            (
                name,
                f"{one['events_per_second']:,}",
                f"{ours['events_per_second'] / one['events_per_second']:.1f}" if ours else "",
                f"{one['cpu_us_per_event']['gateway']:.1f}",
                f"{one['cpu_us_per_event']['nats']:.1f}",
                f"{one['answer_p50_ms']:,.0f}",
                f"{one['answer_p99_ms']:,.0f}",
                str(one["peak_memory_mb"]),
            )
            for name, one in summaries.items()
        ]
        title = f"{load.size:,} events a POST, {load.connections} connections; CPU in µs an event"
        print_table(title, ("", "events/s", "ours ×", "CPU", "NATS", "p50 ms", "p99 ms", "MB"), rows)
    for peer in chosen:
        console.print(f"{peer.name}: {peer.what}", markup=False)
    each = ", ".join(peer.name for peer in chosen if peer.acknowledges_before_disk)
    if each:
        console.print(f"On a nats-server that acknowledges before it has written to disk: {each}.", markup=False)


def _versions() -> dict[str, str]:
    found = machine.versions()
    for name, command in (("go", ("go", "env", "GOVERSION")), ("node", ("node", "--version"))):
        if shutil.which(name):
            found[name] = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
