"""One run over every target: what was asked, what was answered, and what must not be."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

from fuzz.client import hammer
from fuzz.documents import explore
from fuzz.targets import Target, running_targets

MAX_GROWTH = 48 * 2**20
"""Bytes by which a service may grow after it was warm: what is held at one time differs from moment to moment."""
_WARM, _DOCUMENT = 0.2, 0.25
"""Shares of the time of a target."""


def run(seed: int, seconds: float) -> list[str]:
    """Sends for `seconds` in all, and prints a line for each target; returns what is wrong."""
    found: list[str] = []
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder, running_targets(Path(folder)) as targets:
        for target in targets:
            found += _tried(target, seed, seconds / len(targets))
    return found


def _tried(target: Target, seed: int, seconds: float) -> list[str]:
    started = time.monotonic()
    address = f"http://127.0.0.1:{target.port}"
    warm = asyncio.run(hammer(target.port, target.mode, seed, seconds=_WARM * seconds))
    explored = explore(address, target.document, target.headers, seed, seconds=_DOCUMENT * seconds)
    before = target.resident_bytes()
    left = max(seconds - (time.monotonic() - started), 1.0)
    hammered = asyncio.run(hammer(target.port, target.mode, seed, seconds=left, first=warm.count + 10))
    found = [*warm.faults, *explored.faults, *hammered.faults, *state(target, address, before)]
    statuses = Counter(warm.statuses) + explored.statuses + hammered.statuses
    told = ", ".join(f"{status} {count:,}" for status, count in sorted(statuses.items()))
    growth = (
        f"{before / 2**20:.0f} to {target.resident_bytes() / 2**20:.0f} MiB"
        if target.process.poll() is None
        else "gone"
    )
    print(
        f"{target.name}: {statuses.total():,} requests in {time.monotonic() - started:.0f} s ({told}); {growth}",
        flush=True,
    )
    return [f"{target.name}: {fault}" for fault in found]


def state(target: Target, address: str, before: int) -> list[str]:
    """What is wrong with the process itself, which had `before` bytes when it was warm."""
    if target.process.poll() is not None:
        return [f"it ended with {target.process.poll()}: {target.log.read_text(errors='replace')[-2000:]}"]
    found = []
    with urllib.request.urlopen(f"{address}/livez", timeout=30) as answer:
        if answer.status != 200:
            found.append(f"/livez answers {answer.status}")
    if (grown := target.resident_bytes() - before) > MAX_GROWTH:
        found.append(f"it grew by {grown / 2**20:.0f} MiB")
    log = target.log.read_text(errors="replace")
    found += [f"its log holds a secret that begins with {secret[:4]}" for secret in target.secrets if secret in log]
    return found + [f"its log: {_shortened(line)}" for line in log.split("\n")[:-1] if _is_unexpected(line)][:5]


def _is_unexpected(line: str) -> bool:
    if not line.startswith("{"):
        return bool(line.strip())
    return json.loads(line).get("level") in ("error", "critical")


def _shortened(line: str) -> str:
    """The beginning, which says when and where, and the end, which says what."""
    return line if len(line) <= 2000 else f"{line[:400]} … {line[-1600:]}"
