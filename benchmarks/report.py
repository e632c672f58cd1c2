"""What the drill says in the end: a table for people, and one JSON object. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

PIPELINE = ("gateway", "facebook-collector", "tiktok-collector", "reporter", "nats", "postgres")
LOAD = ("publisher", "drill")
"""Who sends and who measures: on the same cores, and no part of the pipeline."""
_TAKEN = ("202", "422")
_GROWTH, _SLACK_SECONDS = 1.25, 2.0
"""Of the lag in seconds, from the second quarter of a load to the last: what more than this grew is not bounded."""


@dataclass(frozen=True)
class Phase:
    """What came of one load."""

    seconds: float
    """How long it was sent."""
    seed: int
    bodies: str
    requests: int
    answers: Mapping[str, int]
    """Posts by the status of the answer, or by why there was none."""
    accepted: int
    rejected: int
    """Corrupted events, which became dead letters."""
    body_mb: float
    events_per_second: float
    """Answered with 202."""
    committed_per_second: float
    """Over the time until all was stored."""
    answer_p50_ms: float
    answer_p99_ms: float
    answer_max_ms: float
    sent_late_max_ms: float
    """How long after its time a post went out at worst: the sender's fault, or that of the cores it shares."""
    lag_max_messages: int
    lag_max_seconds: float
    """The age of the oldest event that was not stored, at its greatest."""
    lag_max_seconds_by_quarter: tuple[float, ...]
    """The same in each quarter of the time: bounded if the later ones are not above the earlier ones."""
    lag_samples: int
    lag_samples_missed: int
    drain_seconds: float | None
    """From the last answer until nothing was pending; None where that did not happen in time."""
    cpu_seconds: Mapping[str, float]
    cpu_us_per_event: Mapping[str, float]
    """The same as CPU seconds per million events."""
    postgres_cpu_us_per_event: Mapping[str, float]
    """Of that of Postgres, by what its processes are there for; what one did after the last look at it is not in it."""
    other_cpu_cores: float
    """What the rest of the machine took meanwhile, on average; the kernel's own threads are in it."""
    peak_memory_mb: Mapping[str, float]
    refused: int
    """Posts that were not answered with 202 or 422."""
    lost: int
    doubled: int
    invented: int
    verdict: str
    differences: tuple[str, ...]
    died: tuple[str, ...]
    """Programs of the pipeline that ended meanwhile."""

    @property
    def is_lag_bounded(self) -> bool:
        """Whether the lag late in the load is about what it was early on, the first quarter aside, which fills."""
        _, early, _, late = self.lag_max_seconds_by_quarter
        return late <= _GROWTH * early + _SLACK_SECONDS

    def failures(self) -> Iterator[str]:
        """What is not as it must be, each in a few words."""
        if self.refused:
            others = ", ".join(f"{count} × {answer}" for answer, count in self.answers.items() if answer not in _TAKEN)
            yield f"{self.refused} of {self.requests} posts refused ({others})"
        if self.lost:
            yield f"{self.lost:,} events lost"
        if self.doubled or self.invented:
            yield f"{self.doubled + self.invented:,} events doubled"
        if self.drain_seconds is None:
            yield "the lag did not drain"
        if not self.is_lag_bounded:
            ages = ", ".join(f"{age:.1f}" for age in self.lag_max_seconds_by_quarter)
            yield f"the lag was not bounded: the oldest waited {ages} s at most in each quarter"
        if self.differences and not (self.lost or self.doubled or self.invented):
            yield f"the reports are not right: {self.differences[0]}"
        yield from self.died


def failures(phases: Mapping[str, Phase]) -> list[str]:
    """Of all phases; none where the bar is met."""
    return [f"{name}: {failure}" for name, phase in phases.items() for failure in phase.failures()]


def document(phases: Mapping[str, Phase], about: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON object: the phases, and what they were measured on, with and under."""
    failed = failures(phases)
    measured = {
        name: _rounded(dataclasses.asdict(phase) | {"lag_bounded": phase.is_lag_bounded})
        for name, phase in phases.items()
    }
    return {"benchmark": "drill", "ok": not failed, "failures": failed, "phases": measured, **about}


def _rounded(value: Any) -> Any:
    match value:
        case float():
            return round(value, 3)
        case dict():
            return {key: _rounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_rounded(item) for item in value]
    return value


def rows(phases: Mapping[str, Phase]) -> list[list[str]]:
    """The rows of the table: what, and a value a phase."""
    every = list(phases.values())
    table = [[label, *(value(phase) for phase in every)] for label, value in _LINES]
    for title, values in (
        ("CPU s per million events", [phase.cpu_us_per_event for phase in every]),
        ("peak memory MB", [phase.peak_memory_mb for phase in every]),
    ):
        table.append([title, *("" for _ in every)])
        table += [[f"  {name}", *(f"{value.get(name, 0.0):,.1f}" for value in values)] for name in (*PIPELINE, *LOAD)]
        table.append(
            ["  the pipeline together", *(f"{sum(value.get(name, 0.0) for name in PIPELINE):,.1f}" for value in values)]
        )
    table.append(["CPU s per million events of Postgres", *("" for _ in every)])
    kinds = sorted({kind for phase in every for kind in phase.postgres_cpu_us_per_event})
    table += [
        [f"  {kind}", *(f"{phase.postgres_cpu_us_per_event.get(kind, 0.0):,.1f}" for phase in every)] for kind in kinds
    ]
    return table


_LINES: tuple[tuple[str, Callable[[Phase], str]], ...] = (
    ("seconds, posts", lambda phase: f"{phase.seconds:g}, {phase.requests:,}"),
    ("events accepted", lambda phase: f"{phase.accepted:,}"),
    ("events/s answered", lambda phase: f"{phase.events_per_second:,.0f}"),
    ("events/s committed", lambda phase: f"{phase.committed_per_second:,.0f}"),
    ("answer p50 / p99 ms", lambda phase: f"{phase.answer_p50_ms:,.0f} / {phase.answer_p99_ms:,.0f}"),
    ("lag at most: messages", lambda phase: f"{phase.lag_max_messages:,}"),
    ("lag at most: seconds", lambda phase: f"{phase.lag_max_seconds:.1f}"),
    ("  in each quarter", lambda phase: " ".join(f"{value:.1f}" for value in phase.lag_max_seconds_by_quarter)),
    ("drained after s", lambda phase: "never" if phase.drain_seconds is None else f"{phase.drain_seconds:.1f}"),
    ("posts refused", lambda phase: f"{phase.refused:,}"),
    ("events lost / doubled", lambda phase: f"{phase.lost:,} / {phase.doubled + phase.invented:,}"),
    ("other load, cores", lambda phase: f"{phase.other_cpu_cores:.2f}"),
)
