"""Which faults come when: the same seed gives the same schedule. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

BACKEND = "postgres-backend"
"""One process of Postgres that serves a connection; without it Postgres begins anew by itself."""


class Kind(StrEnum):
    """What can go wrong."""

    KILL = "kill -9"
    PAUSE = "pause"
    RESTART = "restart"
    CUT = "cut"
    LATENCY = "latency"
    STALL = "stall"
    HALF_OPEN = "half-open"
    STREAM_FULL = "stream at its limit"
    DISK_FULL = "disk full"
    DISK_FULL_OWN = "disk full by own data"
    CLOCK = "clock jump"


@dataclass(frozen=True)
class Fault:
    kind: StrEnum
    """A Kind, where it happens to processes."""
    target: str
    """The program or the joint that it happens to."""
    seconds: float
    """How long it lasts, where it lasts."""

    @property
    def name(self) -> str:
        """What faults are counted by: without the number of the replica."""
        return f"{self.kind} {_without_number(self.target)}"

    def __str__(self) -> str:
        return f"{self.kind} {self.target} ({self.seconds:.1f} s)"


@dataclass(frozen=True)
class Step:
    """Faults that begin within a moment of each other; the next step comes when all is well again."""

    faults: tuple[Fault, ...]
    gap: float
    """Seconds between one and the next."""
    pause: float
    """Seconds of peace before the step."""


@dataclass(frozen=True)
class Targets:
    """What there is to break."""

    programs: tuple[str, ...]
    joints: tuple[str, ...]
    sources: tuple[str, ...]
    volumes: tuple[str, ...]
    clocks: tuple[str, ...]


def schedule(seed: int, targets: Targets, longest: float, samples: int = 1) -> Iterator[Step]:
    """Steps without an end. `longest` is how many seconds a fault lasts at most.

    First each kind of fault alone, in an order of the seed, those whose recovery is timed `samples` times; then two to
    five at a time.
    """
    rng = random.Random(f"{seed}/faults")
    alone = _each_kind(rng, targets, longest)
    for _ in range(samples - 1):
        alone += [fault for fault in _each_kind(rng, targets, longest) if is_timed(fault)]
    for fault in alone:
        yield Step((fault,), 0.0, rng.uniform(0.2, 1.0))
    while True:
        several = [_any(rng, targets, longest) for _ in range(rng.choice((2, 4, 5, 5)))]
        # At most one disk at a time: with both full there is nothing left to look at.
        disks = [fault for fault in several if _is_of_disk(fault)]
        chosen = [fault for fault in several if fault not in disks[1:]]
        yield Step(tuple(chosen), rng.uniform(0.0, 1.5), rng.uniform(0.2, 1.0))


def is_timed(fault: Fault) -> bool:
    """Whether a gate says how soon all must be well after it."""
    match fault.kind:
        case Kind.KILL:
            return "reporter" not in fault.target
        case Kind.RESTART:
            return fault.target in ("nats", "postgres")
        case _:
            return _is_of_disk(fault)


def _each_kind(rng: random.Random, targets: Targets, longest: float) -> list[Fault]:
    """One of each name; kinds take turns, so that a short run has seen them all."""
    by_kind: dict[Kind, dict[str, Fault]] = {}
    for kind in Kind:
        for target in rng.sample(possible := _targets_of(kind, targets), len(possible)):
            # A pause is as long as can be once for each program: what waits must not take it for dead.
            fault = Fault(kind, target, longest if kind is Kind.PAUSE else _seconds(rng, longest))
            by_kind.setdefault(kind, {}).setdefault(fault.name, fault)
    queues = [list(faults.values()) for faults in rng.sample(list(by_kind.values()), len(by_kind))]
    return [queue.pop(0) for turn in range(max(map(len, queues), default=0)) for queue in queues if queue]


def _any(rng: random.Random, targets: Targets, longest: float) -> Fault:
    weights = {Kind.KILL: 5, Kind.PAUSE: 3, Kind.RESTART: 3, Kind.CUT: 2, Kind.STALL: 2, Kind.HALF_OPEN: 2}
    kinds = [kind for kind in Kind if _targets_of(kind, targets)]
    kind = rng.choices(kinds, [weights.get(kind, 1) for kind in kinds])[0]
    return Fault(kind, rng.choice(_targets_of(kind, targets)), _seconds(rng, longest))


def _seconds(rng: random.Random, longest: float) -> float:
    """Short more often than long."""
    return round(min(longest, 0.5 + rng.expovariate(5.0 / longest)), 1)


def _targets_of(kind: Kind, targets: Targets) -> Sequence[str]:
    match kind:
        case Kind.KILL:
            return (*targets.programs, BACKEND)
        case Kind.PAUSE | Kind.RESTART:
            return targets.programs
        case Kind.CUT | Kind.LATENCY | Kind.STALL | Kind.HALF_OPEN:
            return targets.joints
        case Kind.STREAM_FULL:
            return targets.sources
        case Kind.DISK_FULL | Kind.DISK_FULL_OWN:
            return targets.volumes
        case Kind.CLOCK:
            return targets.clocks


def _is_of_disk(fault: Fault) -> bool:
    return fault.kind in (Kind.DISK_FULL, Kind.DISK_FULL_OWN)


def _without_number(target: str) -> str:
    return "-".join(part for part in target.split("-") if not part.isdigit())
