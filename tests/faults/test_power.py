"""What was answered 202 survives a power cut; and the test would notice if it did not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a file system that loses power")


def after_power_cut(*arguments: str) -> dict[str, int]:
    """What the oracle finds."""
    done = subprocess.run(
        (sys.executable, "-m", "faults.power", *arguments),
        env=os.environ | {"PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_what_was_answered_202_survives() -> None:
    found = after_power_cut()
    assert found["accepted"] > 0
    assert {name: found[name] for name in ("lost", "doubled", "invented", "unexplained")} == {
        "lost": 0, "doubled": 0, "invented": 0, "unexplained": 0,
    }  # fmt: skip


def test_the_default_of_nats_would_not() -> None:
    assert after_power_cut("--sync-interval", "2m")["lost"] > 0
