"""The certificates for external servers, from the Secrets that the resource names to files for OpenSSL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from eventpipeline import certificates

Files = Mapping[str, str]
"""Contents by the names that `eventpipeline.certificates` gives them."""


NO_FILES: Files = {}


def write(files: Files) -> TemporaryDirectory[str]:
    """A folder with `files`, which only this user can read."""
    made = TemporaryDirectory(prefix="eventpipeline-tls-")
    for name, content in files.items():
        Path(made.name, name).write_text(content)
    return made


def fault(files: Files) -> str | None:
    """What is wrong with `files`, or None. Never quotes them."""
    with write(files) as place:
        return certificates.fault(place)
