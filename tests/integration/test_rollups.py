"""The rollups made anew and compared with the events, an upgrade of an older store, and what reports read."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import orjson
import psycopg
import pytest

from eventpipeline.publisher import pregenerate
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.rebuild import check, chunks
from eventpipeline.store.rollups import fold
from eventpipeline.store.schema import migrate, migrations
from eventpipeline.store.windows import STEPS_TO_DAY
from reporter_client import ask, reporter
from stored import assert_holds, of_source, parsed, scalar

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
SOURCES = ("facebook", "tiktok")
BATCHES = pregenerate(9, 6, 400, now=NOON)


def store(database: str, *, folded: bool) -> list[dict[str, Any]]:
    """Stores BATCHES a minute apart, over midnight; returns their events."""

    async def append() -> list[dict[str, Any]]:
        events = []
        async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
            for index, batch in enumerate(BATCHES):
                day = f"2025-03-0{1 + index % 2}T1{index}:"
                body = re.sub(rb'"timestamp":\s*"2025-03-01T1[12]:', f'"timestamp":"{day}'.encode(), batch.body)
                events += parsed(body)
                for name in SOURCES:
                    await Appender(built_in(name)).append(connection, of_source(body, name))
                    if folded and index < 4:
                        await fold(connection, built_in(name))
        return events

    return asyncio.run(append())


def rollups(database: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "eventpipeline", "rollups", *arguments, "--database-url", database]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def execute(database: str, statement: LiteralString) -> int:
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        return connection.execute(statement).rowcount


def test_rollups_made_anew_are_the_same(database: str) -> None:
    events = store(database, folded=True)
    assert_holds(database, events)
    assert (rollups(database, "check").returncode, rollups(database, "check", "--output", "json").stdout) == (0, "[]\n")

    execute(database, "TRUNCATE rollup_events, rollup_users_batch, rollup_dimensions, rollup_campaigns")
    made = rollups(database, "rebuild")

    assert (made.returncode, made.stdout) == (0, f"counted {len(events):,} events of facebook, tiktok\n"), made.stderr
    assert_holds(database, events)
    assert rollups(database, "check").returncode == 0


PLANTED: list[tuple[LiteralString, str]] = [
    ("UPDATE rollup_events SET events = events + 1 WHERE step = 'hour' AND event_type = 'ad.view'",
     "rollup_events facebook hour .* top ad.view: "),
    ("UPDATE rollup_events SET revenue = revenue + 0.01 WHERE step = 'day' AND event_type = 'purchase'",
     "rollup_events tiktok day .* bottom purchase: "),
    ("UPDATE rollup_events SET events = events + 1 WHERE step = 'week' AND source = 'tiktok'",
     "rollup_events tiktok week "),
    ("DELETE FROM rollup_events_batch WHERE source = 'tiktok'", "rollup_events tiktok day "),
    ("UPDATE rollup_campaigns SET transactions[1] = transactions[1] + 1 WHERE step = 'six_hours'",
     "rollup_campaigns facebook six_hours .* transactions"),
    ("UPDATE rollup_campaigns SET revenue[1] = revenue[1] + 1 WHERE step = 'ten_minutes' AND source = 'tiktok'",
     "rollup_campaigns tiktok ten_minutes "),
    ("DELETE FROM rollup_campaigns_batch WHERE source = 'facebook'", "rollup_campaigns facebook day "),
    ("UPDATE rollup_dimensions SET events[1] = events[1] + 1 WHERE step = 'minute' AND dimension = 'genders'",
     "rollup_dimensions facebook minute .* genders "),
    ("UPDATE rollup_dimensions SET events[1] = events[1] - 1 WHERE step = 'week' AND dimension = 'countries'",
     "rollup_dimensions tiktok week .* countries "),
    ("UPDATE rollup_dimensions SET beyond = beyond - 1 WHERE beyond > 1", "rollup_dimensions facebook .* cities: "),
    ("UPDATE rollup_dimensions SET total[1] = 0 WHERE dimension = 'averageWatchTime' AND step = 'day'",
     "rollup_dimensions tiktok day .* averageWatchTime: "),
    ("UPDATE rollup_users SET registers = set_byte(registers, 7, 50) WHERE step = 'hour' AND source = 'facebook'",
     "rollup_users facebook hour .* users"),
    ("DELETE FROM rollup_users_batch WHERE source = 'facebook'", "rollup_users facebook day .* users"),
]  # fmt: skip


TABLES = ("rollup_events", "rollup_campaigns", "rollup_dimensions", "rollup_users")


def test_whatever_differs_is_found_and_said(database: str) -> None:
    events = store(database, folded=True)
    tables = [*TABLES, *(f"{table}_batch" for table in TABLES)]
    with psycopg.connect(database, autocommit=True) as connection:
        for table in tables:
            connection.execute(f"CREATE TABLE right_{table} AS TABLE {table}")  # type: ignore[call-overload]
        for planted, said in PLANTED:
            assert connection.execute(planted).rowcount > 0, planted
            found = check(database, [built_in(name) for name in SOURCES])
            assert any(re.search(said, str(difference)) for difference in found), (planted, found)
            connection.execute(f"TRUNCATE {', '.join(tables)}")  # type: ignore[call-overload]
            for table in tables:
                connection.execute(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE TABLE right_{table}")  # type: ignore[call-overload]
        connection.execute(PLANTED[0][0])
    said = rollups(database, "check")
    assert said.returncode == 1
    assert "the rollups are not those of the events; rebuild them" in said.stdout
    assert rollups(database, "rebuild").returncode == 0
    assert_holds(database, events)


def checkouts(numbers: Iterable[int], minute: Callable[[int], int]) -> bytes:
    """Transactions of 1.00, each of a campaign of its own, so many minutes after noon."""
    return orjson.dumps(
        [
            {
                "eventId": f"e{number}", "timestamp": NOON + timedelta(minutes=minute(number)),
                "source": "facebook", "funnelStage": "bottom", "eventType": "checkout.complete",
                "data": {"user": {"userId": "u"}, "engagement": {"campaignId": f"c{number}", "purchaseAmount": "1"}},
            }
            for number in numbers
        ]
    )  # fmt: skip


async def test_campaigns_that_are_too_many_are_counted_from_the_events(database: str) -> None:
    first, last = f"{NOON:%Y-%m-%dT%H:%M:%SZ}", f"{NOON + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    asked = {"from_": first, "to": last, "groupBy": "campaign", "limit": 1000}
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        reporter(database) as http,
    ):
        for start, count in ((0, 900), (900, 50), (950, 51), (1001, 9)):
            numbers = range(start, start + count)
            await Appender(built_in("facebook")).append(connection, checkouts(numbers, lambda number: number // 900))
            for _ in range(2):  # before it is folded, and after
                found = await ask(http, "/reports/revenue", **asked)
                assert (found["total"], found["transactions"]) == (f"{start + count}.00", start + count)
                assert len({item["campaignId"] for item in found["items"]}) == min(start + count, 1000)
                one = await ask(http, "/reports/revenue", from_=first, to=last, campaignId=f"c{start}")
                assert (one["total"], len(one["items"])) == ("1.00", 1)
                await fold(connection, built_in("facebook"))
    kept = "SELECT count(*) FROM rollup_campaigns WHERE campaign_id IS NOT NULL AND step = "
    assert scalar(database, kept + "'day'") == 0, "1,010 campaigns of a day are more than are kept"
    assert scalar(database, kept + "'minute'") == 2
    assert rollups(database, "check").returncode == 0


async def test_a_minute_with_too_many_campaigns_takes_all_that_it_is_part_of_with_it(database: str) -> None:
    first, last = f"{NOON:%Y-%m-%dT%H:%M:%SZ}", f"{NOON + timedelta(minutes=5):%Y-%m-%dT%H:%M:%SZ}"
    given_up = "SELECT count(*) FROM rollup_campaigns WHERE campaign_id IS NULL"
    kept = "SELECT coalesce(sum(cardinality(campaign_id)), 0) FROM rollup_campaigns WHERE step = "
    async with (
        await psycopg.AsyncConnection.connect(database, autocommit=True) as connection,
        reporter(database) as http,
    ):
        # Those of the second fold are too many on their own; ten of them are of the minute after.
        for start, stop, expected in ((0, 30, (0, 30, 30)), (30, 1041, (5, 10, 0)), (1041, 1046, (5, 10, 0))):
            appended = checkouts(range(start, stop), lambda number: int(1031 <= number < 1041))
            await Appender(built_in("facebook")).append(connection, appended)
            await fold(connection, built_in("facebook"))
            found = (scalar(database, given_up), scalar(database, kept + "'minute'"), scalar(database, kept + "'day'"))
            assert found == expected
            report = await ask(http, "/reports/revenue", from_=first, to=last, groupBy="campaign", limit=1000)
            assert (report["total"], report["transactions"]) == (f"{stop}.00", stop)
    assert rollups(database, "check").returncode == 0


async def test_what_a_bucket_has_is_added_once_to_all_of_its_minutes(database: str) -> None:
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for start in (0, 10, 20):
            appended = checkouts(range(start, start + 10), lambda number: number % 5)
            await Appender(built_in("facebook")).append(connection, appended)
            await fold(connection, built_in("facebook"))
    assert rollups(database, "check").returncode == 0


async def test_old_events_of_thousands_of_minutes_are_folded_in_seconds(database: str) -> None:
    minutes = 30_000
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        for start in range(0, minutes, 5000):
            old = checkouts(range(start, start + 5000), lambda number: number - minutes)
            await Appender(built_in("facebook")).append(connection, old)
        # It took 0.3 s, and a minute when the lines of minutes were compared with all of the buckets.
        await connection.execute("SET statement_timeout = '15s'")
        await fold(connection, built_in("facebook"))
    kept = "SELECT coalesce(sum(cardinality(campaign_id)), 0) FROM rollup_campaigns WHERE step = "
    found = [scalar(database, kept + f"'{step}'") for step in STEPS_TO_DAY]
    # A whole day has 1,440 campaigns, more than are kept; the first here has 480 of them, and the last 720.
    assert found == [minutes, minutes, minutes, minutes, 480 + 720]


def test_days_that_retention_dropped_keep_their_rollups(database: str) -> None:
    store(database, folded=True)
    before = scalar(database, "SELECT sum(events) FROM rollup_events WHERE step = 'day'")
    execute(database, "INSERT INTO dropped_days (day) VALUES ('2025-03-01')")
    execute(database, "DELETE FROM events WHERE \"timestamp\" < '2025-03-02'")

    assert rollups(database, "check").returncode == 0
    assert rollups(database, "rebuild").returncode == 0

    assert scalar(database, "SELECT sum(events) FROM rollup_events WHERE step = 'day'") == 6 * 400 > before
    assert rollups(database, "check").returncode == 0
    # Its week cannot be counted again, and is the sum of its days.
    assert scalar(database, "SELECT count(DISTINCT start) FROM rollup_events WHERE step = 'week'") == 1
    assert scalar(database, "SELECT sum(events) FROM rollup_events WHERE step = 'week'") == 6 * 400
    of_minutes, of_weeks = (
        scalar(database, f"SELECT {IN_DIMENSIONS} FROM rollup_dimensions WHERE step = '{step}'")
        for step in ("minute", "week")
    )
    assert of_weeks == of_minutes


IN_DIMENSIONS = """
(sum(beyond + coalesce((SELECT sum(e) FROM unnest(events) AS e), 0)), sum((SELECT sum(t) FROM unnest(total) AS t)))"""


def test_weeks_are_made_of_the_days_of_an_older_store(database: str) -> None:
    events = store(database, folded=True)
    with psycopg.connect(database, autocommit=True) as connection:
        connection.execute(BEFORE_WEEKS)

    assert migrate(database)[0] == "0006_weeks"

    assert_holds(database, events)
    assert scalar(database, "SELECT count(DISTINCT start) FROM rollup_events WHERE step = 'week'") == 1
    assert rollups(database, "check").returncode == 0


BEFORE_WEEKS = """
DELETE FROM rollup_events WHERE step = 'week';
DELETE FROM rollup_dimensions WHERE step = 'week';
DROP VIEW dropped_weeks;
DROP FUNCTION weeks_of_events, weeks_of_dimensions, edge_of_source;
CREATE OR REPLACE VIEW rollup_steps (step, length) AS
VALUES ('minute', interval '1 minute'), ('ten_minutes', interval '10 minutes'), ('hour', interval '1 hour'),
       ('six_hours', interval '6 hours'), ('day', interval '1 day');
