"""The supervisor and the child wrapper with small programs of the shell."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from eventpipeline.local import child
from eventpipeline.local.datadir import tail
from eventpipeline.local.errors import StartFailed
from eventpipeline.local.program import Program, child_command
from eventpipeline.local.supervisor import Event, Supervisor
from servers import wait_for


class Recorder:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def seen(self, kind: str, name: str) -> list[Event]:
        return [event for event in self.events if (event.kind, event.name) == (kind, name)]


def shell(tmp_path: Path, script: str) -> Program:
    return Program("it", ("/bin/sh", "-c", script), tmp_path / "it.log")


async def never(_pid: int) -> bool:
    return False


@contextlib.asynccontextmanager
async def supervised(recorder: Recorder, *programs: Program, grace_seconds: float = 5) -> AsyncIterator[Supervisor]:
    supervisor = Supervisor(recorder, grace_seconds=grace_seconds)
    try:
        for program in programs:
            supervisor.start(program)
        yield supervisor
    finally:
        supervisor.kill()
        await supervisor.stop(*(program.name for program in programs))


async def eventually(condition: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_program_that_is_killed_comes_back(tmp_path: Path) -> None:
    recorder = Recorder()
    async with supervised(recorder, shell(tmp_path, "exec sleep 100")) as supervisor:
        await supervisor.ready("it")
        first = supervisor.pids()["it"]

        os.kill(first, signal.SIGKILL)
        await eventually(lambda: len(recorder.seen("ready", "it")) == 2)

        assert supervisor.pids()["it"] != first
        assert [str(event) for event in recorder.seen("died", "it")] == [
            f"it died (pid {first}): killed by SIGKILL; starting again in 0.2 s"
        ]


async def test_it_waits_longer_each_time(tmp_path: Path) -> None:
    recorder = Recorder()
    async with supervised(recorder, shell(tmp_path, "exit 3")):
        await eventually(lambda: len(recorder.seen("died", "it")) == 3)

    assert [event.detail for event in recorder.seen("died", "it")] == [
        f"exit code 3; starting again in {delay} s" for delay in ("0.2", "0.4", "0.8")
    ]


async def test_after_one_that_was_well_it_waits_as_little_as_at_first(tmp_path: Path) -> None:
    """However often it died before: a server that is killed every half minute answers again at once each time."""
    recorder = Recorder()
    async with supervised(recorder, shell(tmp_path, "exec sleep 100")) as supervisor:
        for times, well_for in enumerate((0.0, 0.0, 3.1), start=1):
            await eventually(lambda times=times: len(recorder.seen("ready", "it")) == times)
            await asyncio.sleep(well_for)
            os.kill(supervisor.pids()["it"], signal.SIGKILL)
            await eventually(lambda times=times: len(recorder.seen("died", "it")) == times)
    assert [event.detail for event in recorder.seen("died", "it")] == [
        f"killed by SIGKILL; starting again in {delay} s" for delay in ("0.2", "0.4", "0.2")
    ]


async def test_a_program_that_never_starts_is_given_up_with_the_end_of_its_log(tmp_path: Path) -> None:
    async with supervised(Recorder(), replace(shell(tmp_path, "echo the reason; exit 3"), ready=never)) as supervisor:
        with pytest.raises(StartFailed, match=r"it does not start \(exit code 3\)[\s\S]*the reason"):
            await supervisor.ready("it")


async def test_a_program_that_cannot_be_run_says_so_in_its_log(tmp_path: Path) -> None:
    program = Program("it", ("/does/not/exist",), tmp_path / "it.log")

    assert await Supervisor().once(program) == 1
    assert "/does/not/exist cannot be run" in tail(program.log)


async def test_a_program_that_says_it_is_stuck_is_started_anew(tmp_path: Path) -> None:
    recorder, stuck = Recorder(), True

    async def is_stuck(_pid: int) -> bool:
        return stuck

    program = replace(shell(tmp_path, "exec sleep 100"), stuck=is_stuck)
    async with supervised(recorder, program):
        await eventually(lambda: len(recorder.seen("ready", "it")) == 2)
        stuck = False
        assert [event.detail for event in recorder.seen("died", "it")] == ["killed by SIGTERM; starting again in 0.2 s"]


async def test_stop_asks_and_waits(tmp_path: Path) -> None:
    recorder = Recorder()
    program = shell(tmp_path, "trap 'sleep 0.3; echo finished; exit 0' TERM; echo on; while :; do sleep 0.05; done")
    async with supervised(recorder, program) as supervisor:
        await eventually(lambda: tail(program.log) == "on")

        await supervisor.stop("it")

        assert "finished" in program.log.read_text()
        assert recorder.events[-1].detail == "exit code 0"
        assert supervisor.pids() == {}


async def test_a_program_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    recorder = Recorder()
    program = shell(tmp_path, "trap '' TERM; echo on; while :; do sleep 0.05; done")
    async with supervised(recorder, program, grace_seconds=0.3) as supervisor:
        await eventually(lambda: tail(program.log) == "on")

        await supervisor.stop("it")

    assert recorder.events[-1].detail == "killed by SIGKILL"


async def test_a_program_is_stopped_while_it_waits_to_start_again(tmp_path: Path) -> None:
    recorder = Recorder()
    async with supervised(recorder, shell(tmp_path, "exit 1")) as supervisor:
        await eventually(lambda: len(recorder.seen("died", "it")) == 3)

        began = time.monotonic()
        await supervisor.stop("it")

        assert time.monotonic() - began < 0.3
        assert len(recorder.seen("started", "it")) == 3


async def test_once_runs_to_the_end(tmp_path: Path) -> None:
    supervisor = Supervisor()

    assert await supervisor.once(shell(tmp_path, "exit 4")) == 4
    assert supervisor.pids() == {}


async def test_ctrl_c_of_a_terminal_does_not_reach_a_program(tmp_path: Path) -> None:
    async with supervised(Recorder(), shell(tmp_path, "exec sleep 100")) as supervisor:
        await supervisor.ready("it")

        assert os.getpgid(supervisor.pids()["it"]) != os.getpgid(0)


def test_a_program_whose_parent_is_not_the_expected_one_does_not_run(tmp_path: Path) -> None:
    command = child_command(("/bin/sh", "-c", f"touch {tmp_path}/ran"), stop_signal=signal.SIGTERM)
    command[command.index(str(os.getpid()))] = "1"

    assert subprocess.run(command).returncode == 113
    assert not (tmp_path / "ran").exists()


_WITHOUT_THE_SIGNAL = f"""
import sys, runpy
sys.platform = "darwin"
sys.argv = ["child.py", *sys.argv[1:]]
runpy.run_path({str(child.__file__)!r}, run_name="__main__")
"""


def monitored(argv: tuple[str, ...]) -> list[str]:
    """The command that runs a program where the kernel has no signal for the death of a parent."""
    *_, script, parent, number, identity = child_command((), stop_signal=signal.SIGTERM)
    assert script == child.__file__
    return [sys.executable, "-c", _WITHOUT_THE_SIGNAL, parent, number, identity, *argv]


def test_without_the_signal_a_monitor_passes_signals_and_the_exit_code_on() -> None:
    assert subprocess.run(monitored(("/bin/sh", "-c", "exit 5"))).returncode == 5

    process = subprocess.Popen(monitored(("/bin/sleep", "100")))
    wait_for(lambda: len(psutil.Process(process.pid).children()) == 1, what=lambda: "no child")
    process.terminate()
    assert process.wait(5) == 128 + signal.SIGTERM


def test_without_the_signal_a_monitor_stops_the_program_when_the_parent_is_killed() -> None:
    script = f"import os,subprocess; c={monitored(('/bin/sleep', '100'))!r}; c[3]=str(os.getpid()); subprocess.run(c)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_for(lambda: len(psutil.Process(parent.pid).children(recursive=True)) == 2, what=lambda: "no program")
        family = psutil.Process(parent.pid).children(recursive=True)
    finally:
        parent.kill()
        parent.wait()

    _gone, alive = psutil.wait_procs(family, timeout=5)
    assert [process for process in alive if process.status() != psutil.STATUS_ZOMBIE] == []
