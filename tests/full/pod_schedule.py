"""Which faults happen to the pods of a pipeline: the same seed gives the same schedule. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterator
from enum import StrEnum

from faults.gates import Gate
from faults.schedule import Fault, Step

COMPONENTS = ("gateway", "facebook-collector", "tiktok-collector", "reporter", "nats", "postgres")
_OUTAGE_SECONDS = (2.0, 8.0)
"""How long the kubelet is away."""


class PodKind(StrEnum):
    """What can happen on a cluster."""

    DELETE = "pod deleted"
    FORCE = "pod deleted without grace"
    KILL = "container killed"
    ROLL = "rolling update"
    LEADER = "leader deleted"
    """The pod of the NATS server that leads the stream of facebook."""
    KUBELET = "kubelet away"
    OPERATOR_KILL = "killed"
    OPERATOR_UPGRADE = "upgraded"
    """To another tag of the image, which replaces the pods of the services too."""


FIRST = frozenset({(PodKind.DELETE, "gateway"), (PodKind.DELETE, "postgres")})
"""What every run begins with, however short."""


def schedule(seed: int, *, nats_servers: int) -> Iterator[Step]:
    """Steps without an end: each fault alone, in an order of the seed and kinds by turns, FIRST before all others; then
    two or three at once."""
    rng = random.Random(f"{seed}/pods")
    faults = [
        *(
            Fault(kind, name, 0.0)
            for kind in (PodKind.DELETE, PodKind.FORCE, PodKind.KILL, PodKind.ROLL)
            for name in COMPONENTS
        ),
        *(Fault(PodKind.LEADER, "nats", 0.0) for _ in range(nats_servers > 1)),
        Fault(PodKind.KUBELET, "node", round(rng.uniform(*_OUTAGE_SECONDS), 1)),
        Fault(PodKind.OPERATOR_KILL, "operator", 0.0),
        Fault(PodKind.OPERATOR_UPGRADE, "operator", 0.0),
    ]
    first = [fault for fault in rng.sample(faults, len(faults)) if (fault.kind, fault.target) in FIRST]
    for fault in (*first, *_by_turns(rng, [fault for fault in faults if fault not in first])):
        yield Step((fault,), 0.0, rng.uniform(0.2, 1.0))
    while True:
        yield Step(tuple(rng.sample(faults, rng.choice((2, 2, 3)))), rng.uniform(0.0, 2.0), rng.uniform(0.2, 1.0))


def _by_turns(rng: random.Random, faults: list[Fault]) -> list[Fault]:
    """So that a short run has seen every kind."""
    queues: dict[str, list[Fault]] = {}
    for fault in rng.sample(faults, len(faults)):
        queues.setdefault(fault.kind, []).append(fault)
    longest = max(map(len, queues.values()))
    return [queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)]


GATES = (
    Gate(
        "a gateway's pod is deleted or replaced: requests sent after that and not taken", 0, "requests",
        lambda fault: fault.target == "gateway" and fault.kind in (PodKind.DELETE, PodKind.ROLL),
        lambda found: float(found.failed),
    ),
    Gate(
        "a gateway's container is killed: requests are taken", 10, "s",
        lambda fault: fault.target == "gateway" and fault.kind is PodKind.KILL, lambda found: found.answering,
    ),
    Gate(
        "NATS' pod is deleted: requests are taken again", 10, "s",
        lambda fault: fault.target == "nats" and fault.kind in (PodKind.DELETE, PodKind.LEADER),
        lambda found: found.answering,
    ),
    Gate(
        "Postgres' pod is deleted: all stored", 60, "s",
        lambda fault: fault.target == "postgres" and fault.kind is PodKind.DELETE, lambda found: found.drained,
    ),
)  # fmt: skip
"""What a cluster has to keep, for faults that came alone."""
