"""Partitions by day and retention, while appends go on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest_asyncio

from eventpipeline.collector.batches import BatchStore, Packed
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.envelope import RequestRun
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.partitions import Maintained, maintain
from eventpipeline.store.pool import Pool, connection, open_pool
from eventpipeline.telemetry import Health, new_registry
from servers import wait_for
from stored import (
    assert_holds,
    assert_rollups,
    expected_counts,
    facebook,
    found_counts,
    parsed,
    scalar,
)

TODAY = date(2025, 3, 20)
DAYS = [TODAY + timedelta(days=offset) for offset in range(-1, 8)]


def event(number: int, day: date) -> dict[str, Any]:
    moment = datetime(day.year, day.month, day.day, 23, 59, 59, 999999, tzinfo=UTC) - timedelta(seconds=number)
    return facebook(number, timestamp=moment.isoformat())


def texts(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return parsed(json.dumps(events).encode())


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = open_pool(database, name="test", read_only=False, max_size=5)
    await pool.open()
    yield pool
    await pool.close()


async def append(pool: Pool, *events: dict[str, Any]) -> int:
    # Far more than a collector would wait: here dozens share the connections.
    async with connection(pool, 60.0) as one:
        return (await Appender(built_in("facebook")).append(one, json.dumps(events).encode())).new


def in_default(database: str) -> int:
    return scalar(database, "SELECT count(*) FROM events_default")


def dropped_days(database: str) -> list[date]:
    return scalar(database, "SELECT coalesce(array_agg(day ORDER BY day), '{}') FROM dropped_days")


async def test_days_are_made_ahead_and_the_rows_of_the_default_partition_move_into_them(
    database: str, pool: Pool
) -> None:
    events = [event(number, TODAY + timedelta(days=number % 4 - 2)) for number in range(40)]
    await append(pool, *events)
    assert in_default(database) == 40

    assert maintain(database, TODAY, None) == Maintained(tuple(DAYS), ())
    assert maintain(database, TODAY, None) == Maintained((), ())
    assert maintain(database, TODAY + timedelta(days=1), None) == Maintained((TODAY + timedelta(days=8),), ())

    assert in_default(database) == 10  # of the day before yesterday
    assert_holds(database, texts(events))
    assert await append(pool, *events) == 0
    assert await append(pool, event(99, TODAY)) == 1
    assert in_default(database) == 10


async def test_it_moves_rows_while_they_are_appended(database: str, pool: Pool) -> None:
    events = [event(number, TODAY + timedelta(days=number % 9 - 1)) for number in range(3000)]
    batches = [events[first : first + 100] for first in range(0, 3000, 100)]
    maintaining = [asyncio.create_task(asyncio.to_thread(maintain, database, TODAY, None)) for _ in range(2)]
    # Each batch twice, so that copies meet rows on their way.
    new = await asyncio.gather(*(append(pool, *batch) for batch in batches for _ in range(2)))
    made = [day for maintained in await asyncio.gather(*maintaining) for day in maintained.made]

    assert sorted(made) == DAYS
    assert sum(new) == 3000
    assert in_default(database) == 0
    assert_holds(database, texts(events))
    assert scalar(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_retention_drops_days_remembers_them_and_leaves_the_rollups(database: str, pool: Pool) -> None:
    maintain(database, TODAY - timedelta(days=12), None)  # ... so that days 7 to 19 have partitions
    kept = [event(1, TODAY), event(2, TODAY - timedelta(days=11))]
    old = [event(3, TODAY - timedelta(days=12)), event(4, TODAY - timedelta(days=13)), event(5, date(2024, 2, 29))]
    await append(pool, *kept, *old)

    maintained = maintain(database, TODAY, 10)

    assert maintained.dropped == (TODAY - timedelta(days=13), TODAY - timedelta(days=12))
    assert dropped_days(database) == [date(2024, 2, 29), *maintained.dropped]
    # Their tables are gone, and their space with them: no row is left dead in one that stays.
    tables = [f"events_{day:%Y%m%d}" for day in maintained.dropped]
    assert scalar(database, "SELECT count(*) FROM pg_class WHERE relname = ANY (%s)", tables) == 0
    assert scalar(database, "SELECT array_agg(event_id ORDER BY event_id) FROM events") == ["e1", "e2"]
    assert_rollups(database, texts([*kept, *old]))
    assert maintain(database, TODAY, 10).dropped == ()
    assert maintain(database, TODAY, None).dropped == ()


async def test_an_event_of_a_dropped_day_becomes_a_dead_letter_and_is_not_counted(database: str, pool: Pool) -> None:
    gone = event(1, date(2024, 2, 29))
    await append(pool, gone)
    maintain(database, TODAY, 10)
    before = found_counts(database)
    store = BatchStore(built_in("facebook"), pool, CollectorMetrics(new_registry(), built_in("facebook")), Health())
    late, fresh = event(2, date(2024, 2, 29)), event(3, TODAY)
    batch = [
        Packed(json.dumps([fresh, gone]).encode(), (RequestRun("one", None, 1), RequestRun("two", None, 1))),
        Packed(json.dumps([late]).encode(), (RequestRun("three", None, 1),)),
    ]

    for _ in range(2):  # a redelivery
        stored = await store.store(batch)
        assert (stored.events, len(stored.letters)) == (1, 2)

    with psycopg.connect(database) as opened:
        letters = opened.execute(
            "SELECT event_id, reason, correlation_id, payload FROM dead_letters ORDER BY event_id"
        ).fetchall()
    assert [letter[:3] for letter in letters] == [
        ("e1", "beyond_retention", "two"),
        ("e2", "beyond_retention", "three"),
    ]
    assert [json.loads(letter[3]) for letter in letters] == [gone, late]
    assert scalar(database, "SELECT array_agg(event_id) FROM events") == ["e3"]
    assert found_counts(database) == before | expected_counts(texts([fresh]))


async def test_a_copy_that_waits_for_its_original_to_be_dropped_is_not_counted_again(database: str, pool: Pool) -> None:
    """The row is deleted and not yet committed when the copy comes: the copy waits, and would find no row."""
    old = event(1, date(2024, 2, 29))
    await append(pool, old)
    with psycopg.connect(database) as holder:
        # Holds up `maintain` where it writes down the day, after the deletion.
        holder.execute("INSERT INTO dropped_days (day) VALUES ('2024-02-29')")
        maintaining = asyncio.create_task(asyncio.to_thread(maintain, database, TODAY, 10))
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        await asyncio.to_thread(wait_for, lambda: scalar(database, waiting) == 1, what=lambda: "maintain to wait")
        appending = asyncio.create_task(append(pool, old))
        await asyncio.to_thread(wait_for, lambda: scalar(database, waiting) == 2, what=lambda: "the append to wait")
        holder.rollback()

    await maintaining
    assert await appending == 0
    assert scalar(database, "SELECT count(*) FROM events") == 0
    assert found_counts(database) == expected_counts(texts([old]))


async def test_two_at_once_drop_a_day_once(database: str, pool: Pool) -> None:
    maintain(database, TODAY - timedelta(days=20), None)
    await append(pool, event(1, TODAY - timedelta(days=15)))

    await asyncio.gather(*(asyncio.to_thread(maintain, database, TODAY, 1) for _ in range(2)))

    assert TODAY - timedelta(days=15) in dropped_days(database)
    assert scalar(database, "SELECT count(*) FROM events") == 0
