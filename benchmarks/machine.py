"""What a measurement was made on, and with."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from eventpipeline import __version__
from eventpipeline.local import binaries
from eventpipeline.local.nats import find_server

_KIB, _GIB = 1024, 1024**3
REPOSITORY = Path(__file__).parents[1]


def machine() -> dict[str, object]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "cpu_model": _cpu_model(),
        "memory_gb": round(_memory("MemTotal") / _GIB, 1),
        "kernel": platform.release(),
    }


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "nats_server": _version(find_server(), "--version"),
        "postgres": _version(binaries.find() / "postgres", "--version"),
        "eventpipeline": __version__,
        "git_commit": _commit(),
    }


def load_average() -> float:
    """Of the last minute: before a run it is other people's load."""
    return round(os.getloadavg()[0], 2)


def available_memory() -> int:
    """Bytes that can be had without swapping."""
    return _memory("MemAvailable")


def file_system(folder: Path) -> str:
    """The type of the file system in which `folder` is, such as ext4; tmpfs is no disk."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    above = [(Path(point), kind) for point, kind in mounts if folder.resolve().is_relative_to(point)]
    return max(above, key=lambda mount: len(mount[0].parts))[1]


def _memory(name: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines[name].split()[0]) * _KIB


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.machine())


def _version(program: Path, flag: str) -> str:
    return _output([str(program), flag]).split()[-1]


def _commit() -> str:
    commit = _output(["git", "-C", str(REPOSITORY), "rev-parse", "--short=12", "HEAD"])
    changed = _output(["git", "-C", str(REPOSITORY), "status", "--porcelain", "--untracked-files=no"])
    return f"{commit or 'unknown'}{' with changes' if changed else ''}"


def _output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""
