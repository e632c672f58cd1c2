"""The short run: a pipeline under faults, each kind alone, and every event is counted exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SECONDS = "70"


def test_every_event_is_counted_exactly_once_under_faults() -> None:
    seed = os.environ.get("FAULTS_SEED", "1")
    done = subprocess.run(
        (sys.executable, "-m", "faults", "--seed", seed, "--seconds", SECONDS),
        env=os.environ | {"PYTHONPATH": str(TESTS)}, capture_output=True, text=True, timeout=420,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["accepted"] > 50_000
    assert found["faults"] >= 5
    assert {name: found[name] for name in ("lost", "doubled", "invented", "unexplained")} == {
        "lost": 0, "doubled": 0, "invented": 0, "unexplained": 0,
    }  # fmt: skip
