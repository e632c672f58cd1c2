"""The generator: seeded batches of realistic events, in about three microseconds an event.

It shares two cores with the pipeline that it loads, at 25,500 events a second. So a batch is made column by column:
one call draws a column from a pool of ready fragments, and one format operation an event puts the columns together.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

import orjson

from eventpipeline.publisher.batch import Batch, Corrupted, Facts, combine, event_key
from eventpipeline.publisher.corruption import draw as draw_corruption
from eventpipeline.publisher.pools import SMALL, Entry, Pool, Pools, Sales, pools

_PLACES: Final = (("facebook", "top"), ("facebook", "bottom"), ("tiktok", "top"), ("tiktok", "bottom"))
_PLACE_OF_BYTE: Final = bytes(byte % len(_PLACES) for byte in range(256))

_ENVELOPE = b'{"eventId":"%%b","timestamp":"%%b","source":"%b","funnelStage":"%b","eventType":"%%b","data":{"user":{'
_FACEBOOK_USER = b'"userId":"%b",%b,"location":{"country":%b,"city":%b}},"engagement":{'
_TIKTOK_USER = b'"userId":"%b",%b},"engagement":{'

_FACEBOOK_TOP: Final = (
    _ENVELOPE % (b"facebook", b"top") + _FACEBOOK_USER + b'"actionTime":"%b","referrer":"%b","videoId":%b}}}'
)
_FACEBOOK_BOTTOM: Final = (
    _ENVELOPE % (b"facebook", b"bottom") + _FACEBOOK_USER + b'"adId":"%b","campaignId":"%b",%b,"purchaseAmount":%b}}}'
)
_TIKTOK_TOP: Final = _ENVELOPE % (b"tiktok", b"top") + _TIKTOK_USER + b'%b,"country":%b,"videoId":%b}}}'
_TIKTOK_BOTTOM: Final = (
    _ENVELOPE % (b"tiktok", b"bottom")
    + _TIKTOK_USER
    + b'"actionTime":"%b","profileId":%b,"purchasedItem":%b,"purchaseAmount":%b}}}'
)


@dataclass(frozen=True)
class Generator:
    """Makes the batches of one seed. A batch depends on the seed, its index and `now`, and on no other batch."""

    seed: int
    sizes: tuple[int, int] = (1_000, 50_000)
    """Fewest and most events of a batch; uniform between them."""
    corrupt: float = 0.1
    """The share of batches that carry one corrupted event more."""

    def batch(self, index: int, now: datetime) -> Batch:
        """Batch number `index`, with timestamps of the second before `now`."""
        rng = random.Random(f"{self.seed}/{index}")  # noqa: S311 - repeatable, and nobody's secret
        size = rng.randint(*self.sizes)
        events, facts = _events(rng, rng.randbytes(size).translate(_PLACE_OF_BYTE), now)
        if rng.random() < self.corrupt:
            event, of_corrupted = _corrupted(rng, now)
            events.append(event)
            facts = combine([facts, of_corrupted])
        return Batch(index, b"[" + b",".join(events) + b"]", facts)


def pregenerate(
    seed: int, batches: int, size: int, *, corrupt: float = 0.0, now: datetime | None = None
) -> list[Batch]:
    """Batches of `size` events each, made ahead, so that a benchmark measures the pipeline and not the generator."""
    generator = Generator(seed, (size, size), corrupt)
    at = now or datetime.now(UTC)
    return [generator.batch(index, at) for index in range(batches)]


def _events(rng: random.Random, places: bytes, now: datetime) -> tuple[list[bytes], Facts]:
    """An event for each byte of `places`, in that order."""
    makers = (_facebook_top, _facebook_bottom, _tiktok_top, _tiktok_bottom)
    columns = _Columns(rng, pools(), _moments(now, timedelta(seconds=1)), _moments(now, timedelta(days=1)))
    made = [make(columns, places.count(place)) for place, make in enumerate(makers)]
    of_place = [iter(events) for events, _ in made]
    return [next(of_place[place]) for place in places], combine(facts for _, facts in made)


def _corrupted(rng: random.Random, now: datetime) -> tuple[bytes, Facts]:
    place = rng.randrange(len(_PLACES))
    (text,), facts = _events(rng, bytes([place]), now)
    event = orjson.loads(text)
    corruption = draw_corruption(rng)
    corruption.apply(event)
    reason = corruption.reason_at(*_PLACES[place])
    corrupted = Corrupted(corruption.name, *_PLACES[place], event.get("eventId"), reason)
    counted = facts if corrupted.valid else Facts()
    return orjson.dumps(event), combine([counted, Facts(corrupted=(corrupted,))])


def _moments(now: datetime, span: timedelta) -> Pool:
    """256 moments up to `now`, as JSON of a browser writes them: milliseconds and Z."""
    step = span / SMALL
    moments = (now.astimezone(UTC) - step * back for back in range(SMALL - 1, -1, -1))
    return [moment.isoformat(timespec="milliseconds").replace("+00:00", "Z").encode() for moment in moments]


@dataclass(frozen=True)
class _Columns:
    """Draws the columns of a batch."""

    rng: random.Random
    pools: Pools
    timestamps: Pool
    action_times: Pool

    def indexes(self, count: int, size: int) -> Sequence[int]:
        if size == SMALL:
            return self.rng.randbytes(count)
        return memoryview(self.rng.randbytes(2 * count)).cast("H")

    def of(self, pool: Sequence[Entry], count: int) -> Iterator[Entry]:
        return map(pool.__getitem__, self.indexes(count, len(pool)))

    def uuids(self, count: int) -> list[bytes]:
        """Random UUIDs of version 4, written all at once: each of the 36 positions is one strided copy."""
        digits = self.rng.randbytes(16 * count).hex().encode()
        text = bytearray(b"-") * (36 * count)
        positions = [position for position in range(36) if position not in (8, 13, 18, 23)]
        for digit, position in enumerate(positions):
            text[position::36] = digits[digit::32]
        text[14::36] = b"4" * count
        text[19::36] = digits[16::32].translate(_VARIANT)
        written = bytes(text)
        return [written[start : start + 36] for start in range(0, 36 * count, 36)]

    def identifiers(self, count: int) -> list[bytes]:
        digits = self.rng.randbytes(12 * count).hex().encode()
        return [digits[start : start + 24] for start in range(0, 24 * count, 24)]


_VARIANT = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)

_Made = tuple[list[bytes], Facts]


def _facebook_top(columns: _Columns, count: int) -> _Made:
    of, pool = columns.of, columns.pools
    types = list(of(pool.facebook_top_types, count))
    rows = zip(
        columns.uuids(count),
        of(columns.timestamps, count),
        types,
        columns.uuids(count),
        of(pool.people, count),
        of(pool.countries, count),
        of(pool.cities, count),
        of(columns.action_times, count),
        of(pool.referrers, count),
        of(pool.videos_or_null, count),
        strict=True,
    )
    return [_FACEBOOK_TOP % row for row in rows], Facts(counts=_counts("facebook", "top", types))


def _facebook_bottom(columns: _Columns, count: int) -> _Made:
    of, pool, sales = columns.of, columns.pools, columns.pools.facebook_sales
    sold = columns.indexes(count, len(sales.event_types))
    types = [sales.event_types[index] for index in sold]
    rows = zip(
        columns.uuids(count),
        of(columns.timestamps, count),
        types,
        columns.uuids(count),
        of(pool.people, count),
        of(pool.countries, count),
        of(pool.cities, count),
        columns.identifiers(count),
        columns.identifiers(count),
        of(pool.placements, count),
        map(sales.amounts.__getitem__, sold),
        strict=True,
    )
    return [_FACEBOOK_BOTTOM % row for row in rows], _sold("facebook", "checkout.complete", sales, sold, types)


def _tiktok_top(columns: _Columns, count: int) -> _Made:
    of, pool = columns.of, columns.pools
    types = list(of(pool.tiktok_top_types, count))
    rows = zip(
        columns.uuids(count),
        of(columns.timestamps, count),
        types,
        columns.uuids(count),
        of(pool.accounts, count),
        of(pool.watches, count),
        of(pool.countries, count),
        of(pool.videos, count),
        strict=True,
    )
    return [_TIKTOK_TOP % row for row in rows], Facts(counts=_counts("tiktok", "top", types))


def _tiktok_bottom(columns: _Columns, count: int) -> _Made:
    of, pool, sales = columns.of, columns.pools, columns.pools.tiktok_sales
    sold = columns.indexes(count, len(sales.event_types))
    types = [sales.event_types[index] for index in sold]
    rows = zip(
        columns.uuids(count),
        of(columns.timestamps, count),
        types,
        columns.uuids(count),
        of(pool.accounts, count),
        of(columns.action_times, count),
        of(pool.profiles_or_null, count),
        map(sales.items.__getitem__, sold),
        map(sales.amounts.__getitem__, sold),
        strict=True,
    )
    return [_TIKTOK_BOTTOM % row for row in rows], _sold("tiktok", "purchase", sales, sold, types)


def _counts(source: str, stage: str, types: Sequence[bytes]) -> dict[str, int]:
    return {event_key(source, stage, event_type.decode()): count for event_type, count in Counter(types).items()}


def _sold(source: str, transaction: str, sales: Sales, sold: Sequence[int], types: Sequence[bytes]) -> Facts:
    counts = _counts(source, "bottom", types)
    cents = sum(map(sales.cents.__getitem__, sold))
    return Facts(
        counts=counts,
        revenue={source: Decimal(cents).scaleb(-2)},
        transactions={source: counts.get(event_key(source, "bottom", transaction), 0)},
        amounts={source: sum(map(sales.with_amount.__getitem__, sold))},
    )
