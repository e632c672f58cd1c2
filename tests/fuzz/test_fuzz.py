"""A short run over everything, always the same; and that a run finds each kind of fault that is planted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fuzz.client import hammer
from fuzz.planted import KINDS
from fuzz.requests import request
from fuzz.run import run, state
from fuzz.targets import Target
from servers import free_port, wait_for

TESTS = Path(__file__).resolve().parents[1]
SECONDS = 9.0


def test_nothing_that_is_sent_breaks_anything() -> None:
    assert run(seed=1, seconds=SECONDS) == []


def test_a_seed_sends_the_same_again() -> None:
    for mode in ("gateway", "reporter"):
        some = [request(mode, 7, number) for number in range(200)]
        unsigned = [(one.method, one.target, one.body) for one in some]
        assert unsigned == [(one.method, one.target, one.body) for one in (request(mode, 7, n) for n in range(200))]
        assert len({one.raw() for one in some}) > 150
        assert unsigned != [(one.method, one.target, one.body) for one in (request(mode, 8, n) for n in range(200))]


@contextmanager
def planted(kind: str, folder: Path) -> Iterator[Target]:
    port, log = free_port(), folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "fuzz.planted", str(port), kind], cwd=TESTS, stdout=out, stderr=out
        )
    try:
        wait_for(lambda: _answers(port), what=lambda: log.read_text())
        yield Target(kind, "reporter", port, process, log, {}, {}, ())
    finally:
        process.kill()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_fault_is_found(kind: str, tmp_path: Path) -> None:
    with planted(kind, tmp_path) as target:
        before = target.resident_bytes()
        result = asyncio.run(hammer(target.port, target.mode, 1, seconds=20, most=200, patience=1))
        faults = [*result.faults, *state(target, f"http://127.0.0.1:{target.port}", before)]
    assert [fault for fault in faults if KINDS[kind] in fault], (result.statuses, faults[:3])


def test_a_secret_in_a_log_is_found(tmp_path: Path) -> None:
    with planted("leak", tmp_path) as target:
        target.log.write_text("evp_secret\nTraceback (most recent call last):\n")
        watched = Target(**{**vars(target), "secrets": ("evp_secret",)})
        found = state(watched, f"http://127.0.0.1:{target.port}", target.resident_bytes())
    assert "its log holds a secret that begins with evp_" in found
    assert [fault for fault in found if "Traceback" in fault]
