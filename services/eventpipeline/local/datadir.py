"""The folder in which a pipeline on this machine keeps everything.

lock                    held while the pipeline runs; names the pid of the holder
run.json                what runs now, and where; there only while it does
nats/  postgres/        what the servers keep
logs/NAME.log           what each program printed; NAME.log.1 is the one before
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil
from pydantic import BaseModel, ConfigDict, ValidationError

from eventpipeline.local.errors import DataDirError

LOG_BYTES = 32 * 2**20
"""Above it a log starts anew; a program's logs take at most about twice that."""


class Child(BaseModel):
    """A process. A pid alone may be somebody else's by now; with `created` it is certain whose it is."""

    model_config = ConfigDict(frozen=True)

    name: str
    pid: int
    created: float
    """Seconds since 1970, as psutil's `create_time`."""

    @classmethod
    def of(cls, name: str, pid: int) -> Self | None:
        """The process that has this pid now."""
        with contextlib.suppress(psutil.NoSuchProcess):
            return cls(name=name, pid=pid, created=psutil.Process(pid).create_time())
        return None

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        with contextlib.suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            # A tolerance, because the clock may have been set a little meanwhile.
            if abs(process.create_time() - self.created) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return process
        return None


class Run(BaseModel):
    """What runs from a data dir: for `status`, `report`, and whoever starts after a crash."""

    model_config = ConfigDict(frozen=True)

    pipeline: str
    pid: int
    """Of the runner, the parent of `children`."""
    created: float
    ready: bool
    ports: dict[str, int]
    gateway_url: str
    reporter_url: str
    nats_url: str
    database_url: str
    nats_tls_dir: str | None = None
    database_tls_dir: str | None = None
    children: tuple[Child, ...] = ()


class DataDir:
    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.nats = self.root / "nats"
        self.postgres = self.root / "postgres"
        self.logs = self.root / "logs"
        self._lock = self.root / "lock"
        self._run = self.root / "run.json"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder if need be and hold it. Raises DataDirError where another process does, naming its pid."""
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.logs.mkdir(exist_ok=True)
            descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirError(
                f"{self.root} cannot be written ({error.strerror}: {error.filename}); give another --data-dir, "
                f"or run as the user who made it"
            ) from error
        with os.fdopen(descriptor, "r+") as lock:
            try:
                # The kernel lets go of it when this process ends, however it ends; no child inherits it.
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = lock.read().strip() or "not known yet"
                raise DataDirError(
                    f"{self.root} is in use by another pipeline (pid {holder}); stop it, or give another --data-dir"
                ) from None
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            yield

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def write_run(self, run: Run) -> None:
        unfinished = self._run.with_suffix(".new")
        with open(unfinished, "w", opener=private) as file:
            file.write(run.model_dump_json(indent=2))
        unfinished.replace(self._run)

    def read_run(self) -> Run | None:
        """What runs, or ran when the runner was killed; None after a clean stop."""
        try:
            return Run.model_validate_json(self._run.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def live_run(self) -> Run | None:
        """What runs now; None where nothing does, after a crash too."""
        run = self.read_run()
        return run if run and Child(name="runner", pid=run.pid, created=run.created).find() else None

    def clear_run(self) -> None:
        self._run.unlink(missing_ok=True)

    def nats_bytes(self) -> int:
        """What the nats-server keeps there already."""
        return sum(path.stat().st_size for path in self.nats.rglob("*") if path.is_file())


def rotate(log: Path) -> None:
    """Keep one earlier log; called when nobody writes to it."""
    if log.exists():
        log.replace(_previous(log))


def cap(log: Path, most: int = LOG_BYTES) -> None:
    """Start a log anew that has grown too long while a program writes to it, in append mode."""
    if log.exists() and log.stat().st_size > most:
        # A rename would not do: the program goes on writing to the file it has open. What it writes in between is lost.
        with contextlib.suppress(OSError):  # a full disk, of all things, must not keep it from being cut
            shutil.copyfile(log, _previous(log))
        os.truncate(log, 0)


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log, for the message that says why a program did not start."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def _previous(log: Path) -> Path:
    return log.with_name(log.name + ".1")


def private(path: str, flags: int) -> int:
    """An opener of files that only their owner reads."""
    return os.open(path, flags, mode=0o600)
