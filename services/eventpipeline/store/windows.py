"""Windows of time, and how one is made of whole rollup buckets and the pieces cut off at its ends. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal

Step = Literal["minute", "ten_minutes", "hour", "six_hours", "day", "week"]
Interval = Literal["minute", "hour", "day"]
"""The steps that a series may have."""
STEPS: dict[Step, timedelta] = {
    "minute": timedelta(minutes=1),
    "ten_minutes": timedelta(minutes=10),
    "hour": timedelta(hours=1),
    "six_hours": timedelta(hours=6),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
}
"""The lengths of the buckets of rollups, each a whole number of the one before; as the view rollup_steps has them."""
STEPS_TO_DAY: tuple[Step, ...] = tuple(step for step in STEPS if step != "week")
"""Those of the rollups of users and of campaigns, which have no weeks."""

_ORIGIN = datetime(2000, 1, 1, tzinfo=UTC)
"""A bucket of each step begins here, as in the statements: so weeks begin on a Saturday."""
_BEGINNING_OF_TIME = datetime.min.replace(tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def floor(time: datetime, step: timedelta) -> datetime:
    """The beginning of the bucket of `step` (in UTC) in which `time` is."""
    into = (time - _ORIGIN) % step
    return time - into if time - _BEGINNING_OF_TIME >= into else _BEGINNING_OF_TIME


def ceiling(time: datetime, step: timedelta) -> datetime:
    """The first beginning of a bucket at or after `time`."""
    start = floor(time, step)
    if start == time:
        return time
    return start + step if start < _END_OF_TIME - step else _END_OF_TIME


@dataclass(frozen=True, slots=True)
class Window:
    """The time from `start` to before `end`, both with an offset; None is no bound."""

    start: datetime | None = None
    end: datetime | None = None
    _splits: dict[tuple[Step, ...], Split] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def is_closed(self) -> bool:
        return self.start is not None and self.end is not None

    def parameters(self) -> dict[str, str]:
        """The bounds as a statement takes them."""
        return {
            "from": self.start.isoformat() if self.start else "-infinity",
            "to": self.end.isoformat() if self.end else "infinity",
        }

    def cut(self, step: timedelta) -> Cut:
        """The whole buckets of `step` in this window, and what is left of it before and after them."""
        first = ceiling(self.start, step) if self.start else None
        last = floor(self.end, step) if self.end else None
        if self.start and self.end and first and last and first >= last:
            return Cut(None, (self,))
        edges = [Window(self.start, first)] if first != self.start else []
        edges += [Window(last, self.end)] if last != self.end else []
        return Cut(Window(first, last), tuple(edges))

    def split(self, steps: Sequence[Step]) -> Split:
        """This window as the longest whole buckets of `steps` that fit, and what is left at its ends.

        `steps` go from the shortest to the longest; without any, all of it is left. A report asks for the same again
        for each of its statements: it is made once.
        """
        steps = tuple(steps)
        if steps not in self._splits:
            self._splits[steps] = self._split(steps)
        return self._splits[steps]

    def _split(self, steps: tuple[Step, ...]) -> Split:
        buckets: list[tuple[Step, Window]] = []
        left: tuple[Window, ...] = (self,)
        for step in reversed(steps):
            cuts = [window.cut(STEPS[step]) for window in left]
            buckets += [(step, cut.whole) for cut in cuts if cut.whole]
            left = tuple(edge for cut in cuts for edge in cut.edges)
        whole = self.cut(STEPS[steps[0]]).whole if steps else None
        return Split(tuple(buckets), whole, left)


ALL_TIME = Window()
NO_TIME = Window(_ORIGIN, _ORIGIN)


@dataclass(frozen=True, slots=True)
class Cut:
    """A window as the whole buckets in it, if there are any, and at most two edges shorter than a bucket."""

    whole: Window | None
    edges: tuple[Window, ...]


@dataclass(frozen=True)
class Split:
    """A window as buckets of rollups and at most two edges, shorter than the shortest of them.

    `whole` is the time of all buckets together; None where there are none.
    """

    buckets: tuple[tuple[Step, Window], ...]
    whole: Window | None
    edges: tuple[Window, ...]

    @cached_property
    def parameters(self) -> dict[str, str]:
        """The buckets, `whole` and the edges as a statement takes them; arrays as Postgres writes them."""
        bounds = [bucket.parameters() for _, bucket in self.buckets]
        head, tail = (*self.edges, NO_TIME, NO_TIME)[:2]
        return {
            "steps": _array(step for step, _ in self.buckets),
            "firsts": _array(bound["from"] for bound in bounds),
            "lasts": _array(bound["to"] for bound in bounds),
            **{f"whole_{name}": value for name, value in (self.whole or NO_TIME).parameters().items()},
            **{f"head_{name}": value for name, value in head.parameters().items()},
            **{f"tail_{name}": value for name, value in tail.parameters().items()},
        }


def _array(texts: Iterable[str]) -> str:
    """Of texts that need no quotes."""
    return f"{{{','.join(texts)}}}"