DELETE FROM schema_versions WHERE version > 5"""


async def test_weeks_of_campaigns_that_a_collector_of_before_folded_are_not_read(database: str) -> None:
    await asyncio.to_thread(store, database, folded=True)
    asked = {"from_": "2025-03-01T00:00:00Z", "to": "2025-03-08T00:00:00Z", "groupBy": "campaign", "source": "tiktok"}
    async with reporter(database) as http:
        before = await ask(http, "/reports/revenue", **asked)
        assert execute(database, WEEK_OF_CAMPAIGNS) == 1
        assert await ask(http, "/reports/revenue", **asked) == before
    assert (await asyncio.to_thread(rollups, database, "check")).returncode == 0


WEEK_OF_CAMPAIGNS = """
INSERT INTO rollup_campaigns (step, start, source, campaign_id, transactions, amounts, revenue)
VALUES ('week', '2025-03-01T00:00:00Z', 'tiktok', '{c}', '{9}', '{9}', '{9}')"""


def test_a_database_that_is_away_is_said_to_be() -> None:
    found = rollups("postgresql://nobody@127.0.0.1:9/none", "check")
    assert found.returncode == 1
    assert "Postgres did not answer" in found.stderr


def test_events_are_counted_in_pieces_of_about_the_same_size() -> None:
    minutes = [(NOON + timedelta(minutes=number), 20_000) for number in (0, 1, 2, 5, 6)]
    assert [(window.start, window.end) for window in chunks(minutes)] == [
        (NOON, NOON + timedelta(minutes=2)),
        (NOON + timedelta(minutes=2), NOON + timedelta(minutes=6)),
        (NOON + timedelta(minutes=6), NOON + timedelta(minutes=7)),
    ]
    assert list(chunks([])) == []


FIRST_SCHEMA = """
INSERT INTO rollup_minute
SELECT date_trunc('minute', "timestamp", 'UTC'), source, funnel_stage, event_type, NULL,
       count(*), count(*) FILTER (WHERE transaction), count(amount), coalesce(sum(amount), 0)
