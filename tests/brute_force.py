"""Random events and their reports counted one by one in Python: what the reporter's SQL is held against."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any

from eventpipeline.sources import Distribution, Source, built_in

START = datetime(2024, 5, 1, 21, 30, tzinfo=UTC)
HOURS = 5  # over midnight, so that two days have events


@dataclass(frozen=True)
class Occurrence:
    """An event as it is posted, with its time as Postgres keeps it."""

    time: datetime
    body: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, str]:
        return self.body["source"], self.body["funnelStage"], self.body["eventType"]


def random_events(seed: int, count: int) -> list[Occurrence]:
    rng = random.Random(seed)
    return [_event(rng, index) for index in range(count)]


def random_instant(rng: random.Random) -> datetime:
    """Often on the boundary of a second, a minute or an hour, and often a microsecond beside it."""
    instant = START + timedelta(microseconds=rng.randrange(HOURS * 3600 * 10**6))
    unit = rng.choice([timedelta(microseconds=1), timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)])
    instant -= (instant - datetime(1970, 1, 1, tzinfo=UTC)) % unit
    return instant + timedelta(microseconds=rng.choice([-1, 0, 0, 0, 1]))


def _event(rng: random.Random, index: int) -> Occurrence:
    source = built_in(rng.choice(["facebook", "tiktok"]))
    stage = rng.choice(["top", "bottom"])
    data = _facebook(rng, stage) if source.name == "facebook" else _tiktok(rng, stage)
    # Stray members of the other source and stage, which must not be read.
    data["user"] |= rng.choice([{}, {"followers": "not-a-number"} if source.name == "facebook" else {"age": "old"}])
    if source.name == "tiktok" and stage == "bottom":
        data["engagement"] |= rng.choice([{}, {"watchTime": -1, "country": ["?"], "device": None}])
    instant = random_instant(rng)
    body = {
        "eventId": f"e{index}",
        "timestamp": instant.isoformat(),
        "source": source.name,
        "funnelStage": stage,
        "eventType": rng.choice(source.event_types_of(stage)),  # type: ignore[arg-type]
        "data": data,
    }
    return Occurrence(instant, body)


def _amount(rng: random.Random) -> str | None:
    return rng.choice([None, "0.00", "12.5", "19.99", "0.000001", f"{rng.randrange(10**6)}.{rng.randrange(100):02}"])


def _facebook(rng: random.Random, stage: str) -> dict[str, Any]:
    user = {
        "userId": f"u{rng.randrange(200)}",
        "name": "N",
        "age": rng.choice([0, 17, 18, 24, 25, 34, 64, 65, 150, rng.randrange(100)]),
        "gender": rng.choice(["male", "female", "non-binary"]),
        "location": {
            "country": rng.choice(["France", "Chad", "=Peru"]),
            "city": f"city {int(rng.paretovariate(0.5)) % 60}",
        },
    }
    engagement = {
        "actionTime": START.isoformat(),
        "referrer": "groups",
        "videoId": None,
    } if stage == "top" else {
        "adId": "ad",
        "campaignId": f"camp {rng.randrange(30)}",
        "clickPosition": "center",
        "device": "mobile",
        "browser": "Firefox",
        "purchaseAmount": _amount(rng),
    }  # fmt: skip
    return {"user": user, "engagement": engagement}


def _tiktok(rng: random.Random, stage: str) -> dict[str, Any]:
    user = {"userId": f"u{rng.randrange(200)}", "username": "n", "followers": int(10 ** rng.uniform(0, 7))}
    engagement = {
        "watchTime": rng.choice([0, 1.5, 0.1, rng.randrange(1000) / 7]),
        "percentageWatched": rng.randrange(101),
        "device": rng.choice(["Android", "iOS", "Desktop"]),
        "country": rng.choice(["France", "Chad", "Peru"]),
        "videoId": "v",
    } if stage == "top" else {
        "actionTime": START.isoformat(),
        "profileId": None,
        "purchasedItem": None,
        "purchaseAmount": _amount(rng),
    }  # fmt: skip
    return {"user": user, "engagement": engagement}


def within(events: Iterable[Occurrence], start: datetime | None, end: datetime | None) -> list[Occurrence]:
    return [event for event in events if (start is None or start <= event.time) and (end is None or event.time < end)]


def count_events(events: Sequence[Occurrence]) -> dict[tuple[str, str, str], int]:
    return dict(Counter(event.key for event in events))


def is_transaction(event: Occurrence) -> bool:
    return event.body["eventType"] in ("checkout.complete", "purchase")


@dataclass(frozen=True)
class Money:
    revenue: Decimal = Decimal(0)
    transactions: int = 0
    amounts: int = 0

    def plus(self, event: Occurrence) -> Money:
        amount = event.body["data"]["engagement"]["purchaseAmount"]
        more = replace(self, transactions=self.transactions + 1)
        return (
            more if amount is None else replace(more, revenue=self.revenue + Decimal(amount), amounts=self.amounts + 1)
        )

    @property
    def average(self) -> Decimal | None:
        return mean(self.revenue, self.amounts)


def mean(total: Decimal, count: int) -> Decimal | None:
    with localcontext(Context(prec=60, rounding=ROUND_HALF_EVEN)):
        return (total / count).quantize(Decimal("0.01")) if count else None


def count_money(events: Iterable[Occurrence], key: Callable[[Occurrence], Any]) -> dict[Any, Money]:
    found: dict[Any, Money] = {}
    for event in filter(is_transaction, events):
        found[key(event)] = found.get(key(event), Money()).plus(event)
    return found


def demographics(source: Source, events: Iterable[Occurrence]) -> dict[str, Any]:
    """The item of a source, straight from the contract."""
    mine = [event.body for event in events if event.body["source"] == source.name]
    item: dict[str, Any] = {
        "source": source.name,
        "events": len(mine),
        "users": len({body["data"]["user"]["userId"] for body in mine}),
    }
    for average in source.averages:
        numbers = [Decimal(repr(number)) for number in _values(source, average.pointer, mine)]
        found = mean(sum(numbers, Decimal(0)), len(numbers))
        item[average.name] = None if found is None else float(found)
    for distribution in source.distributions:
        item[distribution.name] = _distribution(distribution, _values(source, distribution.pointer, mine))
    return item


def _values(source: Source, pointer: str, bodies: Iterable[dict[str, Any]]) -> list[Any]:
    found = []
    for body in bodies:
        if body["funnelStage"] in source.stages_with(pointer):
            value: Any = body["data"]
            for member in pointer.strip("/").split("/"):
                value = value[member]
            found.append(value)
    return found


def _distribution(distribution: Distribution, values: Sequence[Any]) -> list[dict[str, Any]]:
    def entry(key: str, name: str, events: int) -> dict[str, Any]:
        return {key: name, "events": events, "share": round(events / len(values), 4)}

    if distribution.ranges:
        counts = Counter(sum(value >= low for low in distribution.ranges) for value in values)
        return [entry("range", distribution.range_labels[index], counts[index]) for index in sorted(counts)]
    ordered = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    rest = sum(events for _, events in ordered[20:])
    return [entry("value", name, events) for name, events in ordered[:20]] + (
        [entry("value", "other", rest)] if rest else []
    )
