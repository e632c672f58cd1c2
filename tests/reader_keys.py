"""Keys of readers for tests: the settings of a closed reporter, and the files with their hashes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventpipeline.readers import hashed

# Always the same: names of tests are made of them, and each process of a run has to know the same tests.
READ, OPERATE, STRANGE = (f"evp_{name}-{'k0Z' * 13}" for name in ("read", "operate", "strange"))
BEARER = {"read": {"name": "readers", "key": "read"}, "operate": {"name": "readers", "key": "operate"}}


def closed(folder: Path, **authentication: Any) -> dict[str, Any]:
    """The settings of a reporter whose keys are in `folder`: READ, OPERATE, and no other."""
    write(folder, "read", hashed(READ))
    write(folder, "operate", hashed(OPERATE))
    return {"authentication": {"bearer": BEARER, **authentication}, "keys_dir": str(folder)}


def write(folder: Path, name: str, text: str) -> None:
    file = folder / "readers" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def bearing(key: str | None) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}
