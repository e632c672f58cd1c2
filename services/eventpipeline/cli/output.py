"""What the commands print: results on stdout, what went wrong on stderr."""

from __future__ import annotations

import json
import sys
from typing import Any, Literal

OutputFormat = Literal["table", "json"]


def fail(message: str, code: int = 1) -> int:
    """Says what went wrong and returns the exit code."""
    print(f"eventpipeline: {message}", file=sys.stderr)
    return code


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
