"""SQL lives in `sql/`, one statement a file, and is read by name."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import LiteralString

_FOLDER = Path(__file__).parent / "sql"


@cache
def statement(name: str) -> LiteralString:
    """The text of `sql/<name>.sql`."""
    # The files are part of the program, as trusted as a literal in it.
    text: LiteralString = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    return text
