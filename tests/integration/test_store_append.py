"""Appending: rows and rollups, each event once, whatever comes, in whatever order and from however many."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from brute_force import random_events
from eventpipeline.envelope import RequestRun
from eventpipeline.publisher import pregenerate
from eventpipeline.sources import built_in
from eventpipeline.store import Refused, rollups
from eventpipeline.store.append import Appended, Appender
from eventpipeline.store.columns import TextArray, TextArrayDumper, columns
from eventpipeline.store.pool import Pool, connection, open_pool
from eventpipeline.store.statements import statement
from stored import assert_holds, facebook, found_counts, of_source, parsed, scalar, tiktok

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)


@asynccontextmanager
async def opened(database: str, size: int = 1) -> AsyncIterator[Pool]:
    pool = open_pool(database, name="test", read_only=False, max_size=size)
    await pool.open()
    try:
        yield pool
    finally:
        await pool.close()


async def append(pool: Pool, source: str, packed: bytes, requests: Sequence[RequestRun] = ()) -> Appended:
    # Far more than a collector would wait: here dozens share the connections.
    async with connection(pool, 60.0) as one:
        return await Appender(built_in(source)).append(one, packed, requests)


def packed(*events: dict[str, Any]) -> bytes:
    return json.dumps(events).encode()


@pytest.mark.parametrize("seed", [1, 2])
async def test_rows_and_rollups_are_exact_for_the_real_load(database: str, seed: int) -> None:
    batches = pregenerate(seed, 3, 1500, now=NOON + timedelta(milliseconds=300))
    events = [event for batch in batches for event in parsed(batch.body)]
    async with opened(database) as pool:
        new = 0
        for batch in batches:
            for source in ("facebook", "tiktok"):
                new += (await append(pool, source, of_source(batch.body, source))).new

    assert new == len(events)
    assert_holds(database, events)


async def test_rows_and_rollups_are_exact_on_every_edge(database: str) -> None:
    events = [occurrence.body for occurrence in random_events(seed=3, count=2000)]
    async with opened(database) as pool:
        for source in ("facebook", "tiktok"):
            await append(pool, source, packed(*(event for event in events if event["source"] == source)))

    assert_holds(database, parsed(packed(*events)))


async def test_a_copy_counts_once_in_one_batch_and_in_another(database: str) -> None:
    events = [facebook(number) for number in range(20)]
    later = facebook(0, timestamp="2025-03-01T12:00:00.000001Z")  # the same id at another time is another event
    same_instant = facebook(1, timestamp="2025-03-01T14:00:01+02:00")
    async with opened(database) as pool:
        first = await append(pool, "facebook", packed(*events, *events, later, same_instant))
        second = await append(pool, "facebook", packed(*reversed(events), later))

    assert (first.new, second.new) == (21, 0)
    assert_holds(database, parsed(packed(*events, later)))


async def test_copies_count_once_whether_the_batches_before_had_some_or_not(database: str) -> None:
    """An appender goes over to the statement that leaves copies out, and back; every third of these has a copy."""
    batches = [[facebook(10 * batch + number) for number in range(10)] for batch in range(60)]
    appender = Appender(built_in("facebook"))
    async with opened(database) as pool, connection(pool) as one:
        for index, batch in enumerate(batches):
            copies = batches[index - 1][:3] if index in (1, 2, 25, 50) else []
            requests = [RequestRun(f"r-{index}", None, len(batch) + len(copies))]
            assert (await appender.append(one, packed(*batch, *copies), requests)).new == len(batch)

    assert_holds(database, parsed(packed(*(event for batch in batches for event in batch))))


async def test_a_hundred_appends_of_one_batch_at_once_count_once(database: str) -> None:
    batch = pregenerate(5, 1, 400, now=NOON)[0].body
    async with opened(database, size=8) as pool:
        appended = await asyncio.gather(
            *(append(pool, source, of_source(batch, source)) for source in ("facebook", "tiktok") for _ in range(50)),
        )

    assert sum(one.new for one in appended) == 400
    assert_holds(database, parsed(batch))


async def test_overlapping_batches_in_different_order_neither_deadlock_nor_double(database: str) -> None:
    events = parsed(of_source(pregenerate(6, 1, 1600, now=NOON)[0].body, "facebook"))
    rng = random.Random(6)

    def part() -> bytes:
        return json.dumps(rng.sample(events, 500), default=float).encode()

    parts = [part() for _ in range(40)]
    async with opened(database, size=6) as pool:
        appended = await asyncio.gather(*(append(pool, "facebook", one) for one in parts))

    union = {event["eventId"]: event for one in parts for event in parsed(one)}
    assert sum(one.new for one in appended) == len(union)
    assert_holds(database, union.values())
    assert scalar(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


async def test_folding_changes_no_sum_while_appends_go_on(database: str) -> None:
    batch = pregenerate(7, 1, 1000, now=NOON)[0].body
    events = parsed(batch)
    by_source = {source: parsed(of_source(batch, source)) for source in ("facebook", "tiktok")}
    appending = 2 * [
        (source, json.dumps(mine[first : first + 50], default=float).encode())
        for source, mine in by_source.items()
        for first in range(0, len(mine), 50)
    ]
    async with opened(database, size=6) as pool:

        async def fold(source: str) -> int:
            async with connection(pool, 60.0) as one:
                return await rollups.fold(one, built_in(source))

        calls: list[Coroutine[Any, Any, Any]] = [append(pool, source, part) for source, part in appending]
        calls += [fold(source) for source in ("facebook", "tiktok") for _ in range(20)]
        random.Random(7).shuffle(calls)
        await asyncio.gather(*calls)
        assert_holds(database, events)

        for source in ("facebook", "tiktok"):
            await fold(source)
            assert await fold(source) == 0
    assert unfolded(database) == 0
    assert_holds(database, events)


async def test_each_row_has_the_correlation_id_of_its_request(database: str) -> None:
    runs = [RequestRun("one", None, 2), RequestRun("two", None, 1), RequestRun("three", None, 3)]
    async with opened(database) as pool:
        await append(pool, "facebook", packed(*(facebook(number) for number in range(6))), runs)
        await append(pool, "facebook", packed(facebook(6)))

    found = scalar(database, "SELECT array_agg(correlation_id ORDER BY event_id) FROM events")
    assert found == ["one", "one", "two", "three", "three", "three", None]


WILD: list[Any] = [-1, 1e300, "not-a-number", "", None, [], {}, [{"a": [None]}], True, "-Infinity", "NaN", "2024-99-99"]


async def test_stray_fields_of_another_source_or_stage_are_not_read(database: str) -> None:
    events = [event for number, wild in enumerate(WILD) for event in with_stray_fields(10 * number, wild)]
    async with opened(database) as pool:
        for event in events:
            await append(pool, event["source"], packed(event))

    assert_holds(database, parsed(packed(*events)))


def with_stray_fields(number: int, wild: Any) -> list[dict[str, Any]]:
    stray = ("age", "followers", "location", "watchTime", "percentageWatched", "device", "country", "campaignId",
             "purchaseAmount", "actionTime", "currency", "name")  # fmt: skip
    views = [tiktok(number + 1), facebook(number + 2, funnelStage="top", eventType="ad.view")]
    sale = tiktok(number + 3, funnelStage="bottom", eventType="purchase")
    follow = tiktok(number + 4, funnelStage="bottom", eventType="follow")
    for bottom, amount in ((sale, "2.50"), (follow, wild)):
        bottom["data"]["engagement"] = dict.fromkeys(("actionTime", "profileId", "purchasedItem")) | {
            "purchaseAmount": amount
        }
    events = [*views, sale, follow]
    for event in events:
        for part in ("user", "engagement"):
            event["data"][part] = dict.fromkeys(stray, wild) | event["data"][part]
    return events


async def test_money_is_exact(database: str) -> None:
    largest = "999999999999999.999999"
    amounts = ["0.1", "0.2", None, largest, "0.000001", "000000000000001.5", "0"]
    async with opened(database) as pool:
        await append(
            pool,
            "facebook",
            packed(*(facebook(number, amount=amount) for number, amount in enumerate(amounts))),
        )

    found = {key[0]: sums for key, sums in found_counts(database).items()}
    assert found["minute"] == found["day"] == (7, 7, 6, Decimal("0.300001") + Decimal(largest) + Decimal("1.5"))
    assert str(scalar(database, "SELECT amount FROM events WHERE event_id = 'e3'")) == largest


async def test_every_day_has_its_place(database: str) -> None:
    today = datetime.now(UTC)
    moments = ["2024-02-29T23:59:59.999999+14:00", "1970-01-01T00:00:00+14:59", "2099-12-31T23:59:59-14:59",
               today.isoformat(), (today + timedelta(days=400)).isoformat()]  # fmt: skip
    events = [facebook(number, timestamp=moment) for number, moment in enumerate(moments)]
    async with opened(database) as pool:
        assert (await append(pool, "facebook", packed(*events))).new == 5
        assert (await append(pool, "facebook", packed(*events))).new == 0

    assert_holds(database, parsed(packed(*events)))


POISON = {
    "time": facebook(1, timestamp="tomorrow at noon"),
    "infinite time": facebook(1, timestamp="infinity"),
    "year 10000": facebook(1, timestamp="10000-01-01T00:00:00Z"),
    "no id": {name: value for name, value in facebook(1).items() if name != "eventId"},
    "long id": facebook(1, eventId="".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9000))),
    "null character": facebook(1, eventId="a\0b"),
    "NaN": facebook(1, amount="NaN"),
    "infinite amount": facebook(1, amount="Infinity"),
    "negative amount": facebook(1, amount="-1"),
    "stage": facebook(1, funnelStage="middle"),
    "age": tiktok(1, data={"user": {"userId": "u", "followers": "many"}, "engagement": {}}),
    "no user": tiktok(1, data={}),
    "null for data": facebook(1, data=None),
}


async def test_what_would_spoil_the_store_is_refused_and_nothing_of_its_batch_is_stored(database: str) -> None:
    async with opened(database) as pool:
        for name, poison in POISON.items():
            neighbour = (facebook if poison["source"] == "facebook" else tiktok)(2)
            with pytest.raises(Refused):
                await append(pool, poison["source"], packed(neighbour, poison))
            assert scalar(database, "SELECT count(*) FROM events") == 0, name

    assert_holds(database, [])


async def test_columns_and_json_store_the_same(database: str) -> None:
    """A batch that has an event with a number for its id goes as one JSON array, and so did all of earlier releases."""
    occurrences = [one.body for one in random_events(seed=11, count=300) if one.body["source"] == "facebook"]
    odd = [
        facebook(1000 + number, eventId=text)
        for number, text in enumerate(["ü\u2028 ", "a\nb", '"', "\\", "\x7f", "😀"])
    ]
    events = [*occurrences, *odd, facebook(2000, amount="1.50")]
    events[-1]["data"]["more"] = {"a": [1e300, -0.0, None, {}], "b": 2**60}
    runs = [RequestRun("one", None, 7), RequestRun("", None, len(events) - 7)]
    rows = (
        "SELECT json_agg(to_jsonb(e) - 'stored_at' ORDER BY event_id, \"timestamp\")::text FROM"
        " (SELECT *, pg_column_size(data) AS size FROM events WHERE event_id <> '7') AS e"
    )
    batches = packed(*events), packed(*events, facebook(3000, eventId=7))
    assert [columns(batch) is None for batch in batches] == [False, True]
    stored = []
    async with opened(database) as pool:
        for extra, batch in enumerate(batches):
            assert (await append(pool, "facebook", batch, runs)).new == len(events) + extra
            assert_holds(database, [*parsed(packed(*events)), *([facebook(3000, eventId="7")] * extra)])
            stored.append(scalar(database, rows))
            async with connection(pool) as one:
                await one.execute("DELETE FROM events")
                for table in ("events", "dimensions", "users", "campaigns"):
                    await one.execute(f"DELETE FROM rollup_{table}_batch")  # type: ignore[call-overload]
    assert stored[0] == stored[1]


def test_null_for_data_is_no_data_in_columns_too(database: str) -> None:
    parameters = columns(packed(facebook(1, data=None), facebook(2)))
    assert parameters
    with psycopg.connect(database) as connection:
        connection.adapters.register_dumper(TextArray, TextArrayDumper)
        rows = connection.execute(f"SELECT data IS NULL FROM ({statement('append_columns')}) AS event", parameters)
        assert rows.fetchall() == [(True,), (False,)]


async def test_what_is_no_batch_is_refused(database: str) -> None:
    async with opened(database) as pool:
        assert (await append(pool, "facebook", b"[]")).new == 0
        for text in (b"", b"{", b"[1,2]", b'"text"', b"null", b"[" * 20000 + b"]" * 20000, b"[{}]"):
            with pytest.raises(Refused):
                await append(pool, "facebook", text)


def unfolded(database: str, source: str = "%") -> int:
    """How many rows of appends wait to be folded."""
    batches = "SELECT source FROM rollup_events_batch UNION ALL SELECT source FROM rollup_dimensions_batch"
    users = "UNION ALL SELECT source FROM rollup_users_batch UNION ALL SELECT source FROM rollup_campaigns_batch"
    return scalar(database, f"SELECT count(*) FROM ({batches} {users}) AS b WHERE source LIKE %s", source)


async def fold(pool: Pool, source: str) -> int:
    async with connection(pool) as one:
        return await rollups.fold(one, built_in(source))


async def test_folding_changes_nothing_that_reports_add_up(database: str) -> None:
    batches = pregenerate(3, 4, 800, now=NOON)
    events = [event for batch in batches for event in parsed(batch.body)]
    async with opened(database) as pool:
        for batch in batches:
            for source in ("facebook", "tiktok"):
                await append(pool, source, of_source(batch.body, source))
                # The next batch meets rows that are folded, and rows that are not.
                if batch.index % 2:
                    await fold(pool, source)
        assert_holds(database, events)
        assert await fold(pool, "facebook") >= 0
        assert unfolded(database, "facebook") == 0
        assert await fold(pool, "facebook") == 0
    assert_holds(database, events)


async def test_many_fold_while_others_append(database: str) -> None:
    batches = pregenerate(4, 12, 300, now=NOON)
    events = [event for batch in batches for event in parsed(batch.body)]
    async with opened(database, size=6) as pool:
        appends = [
            append(pool, name, of_source(batch.body, name)) for batch in batches for name in ("facebook", "tiktok")
        ]
        folds = [fold(pool, name) for _ in range(8) for name in ("facebook", "tiktok")]
        jobs = [job for pair in zip(appends, folds, strict=False) for job in pair] + appends[len(folds) :]
        await asyncio.gather(*jobs)
        assert_holds(database, events)
        for name in ("facebook", "tiktok"):
            await fold(pool, name)
    assert unfolded(database) == 0
    assert_holds(database, events)
