"""Real servers for tests: a Postgres and a nats-server, started as `eventpipeline up` starts them, on free ports.

with postgres_server(tmp_path) as url: ...
with nats_server(tmp_path) as url: ...
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from eventpipeline.local import nats, postgres
from eventpipeline.local.program import Program
from eventpipeline.users import PASSWORDS_FILE, passwords_file

_READY_SECONDS = 30.0


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    while True:
        # Below the range from which outgoing connections take theirs; at random, since other tests may run at once.
        port = random.randrange(20000, 32000)
        if is_free(port):
            return port


def free_offset() -> int:
    """A port offset for `eventpipeline up` with which all its ports are free now."""
    while True:
        offset = random.randrange(17000, 23000)
        if all(is_free(port + offset) for port in (*range(3000, 3004), 4222, 5432, 8222)):
            return offset


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@contextmanager
def postgres_server(tmp_path: Path) -> Iterator[str]:
    """A new Postgres in `tmp_path`; yields its URL, of the superuser and the empty database `eventpipeline`."""
    cluster = postgres.open_cluster(tmp_path / "postgres")
    cluster.initialise()
    port = free_port()
    with running_program(cluster.server(port=port, log=tmp_path / "postgres.log")):
        yield cluster.url(port)


@contextmanager
def nats_server(
    tmp_path: Path, *, max_file_bytes: int = 2**30, passwords: Mapping[str, str] | None = None
) -> Iterator[str]:
    """A nats-server with JetStream in `tmp_path`, open or with `passwords` of its users; yields its URL without any."""
    port = free_port()
    program = nats.server(
        tmp_path / "nats",
        port=port,
        monitor_port=free_port(),
        max_file_bytes=max_file_bytes,
        log=tmp_path / "nats.log",
        passwords=passwords or {},
    )
    with running_program(program):
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def nats_of_a_cluster(folder: Path, passwords: Mapping[str, str], name: str = "marketing-nats-0") -> Iterator[str]:
    """A nats-server with the users of the chart; `passwords` of their logins can be changed. Yields its host and port.

    They stand in `nats-passwords.conf` in `folder`, which the server reads again when it is asked to.
    """
    users = Path(__file__).parents[1] / "charts" / "eventpipeline" / "nats-users.conf"
    (folder / users.name).write_text(users.read_text())
    (folder / PASSWORDS_FILE).write_text(passwords_file(passwords))
    port, monitor_port = free_port(), free_port()
    program = nats.server(
        folder / "nats", port=port, monitor_port=monitor_port, max_file_bytes=2**30, log=folder / "nats.log"
    )
    config = folder / "nats" / "nats.conf"
    config.write_text(f'server_name: {name}\n{config.read_text()}\ninclude "../{users.name}"\n')
    with running_program(program):
        yield f"127.0.0.1:{port}"


@contextmanager
def running_program(program: Program) -> Iterator[subprocess.Popen[bytes]]:
    """The program from its readiness on; stopped, and if need be killed, at the end."""
    program.prepare()
    with program.log.open("ab") as log:
        process = subprocess.Popen(
            program.command(), env=program.environ(), cwd=program.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        wait_for(
            lambda: _is_ready(program, process), what=lambda: f"{program.name}:\n{program.log.read_text()[-4000:]}"
        )
        yield process
    finally:
        process.send_signal(program.stop_signal)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """The processes stand still, each thread of them; they go on afterwards."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        # One thread takes the signal and stops the others: on a busy machine these answer for a while yet.
        wait_for(lambda: all(map(_stands_still, pids)), what=lambda: "a process does not stop")
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _stands_still(pid: int) -> bool:
    threads = Path(f"/proc/{pid}/task").glob("*/stat")
    try:
        return all(thread.read_text().rpartition(")")[2].split()[0] == "T" for thread in threads)
    except (FileNotFoundError, ProcessLookupError):  # one that has just ended
        return False


def wait_for(condition: Callable[[], bool], *, what: Callable[[], str], seconds: float = _READY_SECONDS) -> None:
    """Return when the condition holds; raises AssertionError with `what()` when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what()}")
        time.sleep(0.02)


def _is_ready(program: Program, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        raise AssertionError(f"{program.name} ended with {process.returncode}:\n{program.log.read_text()[-4000:]}")
    answers: list[bool] = []
    # In a thread of its own: the test that calls this may have a running event loop in this one.
    thread = threading.Thread(target=lambda: answers.append(asyncio.run(_check(program, process.pid))))
    thread.start()
    thread.join()
    return answers == [True]


async def _check(program: Program, pid: int) -> bool:
    return await program.ready(pid)
