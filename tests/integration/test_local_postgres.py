"""A Postgres that somebody else has asked to stop and that never does: the supervisor ends it, and it comes back."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil
import psycopg
import pytest

from collecting import eventually
from eventpipeline.local import postgres
from eventpipeline.local.supervisor import Event, Supervisor
from servers import free_port

_WITHIN = 60.0


def server(supervisor: Supervisor, folder: Path) -> psutil.Process:
    """The postmaster, which may be a child of the program that was started."""
    (pid,) = supervisor.pids().values()
    lines = (folder / "data" / "postmaster.pid").read_text().splitlines()
    found = psutil.Process(pid)
    return next((one for one in found.children() if one.name() == "postgres" and one.pid == int(lines[0])), found)


def child(parent: psutil.Process, title: str) -> psutil.Process:
    return next(one for one in parent.children() if title in " ".join(one.cmdline()))


@pytest.mark.parametrize("how", ["its checkpointer hangs", "it recovers from a killed backend"])
async def test_one_that_never_stops_is_started_anew(tmp_path: Path, how: str) -> None:
    told: list[Event] = []
    cluster, port = postgres.open_cluster(tmp_path / "postgres"), free_port()
    cluster.initialise()
    supervisor = Supervisor(told.append, grace_seconds=2)

    def answers() -> bool:
        with contextlib.suppress(psycopg.Error), psycopg.connect(cluster.url(port), connect_timeout=2) as connection:
            return connection.execute("SELECT count(*) FROM kept").fetchone() == (100_000,)
        return False

    try:
        supervisor.start(cluster.server(port=port, log=tmp_path / "postgres.log"))
        await supervisor.ready("postgres")
        opened = psycopg.connect(cluster.url(port), autocommit=True)
        opened.execute("CREATE TABLE kept AS SELECT generate_series(1, 100000) AS number")
        running = server(supervisor, tmp_path / "postgres")
        if how == "its checkpointer hangs":
            child(running, "checkpointer").suspend()
        else:
            psutil.Process(opened.info.backend_pid).kill()
            recovering = "reinitializing"
            await eventually(lambda: recovering in (tmp_path / "postgres.log").read_text(), "a recovery")
        running.send_signal(signal.SIGINT)
        began = time.monotonic()
        await eventually(lambda: len([one for one in told if one.kind == "ready"]) == 2, "a new start", _WITHIN)
        await eventually(answers, "what was stored", _WITHIN)
        print(f"{how}: answers again after {time.monotonic() - began:.1f} s")
        opened.close()
    finally:
        await supervisor.stop("postgres")


async def test_one_that_stops_as_it_should_is_not_said_to_be_stuck(tmp_path: Path) -> None:
    told: list[Event] = []
    cluster, port = postgres.open_cluster(tmp_path / "postgres"), free_port()
    cluster.initialise()
    supervisor = Supervisor(told.append, grace_seconds=10)
    try:
        supervisor.start(cluster.server(port=port, log=tmp_path / "postgres.log"))
        await supervisor.ready("postgres")
        server(supervisor, tmp_path / "postgres").send_signal(signal.SIGINT)
        await eventually(lambda: len([one for one in told if one.kind == "ready"]) == 2, "a new start", _WITHIN)
    finally:
        await supervisor.stop("postgres")
    assert not [event for event in told if event.kind == "note"]
