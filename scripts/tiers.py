"""Runs the tiers of checks in order and prints what each took: `make test`.

    python scripts/tiers.py [TIER …]

A tier that fails does not keep the next ones from running; the exit code is 1 if any failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Tier:
    commands: tuple[tuple[str, ...], ...]
    budget_minutes: float
    """What it may take on two cores; printed beside what it took."""


def _pytest(tier: str, *options: str) -> tuple[str, ...]:
    return ("coverage", "run", "-m", "pytest", f"tests/{tier}", "-q", "--durations=5", *options)


# These tests mostly wait for servers, so one process more than there are cores. Each takes whole files, and so sets up
# once what their tests share.
_SIDE_BY_SIDE = ("-n", "3", "--dist=loadfile")


TIERS = {
    "check": Tier(
        (
            ("ruff", "format", "--check", "."),
            ("ruff", "check", "."),
            ("mypy",),
            ("lint-imports",),
            ("python", "scripts/generate.py", "--check"),
            ("python", "-m", "eventpipeline_operator.generate", "--check"),
        ),
        budget_minutes=1,
    ),
    "unit": Tier((_pytest("unit"),), budget_minutes=2),
    "integration": Tier((_pytest("integration", *_SIDE_BY_SIDE),), budget_minutes=7),
    "e2e": Tier(
        (
            # The files with the longest tests have few, and would come last if those with most tests came first.
            _pytest("e2e", "-m", "not node", *_SIDE_BY_SIDE, "--no-loadscope-reorder"),
            _pytest("e2e", "-m", "node"),
        ),
        budget_minutes=20,
    ),
    "faults": Tier((_pytest("faults"),), budget_minutes=5),
    "fuzz": Tier((_pytest("fuzz"),), budget_minutes=1),
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(TIERS)
    if unknown:
        print(f"there is no tier {', '.join(unknown)}; there are {', '.join(TIERS)}", file=sys.stderr)
        return 2
    results = [(name, *_run(name, TIERS[name])) for name in names or TIERS]
    if {"unit", "integration", "e2e", "faults", "fuzz"} & {name for name, *_ in results}:
        _print_coverage()
    print()
    for name, passed, seconds in results:
        state = "passed" if passed else "FAILED"
        print(f"{name:12} {state:7} {seconds / 60:5.1f} min of {TIERS[name].budget_minutes:g}", flush=True)
    failed = sum(not passed for _, passed, _ in results)
    print(f"tiers: {len(results) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _run(name: str, tier: Tier) -> tuple[bool, float]:
    print(f"\n=== {name} ===", flush=True)
    started = time.monotonic()
    passed = True
    for command in tier.commands:
        print("$", *command, flush=True)
        passed &= subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, check=False).returncode == 0
    return passed, time.monotonic() - started


def _print_coverage() -> None:
    environment = {**os.environ, "COLUMNS": "120"}
    subprocess.run([BIN / "coverage", "combine", "--quiet"], cwd=ROOT, check=False)
    subprocess.run([BIN / "coverage", "report", "--skip-covered"], cwd=ROOT, check=False, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
