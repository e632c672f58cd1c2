"""`up` with real servers and stub services, as a process of its own that is then treated badly."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from eventpipeline.local.datadir import DataDir, Run
from servers import free_offset, wait_for

STUB = Path(__file__).parents[1] / "local_stub.py"
NOBODY = 65534
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    # Only so that it can read an interpreter that is installed below /root.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"),
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="what root does differently")


class Up:
    """One `up`, and what it printed."""

    def __init__(
        self, data_dir: Path, output: Path, *arguments: str, offset: int, prefix: tuple[str, ...] = ()
    ) -> None:
        self.data = DataDir(data_dir)
        self.offset = offset
        self._output = output
        with output.open("w") as file:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(STUB), "up", str(data_dir), str(offset), *arguments],
                stdout=file,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    @property
    def run(self) -> Run:
        run = self.data.read_run()
        assert run, self.output
        return run

    @property
    def pids(self) -> dict[str, int]:
        return {child.name: child.pid for child in self.run.children}

    def until(self, line: str, count: int = 1) -> None:
        def printed() -> bool:
            assert self.process.poll() is None, self.output
            return sum(one.startswith(line) for one in self.lines) >= count

        wait_for(printed, what=lambda: f"{line!r} in:\n{self.output}")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        assert self.process.wait(30) == 0, self.output


@contextlib.contextmanager
def started(
    data_dir: Path, *arguments: str, offset: int | None = None, prefix: tuple[str, ...] = (), line: str = "up"
) -> Iterator[Up]:
    """`up` once it printed `line`; whatever is left of it is killed at the end."""
    output = data_dir.with_name(f"{data_dir.name}.out")
    up = Up(data_dir, output, *arguments, offset=offset or free_offset(), prefix=prefix)
    try:
        up.until(line)
        yield up
    finally:
        family = _family(up.process.pid)
        up.process.kill()
        up.process.wait()
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, timeout=10)


def _family(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def is_gone(process: psutil.Process) -> bool:
    # Nobody may be there to collect an orphan in a container; a zombie runs no more.
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def write_row(up: Up) -> None:
    with psycopg.connect(up.run.database_url) as connection:
        connection.execute("create table kept (value int)")
        connection.execute("insert into kept values (42)")


def read_rows(up: Up) -> list[tuple[int]]:
    with psycopg.connect(up.run.database_url) as connection:
        return connection.execute("select value from kept").fetchall()


def test_data_survives_a_restart(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        write_row(up)
        up.stop()
        assert up.data.read_run() is None

    with started(tmp_path / "data") as up:
        assert read_rows(up) == [(42,)]


def test_it_stops_in_the_order_of_the_data(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        up.stop(signal.SIGINT)

        stopped = [line for line in up.lines if " stopped (" in line]
    assert all(line.endswith("exit code 0") for line in stopped), up.output
    names = [line.split()[0] for line in stopped]
    assert names[0] == "gateway"
    assert set(names[1:3]) == {"facebook-collector", "tiktok-collector"}
    assert names[3:] == ["reporter", "nats", "postgres"]


def test_a_second_ctrl_c_ends_it_at_once(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        family = _family(up.process.pid)
        os.kill(up.pids["gateway"], signal.SIGSTOP)  # so that it does not finish by itself
        up.process.send_signal(signal.SIGINT)
        up.until("gateway stopping")
        with contextlib.suppress(subprocess.TimeoutExpired):
            up.process.wait(0.7)  # what comes sooner is taken for the first one, passed on

        up.process.send_signal(signal.SIGINT)

        assert up.process.wait(2) == 0
        assert all(is_gone(process) for process in family)


def test_ctrl_c_while_it_starts(tmp_path: Path) -> None:
    with started(tmp_path / "data", line="nats started") as up:
        family = _family(up.process.pid)

        up.stop(signal.SIGINT)

        assert all(is_gone(process) for process in family)
    with started(tmp_path / "data") as up:
        write_row(up)


def test_a_second_up_of_the_same_data_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        second = subprocess.run(
            [sys.executable, STUB, "up", tmp_path / "data", str(free_offset())], capture_output=True, text=True
        )

        assert second.returncode == 1
        assert f"in use by another pipeline (pid {up.process.pid})" in second.stderr
        assert set(up.pids) >= {"nats", "postgres", "gateway"}


def test_a_taken_port_is_named_with_who_has_it(tmp_path: Path) -> None:
    offset = free_offset()
    with socket.create_server(("127.0.0.1", 3000 + offset)), socket.create_server(("127.0.0.1", 5432 + offset)):
        refused = subprocess.run(
            [sys.executable, STUB, "up", tmp_path / "data", str(offset)], capture_output=True, text=True
        )

    assert refused.returncode == 1
    mine = f"taken by {psutil.Process().name()} (pid {os.getpid()})"
    assert "--port-offset" in refused.stderr
    assert f"{3000 + offset} for gateway: {mine}" in refused.stderr
    assert f"{5432 + offset} for postgres: {mine}" in refused.stderr
    assert not (tmp_path / "data" / "postgres" / "data").exists()


@pytest.mark.parametrize("line", ["up", "postgres started"])
def test_no_child_outlives_a_parent_that_is_killed(tmp_path: Path, line: str) -> None:
    with started(tmp_path / "data", line=line) as up:
        family = _family(up.process.pid)
        assert len(family) >= 2

        up.process.kill()
        up.process.wait()

        wait_for(lambda: all(is_gone(process) for process in family), what=lambda: str(family), seconds=5)


def test_it_starts_right_after_it_was_killed(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        write_row(up)
        up.process.kill()
        up.process.wait()
        assert up.data.read_run() is not None
        assert up.data.live_run() is None

        with started(tmp_path / "data", offset=up.offset) as again:
            assert again.data.live_run() == again.run
            assert read_rows(again) == [(42,)]


@pytest.mark.parametrize("name", ["gateway", "nats"])
def test_a_child_that_is_killed_comes_back(tmp_path: Path, name: str) -> None:
    with started(tmp_path / "data") as up:
        first = up.pids[name]

        os.kill(first, signal.SIGKILL)
        up.until(f"{name} ready", count=2)

        assert up.pids[name] != first
        assert f"{name} died (pid {first}): killed by SIGKILL; starting again in 0.2 s" in up.lines
        up.stop()


def test_a_postgres_that_is_killed_comes_back_with_its_data(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        write_row(up)
        busy = psycopg.connect(up.run.database_url)
        backend = psutil.Process(busy.info.backend_pid)
        # Left alone it would go on for hours, and keep another server from starting.
        busy.pgconn.send_query(b"select count(*) from generate_series(1, 1000000000000)")
        try:
            os.kill(up.pids["postgres"], signal.SIGKILL)
            up.until("postgres ready", count=2)
        finally:
            busy.close()
            with contextlib.suppress(psutil.NoSuchProcess):
                backend.kill()

        assert len([line for line in up.lines if line.startswith("postgres died")]) == 1
        assert read_rows(up) == [(42,)]
        up.stop()


def test_a_pid_file_whose_pid_another_program_has_by_now_does_not_keep_postgres_from_starting(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        write_row(up)
        data = up.data.postgres / "data"
        as_written = (data / "postmaster.pid").read_text().splitlines()
        up.stop()
    long_ago = [str(os.getpid()), as_written[1], "1000000000", *as_written[3:]]
    (data / "postmaster.pid").write_text("\n".join(long_ago) + "\n")

    with started(tmp_path / "data") as up:
        assert "postgres died" not in up.output
        assert read_rows(up) == [(42,)]


@needs_root
def test_an_ordinary_user_runs_it(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    with started(home / "data", prefix=AS_NOBODY) as up:
        assert psutil.Process(up.pids["postgres"]).uids().real == NOBODY
        write_row(up)
        assert read_rows(up) == [(42,)]
        family = _family(up.process.pid)

        up.process.kill()
        up.process.wait()

        wait_for(lambda: all(is_gone(process) for process in family), what=lambda: str(family), seconds=5)


@needs_root
def test_root_without_namespaces_runs_postgres_as_nobody_where_nobody_cannot_look(tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    with started(hidden / "data", "nobody") as up:
        postgres = psutil.Process(up.pids["postgres"])
        assert postgres.uids().real == NOBODY
        assert postgres.exe().startswith("/var/tmp/eventpipeline-postgres-")
        write_row(up)
        family = _family(up.process.pid)
        up.process.kill()
        up.process.wait()
        wait_for(lambda: all(is_gone(process) for process in family), what=lambda: str(family), seconds=5)

    with started(hidden / "data", "namespace") as up:
        assert read_rows(up) == [(42,)]
        up.stop()
    with started(hidden / "data", "nobody") as up:
        assert read_rows(up) == [(42,)]


def test_the_folders_above_keep_their_permissions(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    (above / "data").mkdir()
    for folder, mode in ((above, 0o711), (above / "data", 0o750)):
        folder.chmod(mode)
    states = [(path, path.stat().st_mode, path.stat().st_uid) for path in (tmp_path, above, above / "data")]

    with started(above / "data", "nobody") as up:
        up.stop()

    assert [(path, path.stat().st_mode, path.stat().st_uid) for path, _, _ in states] == states


def test_what_holds_a_password_is_read_by_its_owner_only(tmp_path: Path) -> None:
    with started(tmp_path / "data") as up:
        for path in (up.data.postgres / "password", up.data.root / "run.json"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert up.data.root.stat().st_mode & 0o077 == 0
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(up.run.database_url.replace("postgres:", "postgres:not-"))


def test_data_of_another_postgres_is_refused(tmp_path: Path) -> None:
    data = tmp_path / "data" / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("17\n")

    refused = subprocess.run(
        [sys.executable, STUB, "up", tmp_path / "data", str(free_offset())], capture_output=True, text=True
    )

    assert refused.returncode == 1
    assert "was written by Postgres 17, and this is Postgres 18" in refused.stderr


def test_a_start_that_was_killed_while_it_made_the_database_begins_anew(tmp_path: Path) -> None:
    unfinished = tmp_path / "data" / "postgres" / "data.new"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")

    with started(tmp_path / "data") as up:
        write_row(up)
        assert not unfinished.exists()
