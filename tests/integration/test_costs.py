"""An event must not cost a third more than it did: validation, packing, a small request, and the append."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]

EXPECTED = {"validation": 0.7, "packing": 1.1, "request": 1.85, "append": 1.7}
"""What each costs, to the loop that is measured beside it: the middle of many runs of `python -m costs`."""
_GROWTH = 1 + 1 / 3


@pytest.mark.skipif(sys.platform != "linux", reason="what a process of Postgres costs is read from /proc")
def test_no_cost_has_grown_by_a_third(database: str) -> None:
    # Without the variables of coverage, which would trace it.
    environ = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    command = [sys.executable, "-m", "costs", database]
    done = subprocess.run(
        command, cwd=TESTS, env=environ | {"PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, check=True
    )
    ratios = json.loads(done.stdout)
    assert set(ratios) == set(EXPECTED)
    grown = {name: (ratio, EXPECTED[name]) for name, ratio in ratios.items() if ratio > EXPECTED[name] * _GROWTH}
    assert not grown, f"costs and what they were: {grown}; if it must be so, EXPECTED says why"
