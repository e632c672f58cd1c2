"""The progress of a publisher: a bar on a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Self

from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from eventpipeline.cli.output import meanwhile
from eventpipeline.publisher import Ledger, Options

_LINE_EVERY = 5.0
_LOOK_EVERY = 0.25


class Progress:
    """Shows how far a run is; `show` may be called after each answer."""

    def __init__(self, options: Options) -> None:
        self._seconds = options.seconds
        self._started = time.monotonic()
        self._looked = 0.0
        self._printed = self._started
        self._bar: Bar | None = None
        if meanwhile.is_terminal:
            self._bar = Bar(
                TextColumn("  publishing"), BarColumn(), TextColumn("{task.description}"), TimeRemainingColumn(),
                console=meanwhile, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("0 events", total=self._seconds)

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def show(self, ledger: Ledger) -> None:
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY:
            return
        self._looked = now
        totals = ledger.totals()
        elapsed = now - self._started
        text = (
            f"{totals.sent:,} events sent, {totals.accepted:,} accepted, {totals.rejected} rejected, "
            f"{totals.refused + totals.unanswered:,} not taken, {totals.accepted / elapsed:,.0f} a second"
        )
        if self._bar:
            self._bar.update(self._task, completed=min(elapsed, self._seconds), description=text)
        elif now - self._printed >= _LINE_EVERY:
            self._printed = now
            meanwhile.print(f"  {elapsed:3.0f} s: {text}")
