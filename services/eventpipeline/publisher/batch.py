"""A batch of events as it is posted, and what a pipeline that loses nothing must say of it afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TypeVar

Amount = TypeVar("Amount", int, Decimal)


def event_key(source: str, stage: str, event_type: str) -> str:
    """What events are counted by: `facebook/top/ad.view`."""
    return f"{source}/{stage}/{event_type}"


@dataclass(frozen=True, slots=True)
class Corrupted:
    """The event of a batch that was corrupted."""

    corruption: str
    """The name of one of `corruption.CORRUPTIONS`."""
    source: str
    stage: str
    event_id: str | None
    """None where the corruption took it away."""
    reason: str | None
    """The reason code of the dead letter that it must become, or None: the event is valid all the same."""

    @property
    def valid(self) -> bool:
        return self.reason is None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is true of some events, so that reports about them can be checked."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Valid events by `event_key`."""
    revenue: Mapping[str, Decimal] = field(default_factory=dict)
    """By source."""
    transactions: Mapping[str, int] = field(default_factory=dict)
    """By source; those without an amount too."""
    amounts: Mapping[str, int] = field(default_factory=dict)
    """Transactions with an amount, by source."""
    corrupted: tuple[Corrupted, ...] = ()

    @property
    def valid(self) -> int:
        return sum(self.counts.values())

    @property
    def invalid(self) -> int:
        return sum(not event.valid for event in self.corrupted)

    @property
    def events(self) -> int:
        return self.valid + self.invalid


def combine(facts: Iterable[Facts]) -> Facts:
    """What is true of all of these together."""
    every = list(facts)
    return Facts(
        counts=add_up(item.counts for item in every),
        revenue=add_up(item.revenue for item in every),
        transactions=add_up(item.transactions for item in every),
        amounts=add_up(item.amounts for item in every),
        corrupted=tuple(event for item in every for event in item.corrupted),
    )


def add_up(parts: Iterable[Mapping[str, Amount]]) -> dict[str, Amount]:
    """The sum of each key."""
    total: dict[str, Amount] = {}
    for part in parts:
        for key, amount in part.items():
            total[key] = total[key] + amount if key in total else amount
    return total


@dataclass(frozen=True, slots=True)
class Batch:
    """One request to come."""

    index: int
    body: bytes
    """A JSON array of `facts.events` events."""
    facts: Facts
