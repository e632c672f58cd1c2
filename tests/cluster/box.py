"""The box in which the node lives: a process, mount and network namespace of its own.

The first process of a process namespace takes all others with it when it ends, and the kernel drops the mounts and
the network with the last of them. So ending one process takes down everything, whatever state it is in; and a command
that is killed half way leaves nothing that `end` does not find, since a box is known by its first process's arguments.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cluster.errors import ClusterError
from cluster.layout import CGROUP, HOST_ADDRESS, HOST_LINK, NODE_ADDRESS, NODE_LINK, POD_RANGE, SERVICE_RANGE, Layout

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_FIXED_PLACES = ("/var/lib/cni", "/var/lib/kubelet")
"""Folders that the parts write to, whatever they are told; empty on the machine, if it does not use them itself."""


@dataclass(frozen=True)
class Box:
    pid: int
    """Of its first process, as the machine sees it."""

    def command(self, *command: str | Path, network: bool = True) -> list[str]:
        """`command`, to be run inside."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--pid", *(["--net"] if network else [])]
        return [*enter, "--", *map(str, command)]

    def run(self, *command: str | Path) -> str:
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ClusterError(f"{' '.join(map(str, command))} failed: {(done.stderr or done.stdout).strip()}")
        return done.stdout

    def start(self, command: Sequence[str], log: Path) -> None:
        """Start a program inside that goes on when this one ends; what it prints goes to `log`."""
        # The shell ends at once, and the program becomes a child of the first process of the box, which reaps it.
        script = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 &'
        self.run("sh", "-c", script, "sh", log, *command)

    def processes(self) -> list[int]:
        """All that run inside, pods included, as the machine sees them."""
        children: dict[int, list[int]] = {}
        for pid in _pids():
            children.setdefault(_parent(pid), []).append(pid)
        found, todo = [], [self.pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def processes_of(self, program: Path) -> list[int]:
        """Those that were started as `program`."""
        return [pid for pid in self.processes() if _argv(pid)[:1] == [str(program)]]

    def memory_bytes(self) -> int:
        """Proportional set size of all that runs inside."""
        return sum(_proportional_bytes(pid) for pid in self.processes())


def find(layout: Layout) -> Box | None:
    """The box that was made from this layout, if it is there."""
    arguments = [str(layout.parts.parent), str(layout.run)]
    for pid in _pids():
        argv = _argv(pid)
        if (
            len(argv) == 2
            and argv[0].startswith(arguments[0])
            and argv[0].endswith("/pause")
            and argv[1] == arguments[1]
        ):
            return Box(pid)
    return None


def make(layout: Layout) -> Box:
    """A new box, with a network that ends at this machine, and its cgroup."""
    init = [str(layout.parts / "pause"), str(layout.run)]
    command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--", *init]
    with (layout.logs / "box.log").open("ab") as log:
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    box = _wait_until_made(layout)
    _mount(box)
    _connect(box)
    for folder in _cgroup_folders():
        _make_cgroup(folder)
    return box


def end(layout: Layout) -> None:
    """End whatever is in the box, and drop what the kernel does not drop by itself. Does nothing where nothing is."""
    box = find(layout)
    if box:
        with contextlib.suppress(ProcessLookupError):
            os.kill(box.pid, signal.SIGKILL)
    _wait(
        lambda: find(layout) is None,
        30,
        f"a process of the box does not end: see `ps -ef` around pid {box and box.pid}",
    )
    _wait(
        lambda: not Path(f"/sys/class/net/{HOST_LINK}").exists(),
        10,
        f"the network link {HOST_LINK} does not go away; a node of another cache folder may have it: run "
        "`python -m cluster down` with the XDG_CACHE_HOME that it was started with",
    )
    for folder in _cgroup_folders():
        _remove_cgroup(folder)
    for place in _FIXED_PLACES:
        with contextlib.suppress(OSError):  # not empty: the machine's own
            Path(place).rmdir()
    if any(line.split()[1].startswith(f"{layout.run}/") for line in Path("/proc/self/mounts").read_text().splitlines()):
        raise ClusterError(f"there are mounts under {layout.run} that are not the harness's; it is left alone")
    shutil.rmtree(layout.run, ignore_errors=True)


def _wait_until_made(layout: Layout) -> Box:
    _wait(lambda: find(layout) is not None, 10, f"the box does not start: see {layout.logs}/box.log")
    box = find(layout)
    if box is None:
        raise ClusterError(f"the box ended at once: see {layout.logs}/box.log")
    return box


def _mount(box: Box) -> None:
    # Shared inside the box, which the kubelet's volumes need; private towards the machine, since unshare made it so.
    box.run("mount", "--make-rshared", "/")
    # What the parts keep in fixed places, such as sockets and locks, is the box's own and goes with it.
    for place in ("/run", "/var/log", *_FIXED_PLACES):
        Path(place).mkdir(parents=True, exist_ok=True)
        box.run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", place)


def _connect(box: Box) -> None:
    """A link from the machine to the node. There is no default route inside: nothing leaves the machine."""
    _ip("link", "add", HOST_LINK, "type", "veth", "peer", "name", NODE_LINK, "netns", str(box.pid))
    _ip("address", "add", f"{HOST_ADDRESS}/30", "dev", HOST_LINK)
    _ip("link", "set", HOST_LINK, "up")
    box.run("ip", "address", "add", f"{NODE_ADDRESS}/30", "dev", NODE_LINK)
    box.run("ip", "link", "set", NODE_LINK, "up")
    box.run("ip", "link", "set", "lo", "up")
    # kube-proxy rewrites what the node sends to a Service, but there must be a route for it first.
    box.run("ip", "route", "add", SERVICE_RANGE, "dev", NODE_LINK, "src", NODE_ADDRESS)
    box.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    for reachable in (SERVICE_RANGE, POD_RANGE):
        _ip("route", "add", reachable, "via", NODE_ADDRESS, "dev", HOST_LINK)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ClusterError(f"ip {' '.join(arguments)} failed: {done.stderr.strip()}")


def _cgroup_folders() -> list[Path]:
    """Our cgroup in every hierarchy that is mounted: one with cgroup v2, one for each controller with v1."""
    if (_CGROUPS / "cgroup.controllers").exists():
        return [_CGROUPS / CGROUP]
    return [hierarchy / CGROUP for hierarchy in sorted(_CGROUPS.iterdir()) if (hierarchy / "cgroup.procs").exists()]


def _make_cgroup(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new cpuset of v1, which then takes no process
        if (folder / name).exists() and (folder.parent / name).exists():
            (folder / name).write_text((folder.parent / name).read_text())
    controllers = folder.parent / "cgroup.controllers"
    if controllers.exists():
        enabled = " ".join(f"+{name}" for name in controllers.read_text().split())
        for parent in (folder.parent, folder):
            (parent / "cgroup.subtree_control").write_text(enabled)


def _remove_cgroup(folder: Path) -> None:
    def is_removed() -> bool:
        for child, _, _ in os.walk(folder, topdown=False):
            with contextlib.suppress(OSError):
                Path(child).rmdir()
        return not folder.exists()

    _wait(is_removed, 10, f"the cgroup {folder} cannot be removed")


def _wait(condition: Callable[[], bool], seconds: float, otherwise: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(otherwise)
        time.sleep(0.02)


def _pids() -> list[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]


def _argv(pid: int) -> list[str]:
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    return []


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int((_PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[1])
    return 0


def _proportional_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        for line in (_PROC / str(pid) / "smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
