"""Small file systems for the servers, which can be filled, and of which one can ask what a power cut would leave.

Each is an ext4 in a sparse file, mounted through a loop device. `fsync` costs what it costs on the disk below. The
mounts belong to a mount namespace of this process (see `in_own_namespace`) and end with it, however it ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_MARK = "FAULTS_OWN_NAMESPACE"
_NOT_FLUSHED_BY_ITSELF = "commit=600"
"""ext4 writes its journal every 5 s otherwise, so that a power cut would take less than it may."""
_FILES = 8192
"""How many it can hold; room for more would be written when it is made."""


def in_own_namespace() -> bool:
    """Whether mounts of this process are seen by no other, and end with it."""
    return os.environ.get(_MARK) == "1"


def enter_own_namespace() -> None:
    """Starts this program anew in a mount namespace of its own, where it may: root only."""
    if in_own_namespace() or os.geteuid() != 0 or shutil.which("unshare") is None:
        return
    command = ["unshare", "--mount", "--propagation", "private", *sys.orig_argv]
    os.execvpe(command[0], command, os.environ | {_MARK: "1"})


@dataclass(frozen=True)
class Volume:
    """A file system of its own at `path`."""

    path: Path
    image: Path

    @classmethod
    def make(cls, path: Path, size_bytes: int) -> Volume:
        """Makes it and mounts it. Raises CalledProcessError where that is not possible."""
        image = path.with_name(path.name + ".img")
        with image.open("wb") as file:
            file.truncate(size_bytes)
        _run("mkfs.ext4", "-q", "-m", "0", "-E", "nodiscard", "-N", str(_FILES), str(image))
        return cls(path, image)._mount()

    def _mount(self) -> Volume:
        self.path.mkdir(parents=True, exist_ok=True)
        _run("mount", "-o", f"loop,{_NOT_FLUSHED_BY_ITSELF}", str(self.image), str(self.path))
        return self

    def unmount(self) -> None:
        _run("umount", "--lazy", str(self.path))

    @property
    def free_bytes(self) -> int:
        state = os.statvfs(self.path)
        return state.f_bavail * state.f_frsize

    def fill(self, *, leave: int = 0) -> None:
        """A foreign file takes all the space but `leave` bytes."""
        block = os.statvfs(self.path).f_frsize
        with self._foreign.open("ab") as file:
            size = file.tell()
            while (room := self.free_bytes - leave) >= block:
                step = max(block, room // 2 // block * block)
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                except OSError:
                    if step == block:
                        return
                    continue
                size += step

    def free(self) -> None:
        """The foreign file is gone."""
        self._foreign.unlink(missing_ok=True)

    @property
    def _foreign(self) -> Path:
        return self.path / "foreign"

    def lose_power(self) -> Volume:
        """The volume as a power cut would leave it: what was flushed to its disk, and nothing that was not.

        Its image is copied as the loop device has written it; what the kernel still keeps in memory for the file
        system is not in there. Nobody may write meanwhile, so end the programs that do first.
        """
        image = self.image.with_name(self.image.name + ".after")
        _run("cp", "--sparse=always", str(self.image), str(image))
        self.unmount()
        return Volume(self.path, image)._mount()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
