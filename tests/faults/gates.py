"""Timed gates: how soon the pipeline must be well again after a fault that came alone. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from faults.run import Recovery
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
    times: int
    worst: float | None
    """None where something never came back."""

    @property
    def kept(self) -> bool:
        return self.worst is not None and self.worst <= self.gate.most

    def __str__(self) -> str:
        worst = "never" if self.worst is None else f"{self.worst:.1f}"
        verdict = "kept" if self.kept else "MISSED"
        return f"{self.gate.name}: {worst} of {self.gate.most:g} {self.gate.unit} in {self.times} times, {verdict}"


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


def passed(recoveries: Sequence[Recovery]) -> list[Passed]:
    """The gates that this run went through."""
    alone = [(found.step.faults[0], found) for found in recoveries if len(found.step.faults) == 1]
    results = []
    for gate in GATES:
        measured = [gate.measure(found) for fault, found in alone if gate.applies(fault)]
        if measured:
            known = [value for value in measured if value is not None]
            results.append(Passed(gate, len(measured), max(known) if len(known) == len(measured) else None))
    return results
