"""Timed gates: how soon the pipeline must be well again after a fault that came alone. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faults.breaking import Recovery
from faults.schedule import Fault, Kind

Measure = Callable[[Recovery], float | None]


@dataclass(frozen=True)
class Gate:
    name: str
    most: float
    unit: str
    applies: Callable[[Fault], bool]
    measure: Measure


@dataclass(frozen=True)
class Passed:
    """What came of a gate."""

    gate: Gate
    measured: tuple[float | None, ...]
    """One for each time; None where it never came back."""

    @property
    def kept(self) -> bool:
        return all(value is not None and value <= self.gate.most for value in self.measured)

    def __str__(self) -> str:
        known = [value for value in self.measured if value is not None]
        worst = f"{max(known):.1f}" if len(known) == len(self.measured) else "never"
        median = f"{statistics.median(known):.1f}" if known else "never"
        times = f"{len(self.measured)} time{'s' if len(self.measured) > 1 else ''}"
        verdict = "kept" if self.kept else "MISSED"
        limit = f"at most {self.gate.most:g} {self.gate.unit}"
        return f"{self.gate.name}: {limit}; median {median}, worst {worst} in {times}, {verdict}"


def _of(kinds: Sequence[Kind], word: str) -> Callable[[Fault], bool]:
    return lambda fault: fault.kind in kinds and word in fault.target


_DOWN = (Kind.KILL, Kind.RESTART)
_FULL = (Kind.DISK_FULL, Kind.DISK_FULL_OWN)

GATES = (
    Gate(
        "a gateway is killed: requests sent after that and not taken", 0, "requests",
        _of((Kind.KILL,), "gateway"), lambda found: float(found.failed),
    ),
    Gate(
        "a collector is killed: all stored that it held", 10, "s",
        _of((Kind.KILL,), "collector"), lambda found: found.drained,
    ),
    Gate("NATS ends: requests are taken again", 10, "s", _of(_DOWN, "nats"), lambda found: found.answering),
    Gate("Postgres ends: all stored", 60, "s", _of(_DOWN, "postgres"), lambda found: found.drained),
    Gate("a disk has room again: requests are taken", 10, "s", _of(_FULL, ""), lambda found: found.answering),
)  # fmt: skip


def passed(recoveries: Sequence[Recovery], gates: Sequence[Gate] = GATES) -> list[Passed]:
    """The gates that this run went through."""
    alone = [(found.step.faults[0], found) for found in recoveries if len(found.step.faults) == 1]
    measured = [
        Passed(gate, tuple(gate.measure(found) for fault, found in alone if gate.applies(fault))) for gate in gates
    ]
    return [one for one in measured if one.measured]
