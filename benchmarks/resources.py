"""What processes cost: CPU time and memory, read from /proc. Linux only.

CPU time is utime + stime of a process. For a tree (Postgres: a postmaster and a process a connection) it is that of the
root, of what it has collected of children that ended (cutime + cstime), and of those that live.

Peak memory is VmHWM, set back at the start where the kernel lets us. The processes of a tree share memory, so of a tree
it is the greatest sum of their PSS that was seen, in which what n processes share counts as 1/n in each.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

PSS_EVERY_SECONDS = 20.0
"""To add up what the processes of a tree share, the kernel walks over all their pages: it costs some 30 ms here."""
_TICK = os.sysconf("SC_CLK_TCK")
_KIB = 1024
_MIB = 1024 * 1024
_GONE = (FileNotFoundError, ProcessLookupError, PermissionError)


def own_ticks(stat: str) -> int:
    """utime + stime of /proc/PID/stat."""
    utime, stime, *_ = _times(stat)
    return utime + stime


def collected_ticks(stat: str) -> int:
    """cutime + cstime of /proc/PID/stat."""
    _, _, cutime, cstime = _times(stat)
    return cutime + cstime


def _times(stat: str) -> tuple[int, int, int, int]:
    # The second field is a name in brackets that may hold anything; utime is the fourteenth.
    fields = stat.rpartition(")")[2].split()
    utime, stime, cutime, cstime = map(int, fields[11:15])
    return utime, stime, cutime, cstime


_OWN = ("checkpointer", "background writer", "walwriter", "autovacuum launcher", "autovacuum worker", "io worker",
        "logical replication launcher", "startup", "archiver", "parallel worker")  # fmt: skip


def kind_of(title: str) -> str:
    """What a process of Postgres is there for, from its title: `postgres: checkpointer`, `postgres: user db host`."""
    if not title.startswith("postgres: "):
        return "postmaster"
    told = title.removeprefix("postgres: ")
    return next((kind for kind in _OWN if told.startswith(kind)), "connections")


def kib_of(status: str, name: str) -> int:
    """A line such as `VmHWM:  1234 kB` of a file of /proc; 0 where there is none."""
    line = next((line for line in status.splitlines() if line.startswith(f"{name}:")), f"{name}: 0 kB")
    return int(line.split()[1])


def busy_seconds() -> float:
    """CPU time of the whole machine since it started, idle and waiting for disks left out; stolen time counts."""
    with open("/proc/stat") as file:  # noqa: PTH123
        user, nice, system, _idle, _iowait, irq, softirq, steal, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq + steal) / _TICK


class Meter:
    """Adds up what named processes cost from `start` to the last `sample`.

    A program that ended and was started again keeps its name: what both cost is added, up to the last sample of each.
    """

    def __init__(self, pids: Callable[[], Mapping[str, int]], trees: Iterable[str] = ()) -> None:
        self._pids = pids
        self._trees = frozenset(trees)
        self._first: dict[tuple[str, int], int] = {}
        self._last: dict[tuple[str, int], int] = {}
        self._peak: dict[str, int] = {}
        self._part_first: dict[tuple[str, str, int], int] = {}
        self._part_last: dict[tuple[str, str, int], int] = {}
        self._busy_first = self._busy_last = 0.0
        self._pss_due = 0.0

    def start(self) -> None:
        for name, pid in self._pids().items():
            _set_peak_back(pid)
            self._first[name, pid] = self._ticks(name, pid) or 0
            if name in self._trees:
                self._part_first |= self._parts(name, pid)
        self._busy_first = busy_seconds()
        self.sample()

    def sample(self) -> None:
        pss = time.monotonic() >= self._pss_due
        if pss:
            self._pss_due = time.monotonic() + PSS_EVERY_SECONDS
        for name, pid in self._pids().items():
            ticks = self._ticks(name, pid)
            if ticks is not None:
                self._last[name, pid] = ticks
            if name not in self._trees:
                self._saw(name, _high_water(pid))
                continue
            self._part_last |= self._parts(name, pid)
            if pss:
                self._saw(name, _pss(_tree(pid)))
        self._busy_last = busy_seconds()

    def cpu_seconds(self) -> dict[str, float]:
        """By process name."""
        seconds: dict[str, float] = {}
        for (name, pid), last in self._last.items():
            seconds[name] = seconds.get(name, 0.0) + (last - self._first.get((name, pid), 0)) / _TICK
        return seconds

    def part_cpu_seconds(self, tree: str) -> dict[str, float]:
        """The CPU time of the processes of a tree by what they are there for, up to the last sample of each."""
        seconds: dict[str, float] = {}
        for key, last in self._part_last.items():
            name, kind, _ = key
            if name == tree:
                seconds[kind] = seconds.get(kind, 0.0) + (last - self._part_first.get(key, 0)) / _TICK
        return seconds

    def other_cpu_seconds(self) -> float:
        """What all else on the machine took meanwhile, the kernel's own threads among it."""
        return max(0.0, self._busy_last - self._busy_first - sum(self.cpu_seconds().values()))

    def peak_memory_mb(self) -> dict[str, float]:
        """By process name, in MiB."""
        return {name: peak * _KIB / _MIB for name, peak in self._peak.items()}

    def _saw(self, name: str, kib: int) -> None:
        self._peak[name] = max(self._peak.get(name, 0), kib)

    def _parts(self, name: str, root: int) -> dict[tuple[str, str, int], int]:
        found: dict[tuple[str, str, int], int] = {}
        for pid in _tree(root):
            with contextlib.suppress(*_GONE):
                title = _read(pid, "cmdline").replace("\0", " ").strip()
                found[name, kind_of(title), pid] = own_ticks(_read(pid, "stat"))
        return found

    def _ticks(self, name: str, pid: int) -> int | None:
        try:
            if name in self._trees:
                return _tree_ticks(pid)
            return own_ticks(_read(pid, "stat"))
        except _GONE:
            return None


def _tree_ticks(root: int) -> int:
    while True:
        pids = _tree(root)
        stat = _read(root, "stat")
        ticks = own_ticks(stat) + collected_ticks(stat)
        with contextlib.suppress(*_GONE):
            ticks += sum(own_ticks(_read(pid, "stat")) for pid in pids if pid != root)
            # A child that ended meanwhile would be counted twice, or not at all.
            if _tree(root) == pids and collected_ticks(_read(root, "stat")) == collected_ticks(stat):
                return ticks


def _tree(root: int) -> list[int]:
    """The root and its children; Postgres has no grandchildren."""
    with contextlib.suppress(*_GONE):
        return [root, *map(int, _read(root, f"task/{root}/children").split())]
    return [root]


def memory_mb(pid: int, *, tree: bool = False) -> float:
    """What a process has in memory now (RSS), or a tree of processes together (PSS), in MiB; 0 where it is gone."""
    if tree:
        return _pss(_tree(pid)) * _KIB / _MIB
    with contextlib.suppress(*_GONE):
        return kib_of(_read(pid, "status"), "VmRSS") * _KIB / _MIB
    return 0.0


def _high_water(pid: int) -> int:
    with contextlib.suppress(*_GONE):
        return kib_of(_read(pid, "status"), "VmHWM")
    return 0


def _pss(pids: Iterable[int]) -> int:
    total = 0
    for pid in pids:
        with contextlib.suppress(*_GONE):
            total += kib_of(_read(pid, "smaps_rollup"), "Pss")
    return total


def _set_peak_back(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def _read(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()