FROM events GROUP BY 1, 2, 3, 4;
INSERT INTO rollup_demographics_hour
SELECT date_trunc('hour', "timestamp", 'UTC'), source, 'genders', data #>> '{user,gender}', count(*), 0
FROM events WHERE source = 'facebook' GROUP BY 1, 2, 4;
INSERT INTO rollup_demographics_batch (hour, source, dimension, value, events, total)
SELECT date_trunc('hour', "timestamp", 'UTC'), source, 'averageAge', ARRAY[''], ARRAY[count(*)],
       ARRAY[sum((data #>> '{user,age}')::numeric)]
FROM events WHERE source = 'facebook' GROUP BY 1, 2"""


@pytest.fixture
def upgraded(empty_database: str) -> str:
    """A store with data of the first schema, and the present one."""
    newest = empty_database
    migrate(newest)
    store(newest, folded=False)
    with psycopg.connect(newest, options="-c timezone=UTC") as connection:
        rows = connection.execute("SELECT * FROM events").fetchall()
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    migrate(newest, migrations()[:1])
    with psycopg.connect(newest, options="-c timezone=UTC") as connection:
        with connection.cursor().copy("COPY events FROM STDIN") as copy:
            for row in rows:
                copy.write_row([*row[:-1], json.dumps(row[-1])])
        connection.execute(FIRST_SCHEMA)
    assert migrate(newest) == tuple(migration.name for migration in migrations()[1:])
    return newest


async def test_an_older_store_is_upgraded_and_its_reports_stay_right(upgraded: str) -> None:
    assert scalar(upgraded, "SELECT sum(events) FROM rollup_minute") == 2400
    window = {"from_": f"{NOON.isoformat()}", "to": (NOON + timedelta(hours=26, minutes=30)).isoformat()}
    async with reporter(upgraded) as client:
        totals = await ask(client, "/reports/events", **window)
        before = await ask(client, "/reports/demographics", source="facebook", **window)
        exact = await ask(client, "/reports/demographics", source="facebook", exact="true", **window)
        money = await ask(client, "/reports/revenue", **window)
        uncounted = await ask(client, "/reports/revenue", groupBy="campaign", **window)
    (item,), (counted,) = before["items"], exact["items"]
    assert totals["total"] > 0
    assert uncounted["total"] == money["total"] != "0.00", "campaigns are counted from the events"
    assert scalar(upgraded, "SELECT count(*) FROM rollup_campaigns") == 0
    assert item["estimates"] == {}, "users are counted, since there are no sketches of them"
    for name in ("users", "genders", "averageAge", "events"):
        assert item[name] == counted[name]

    # What is stored from now on is counted beside; then all of it by the rollups.
    store_again = await asyncio.to_thread(rollups, upgraded, "rebuild")
    assert store_again.returncode == 0, store_again.stderr
    assert scalar(upgraded, "SELECT count(*) FROM rollup_backlog") == 0
    assert scalar(upgraded, "SELECT count(*) FROM rollup_rest") == 0
    async with reporter(upgraded) as client:
        after = await ask(client, "/reports/demographics", source="facebook", **window)
        execute(upgraded, "UPDATE events SET campaign_id = 'not read' WHERE transaction")
        assert await ask(client, "/reports/revenue", groupBy="campaign", **window) == uncounted
        execute(upgraded, "UPDATE events SET campaign_id = data #>> '{engagement,campaignId}' WHERE transaction")
    assert (await asyncio.to_thread(rollups, upgraded, "check")).returncode == 0
    assert "users" in after["items"][0]["estimates"]
    assert after["items"][0]["genders"] == counted["genders"]
