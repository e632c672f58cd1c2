"""What the commands print: results on stdout, what went wrong on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

OutputFormat = Literal["table", "json"]

console = Console(highlight=False, soft_wrap=True)
meanwhile = Console(highlight=False, soft_wrap=True, stderr=True)
"""For what is only of interest while a command runs, so that a script reads nothing but the result."""


class CommandError(Exception):
    """A command cannot do what was asked; the message says why, and what to do."""


def fail(message: str, code: int = 1) -> int:
    """Says what went wrong and returns the exit code."""
    print(f"eventpipeline: {message}", file=sys.stderr)
    return code


def print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; numbers are set right. Without names of columns it has no header."""
    table = Table(
        title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False,
        show_header=any(columns),
    )  # fmt: skip
    cells = [[_cell(value) for value in row] for row in rows]
    numeric = [all(_is_number(row[index]) for row in cells) for index in range(len(columns))]
    for name, right in zip(columns, numeric, strict=True):
        # The last column takes what is left of the line; the others keep their words whole.
        table.add_column(name, justify="right" if right else "left", overflow="fold", no_wrap=name != columns[-1])
    for row in cells:
        table.add_row(*row)
    console.print(table)
    console.print()


def _cell(value: Any) -> str:
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.2f}"
        case _:
            # Markup in what a sender sent is text.
            return str(value).replace("[", "\\[")


def _is_number(cell: str) -> bool:
    return cell.replace(",", "").replace(".", "").replace("%", "").lstrip("-–").isdigit() or cell == "–"
