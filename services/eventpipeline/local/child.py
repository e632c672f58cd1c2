"""Becomes a program that cannot outlive the process that started it.

    python -I -S child.py PARENT SIGNAL IDENTITY PROGRAM [ARGUMENT ...]

PARENT is the pid that must still be the parent, SIGNAL the number of the signal that the program gets when that process
ends, however it ends. IDENTITY is `-` (nobody else), `namespace` (uid 1000 in a user namespace) or `UID:GID`.
Only the standard library, and little of it: this runs before every start of every program.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER = 0x10000000
_MAPPED_ID = 1000
_PARENT_GONE = 113


def main(arguments: list[str]) -> None:
    parent, death_signal, identity, *program = arguments
    _become(identity)
    if sys.platform == "linux":
        # Last, because the kernel forgets it when credentials change.
        _call("prctl", _PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        # The parent may have ended before it was set; then nobody would ever send the signal.
        if os.getppid() != int(parent):
            sys.exit(_PARENT_GONE)
        os.execvp(program[0], program)  # noqa: S606 - no shell is what is wanted
    sys.exit(_watch(program, int(parent), int(death_signal)))


def _become(identity: str) -> None:
    if identity == "-":
        return
    if identity == "namespace":
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", _CLONE_NEWUSER)
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{_MAPPED_ID} {uid} 1")
        _write("/proc/self/gid_map", f"{_MAPPED_ID} {gid} 1")
        return
    uid, gid = (int(part) for part in identity.split(":"))
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _call(function: str, *arguments: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{function}: {os.strerror(code)}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:  # noqa: PTH123 - pathlib alone would double the time this file takes
        file.write(text)


def _watch(program: list[str], parent: int, death_signal: int) -> int:
    """Where the kernel has no such signal (macOS): stay, look whether the parent is still there, pass signals on.

    This has not been run on a Mac; on Linux a test runs it.
    """
    asked: list[int] = []
    # Before there is a program: a signal in between would end this process alone, and nobody would watch over that.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: asked.append(number))
    process = subprocess.Popen(program)
    while process.poll() is None:
        while asked:
            process.send_signal(asked.pop(0))
        if os.getppid() != parent:
            process.send_signal(death_signal)
            return process.wait()
        time.sleep(0.1)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except OSError as error:
        sys.exit(f"{sys.argv[4]} cannot be run: {error}")
