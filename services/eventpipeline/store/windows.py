"""Windows of time, and how one is made of whole rollup buckets and the pieces cut off at its ends. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def floor(time: datetime, step: timedelta) -> datetime:
    """The beginning of the bucket of `step` (a minute, an hour or a day of UTC) in which `time` is."""
    return time - (time - _EPOCH) % step


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

    @property
    def is_closed(self) -> bool:
        return self.start is not None and self.end is not None

    def parameters(self) -> dict[str, object]:
        """The bounds as a statement takes them."""
        return {
            "from": self.start.isoformat() if self.start else "-infinity",
            "to": self.end.isoformat() if self.end else "infinity",
        }

    def cut(self, step: timedelta) -> Cut:
        """The whole buckets of `step` in this window, and what is left of it before and after them."""
        first = ceiling(self.start, step) if self.start else None
        last = floor(self.end, step) if self.end else None
        if self.start and self.end and first and last and first > last:
            return Cut(Window(first, first), (Window(self.start, self.end),))
        edges = [Window(self.start, first)] if first != self.start else []
        edges += [Window(last, self.end)] if last != self.end else []
        return Cut(Window(first, last), tuple(edges))


ALL_TIME = Window()


@dataclass(frozen=True, slots=True)
class Cut:
    """A window as the whole buckets in it, for which a rollup answers, and at most two edges shorter than a bucket."""

    whole: Window
    edges: tuple[Window, ...]

    def parameters(self) -> dict[str, object]:
        nothing = Window(_EPOCH, _EPOCH)
        head, tail = (*self.edges, nothing, nothing)[:2]
        return {
            "is_cut": bool(self.edges),
            **{f"whole_{name}": value for name, value in self.whole.parameters().items()},
            **{f"head_{name}": value for name, value in head.parameters().items()},
            **{f"tail_{name}": value for name, value in tail.parameters().items()},
        }
