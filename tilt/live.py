#!/opt/eventpipeline/venv/bin/python
"""Stands in for the commands `eventpipeline` and `eventpipeline-operator` in the image of `tilt up`.

The root file system of the pods is read-only, so the command runs from a copy of the code below /tmp, where Tilt may
write; it is run anew whenever the file `restart` beside the copy is touched.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterable
from pathlib import Path

MODULES = {"eventpipeline": "eventpipeline", "eventpipeline-operator": "eventpipeline_operator.main"}
CHARTS = Path("/opt/eventpipeline/charts")
_LOOK_SECONDS = 0.2


def main(live: Path) -> int:
    """Runs the command by whose name this was called; returns its exit code."""
    installed = Path(sysconfig.get_path("purelib"))
    copy(live, (installed / "eventpipeline", installed / "eventpipeline_operator", CHARTS))
    command = [sys.executable, "-m", MODULES[Path(sys.argv[0]).name], *sys.argv[1:]]
    environ = os.environ | {"PYTHONPATH": str(live)}
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _frame: stopping.append(received))
    while True:
        before = touched(live)
        with subprocess.Popen(command, env=environ) as process:
            while process.poll() is None and touched(live) == before and not stopping:
                time.sleep(_LOOK_SECONDS)
            ended = process.returncode
            if ended is None:
                process.send_signal(signal.SIGTERM)
            # A second signal, which ends a service at once, is passed on too.
            while process.poll() is None:
                if len(stopping) > 1:
                    process.send_signal(stopping.pop())
                time.sleep(_LOOK_SECONDS)
        if ended is not None or stopping:
            return process.returncode


def copy(live: Path, sources: Iterable[Path]) -> None:
    """The code of the image, where no copy is there yet: a container that starts again finds what Tilt has written."""
    for source in sources:
        if source.is_dir() and not (live / source.name).exists():
            half = live / f"{source.name}.new"
            shutil.rmtree(half, ignore_errors=True)
            shutil.copytree(source, half)
            half.rename(live / source.name)


def touched(live: Path) -> int:
    """When a restart was last asked for, in nanoseconds; 0 if never."""
    try:
        return (live / "restart").stat().st_mtime_ns
    except FileNotFoundError:
        return 0


if __name__ == "__main__":
    sys.exit(main(Path("/tmp/live")))  # noqa: S108 - the one folder of a pod that may be written to
