"""No report reads all events of a day: the plan of each statement, as Postgres ran it."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any, LiteralString

import psycopg
import pytest
import pytest_asyncio

from eventpipeline.sources import built_in
from eventpipeline.store import StoreUnavailable, reports
from eventpipeline.store.partitions import maintain
from eventpipeline.store.pool import Pool, open_pool
from eventpipeline.store.rebuild import rebuild
from eventpipeline.store.reports import Connection, Selection
from eventpipeline.store.windows import STEPS, Window

FIRST, DAYS = date(2025, 3, 1), 3
FILL: LiteralString = """
INSERT INTO events (source, event_id, "timestamp", funnel_stage, event_type, user_id, campaign_id, transaction, amount,
                    data)
SELECT CASE number % 2 WHEN 0 THEN 'facebook' ELSE 'tiktok' END, 'e' || number,
       '2025-03-01T00:00:00Z'::timestamptz + number * interval '4 seconds', 'bottom', 'purchase', 'u' || number % 999,
       'c' || number % 50, number % 7 = 0, 1.5, '{"user": {"followers": 5}, "engagement": {"watchTime": 1}}'
FROM generate_series(0, 64799) AS number"""
EXPLAIN: tuple[LiteralString, ...] = (
    "LOAD 'auto_explain'",
    "SET auto_explain.log_min_duration = 0",
    "SET auto_explain.log_nested_statements = on",
    "SET client_min_messages = log",
)
READ_THROUGH = "Seq Scan on rollup_(events|campaigns|dimensions|users) "
Ask = Callable[[Connection, Window], Awaitable[Any]]
ASKED: dict[str, Ask] = {
    "events": lambda store, window: reports.events(store, Selection(window)),
    "events by hour": lambda store, window: reports.events(store, Selection(window, "tiktok"), "hour"),
    "events by minute": lambda store, window: reports.events(store, Selection(window), "minute"),
    "revenue": lambda store, window: reports.revenue(store, Selection(window, "facebook")),
    "revenue by day": lambda store, window: reports.revenue(store, Selection(window), interval="day"),
    "revenue by campaign": lambda store, window: reports.revenue(store, Selection(window), by_campaign=True, limit=9),
    "revenue of a campaign": lambda store, window: reports.revenue(store, Selection(window, campaign_id="c7")),
    "users": lambda store, window: reports.users(store, ["facebook", "tiktok"], window, exact=False),
    "demographics": lambda store, window: reports.Demographics(built_in("tiktok")).found(store, window, tuple(STEPS)),
    "totals": lambda store, _: reports.totals(store),
}


@pytest_asyncio.fixture
async def explained(database: str) -> AsyncIterator[tuple[Connection, list[str]]]:
    """A connection like a reporter's to three days of events, and the plans of what it has run."""
    maintain(database, FIRST + timedelta(days=1), None)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(FILL)
    await asyncio.to_thread(rebuild, database, [built_in("facebook"), built_in("tiktok")])
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
    plans: list[str] = []
    options = "-c timezone=UTC -c jit=off -c random_page_cost=1.1 -c plan_cache_mode=force_generic_plan"
    async with await psycopg.AsyncConnection.connect(database, autocommit=True, options=options) as connection:
        for statement in EXPLAIN:
            await connection.execute(statement)
        connection.add_notice_handler(lambda notice: plans.append(notice.message_primary or ""))
        yield connection, plans


async def test_no_report_scans_the_events(explained: tuple[Connection, list[str]]) -> None:
    connection, plans = explained
    rng = random.Random(1)
    midnight = datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC)
    ends = [sorted(rng.random() * DAYS for _ in range(2)) for _ in range(4)] + [[0, DAYS], [1.5, 1.5001]]
    for first, last in ends:
        window = Window(midnight + timedelta(days=first), midnight + timedelta(days=last))
        for name, ask in ASKED.items():
            plans.clear()
            await ask(connection, window)
            assert plans, "auto_explain says nothing"
            for plan in plans:
                assert "Seq Scan on events_2" not in plan, (name, window, plan)
                assert name == "totals" or not re.search(READ_THROUGH, plan), (name, window, plan)


async def test_a_count_of_all_would_be_seen(explained: tuple[Connection, list[str]]) -> None:
    connection, plans = explained
    await reports.users(connection, ["facebook"], Window(), exact=True)
    assert any("Seq Scan on events_2" in plan for plan in plans)


async def test_reports_are_planned_once(explained: tuple[Connection, list[str]], database: str) -> None:
    del explained  # there are events
    async with open_pool(database, name="test", read_only=True, max_size=1) as pool:
        for _ in range(3):
            async with reports.snapshot(pool, sums=True) as store:
                await reports.together(*(reports.events(store, Selection(), interval) for interval in (None, "day")))
        async with reports.snapshot(pool) as store:
            rows = await store.execute(
                "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE statement LIKE '%rollup_events%'"
            )
            assert await rows.fetchall() == [(3, 0), (3, 0)]


async def test_a_report_that_takes_too_long_says_so_and_leaves_its_connection_whole(
    explained: tuple[Connection, list[str]], database: str
) -> None:
    del explained

    async def slow(pool: Pool) -> None:
        async with reports.snapshot(pool, sums=True) as store:
            await store.execute("SET LOCAL statement_timeout = '50ms'")
            counts = reports.events(store, Selection()), reports.events(store, Selection())
            await reports.together(counts[0], store.execute("SELECT pg_sleep(5)"), counts[1])

    async with open_pool(database, name="test", read_only=True, max_size=1) as pool:
        with pytest.raises(StoreUnavailable, match="ask for a shorter time"):
            await slow(pool)
        async with reports.snapshot(pool, sums=True) as store:
            assert (await reports.events(store, Selection())).counts
