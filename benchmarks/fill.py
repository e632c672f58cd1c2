"""A store of any size, filled by SQL with events like those of the public publisher, and its rollups by the product."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from typing import Any

import orjson
import psycopg
from psycopg import sql

from eventpipeline.publisher import pregenerate
from eventpipeline.sources import built_in
from eventpipeline.store import extract
from eventpipeline.store.partitions import maintain
from eventpipeline.store.rebuild import rebuild
from eventpipeline.store.schema import migrate
from eventpipeline.store.statements import statement

SOURCES = ("facebook", "tiktok")
DAYS = 30
MOST_OF_THEIR_OWN = 10_000_000
_MOST_COPIES = 10
_AT_ONCE = 2
_SAMPLE = 50_000
"""So many different events; each is stored many times, with an id, a time, a user and a campaign of its own."""

_FILL = """
INSERT INTO {partition} (source, event_id, "timestamp", funnel_stage, event_type,
                         user_id, campaign_id, transaction, amount, currency, correlation_id, data)
SELECT source, event_id, "timestamp", funnel_stage, event_type, {user_id}, {campaign_id}, {is_transaction}, {amount},
       {currency}, md5((number / 500)::text), data
FROM (
    SELECT sample.source, {prefix} || lpad(to_hex(series.number), 16, '0') AS event_id,
           {first}::timestamptz + series.number * (interval '1 day' / {count}) AS "timestamp",
           sample.funnel_stage, sample.event_type, series.number,
           jsonb_set(
               CASE WHEN sample.data #> '{{engagement,campaignId}}' IS NULL THEN sample.data
                    ELSE jsonb_set(sample.data, '{{engagement,campaignId}}',
                                   to_jsonb('campaign ' || (random() * {campaigns})::integer)) END,
               '{{user,userId}}', to_jsonb('user ' || (random() * {users})::integer)) AS data
    FROM generate_series(0, {count}::bigint - 1) AS series (number)
    JOIN sample ON sample.number = (series.number * 7919 + {shift}) % {sample} AND sample.source = {source}
    ORDER BY series.number  -- rows lie in the order of their time, as they do where they were appended
) AS event
"""


_MULTIPLY = """
INSERT INTO {copy} (source, event_id, "timestamp", funnel_stage, event_type,
                    user_id, campaign_id, transaction, amount, currency, correlation_id, stored_at, data)
SELECT source, event_id || number, {at} + number * interval '1 microsecond', funnel_stage, event_type,
       user_id, campaign_id, transaction, amount, currency, correlation_id, stored_at,
       jsonb_strip_nulls(jsonb_build_object(
           'user', jsonb_build_object(
               'age', data #> '{{user,age}}', 'gender', data #> '{{user,gender}}',
               'location', data #> '{{user,location}}', 'followers', data #> '{{user,followers}}'),
           'engagement', jsonb_build_object(
               'country', data #> '{{engagement,country}}', 'device', data #> '{{engagement,device}}',
               'watchTime', data #> '{{engagement,watchTime}}',
               'percentageWatched', data #> '{{engagement,percentageWatched}}')))
FROM (SELECT * FROM {partition} ORDER BY "timestamp" OFFSET 0) AS event
CROSS JOIN generate_series(0, {copies} - 1) AS copies (number)
"""

_ROLLUPS_MULTIPLIED = """
UPDATE rollup_events
SET events = events * %(copies)s, transactions = transactions * %(copies)s, amounts = amounts * %(copies)s,
    revenue = revenue * %(copies)s;
UPDATE rollup_campaigns
SET transactions = ARRAY(SELECT each * %(copies)s FROM unnest(transactions) AS each),
    amounts = ARRAY(SELECT each * %(copies)s FROM unnest(amounts) AS each),
    revenue = ARRAY(SELECT each * %(copies)s FROM unnest(revenue) AS each)
WHERE campaign_id IS NOT NULL;
UPDATE rollup_dimensions
SET events = ARRAY(SELECT each * %(copies)s FROM unnest(events) AS each),
    total = ARRAY(SELECT each * %(copies)s FROM unnest(total) AS each), beyond = beyond * %(copies)s
"""


def fill(database_url: str, events: int, first: date, *, users: int, campaigns: int) -> None:
    """Stores about `events` events of both sources, evenly over DAYS days from `first`, and makes the rollups.

    The users of the events are drawn from so many, and the campaigns of those that have one. Of more than
    MOST_OF_THEIR_OWN events each is one of several copies: see `multiply`. Raises ValueError for too many.
    """
    copies = -(-events // MOST_OF_THEIR_OWN)
    if copies > _MOST_COPIES:
        raise ValueError(f"{events:,} events are more than {MOST_OF_THEIR_OWN * _MOST_COPIES:,}")
    _fill(database_url, events // copies, first, users, campaigns)
    if copies > 1:
        multiply(database_url, first, copies)


def multiply(database_url: str, first: date, copies: int) -> None:
    """Stores each event so many times, and multiplies the rollups.

    The copies have an id and a time of their own, in the same ten microseconds, so that they are of the same bucket of
    each rollup: there can be ten. Of what came with an event they have only what reports read: so many whole
    rows would not fit on a small disk.
    """
    days = [first + timedelta(days=offset) for offset in range(DAYS)]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        list(threads.map(lambda day: _multiply_day(database_url, day, copies), days))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET work_mem = '256MB'")
        for update in _ROLLUPS_MULTIPLIED.split(";"):
            connection.execute(sql.SQL(update), {"copies": copies})
        for table in ("rollup_events", "rollup_campaigns", "rollup_dimensions"):  # each row is there twice
            connection.execute(sql.SQL("VACUUM FULL {}").format(sql.Identifier(table)))
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _multiply_day(database_url: str, day: date, copies: int) -> None:
    partition, copy = sql.Identifier(f"events_{day:%Y%m%d}"), sql.Identifier(f"copies_{day:%Y%m%d}")
    first, last = (sql.Literal(f"{bound.isoformat()}T00:00:00Z") for bound in (day, day + timedelta(days=1)))
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'; SET synchronous_commit = off")
        connection.execute(sql.SQL("CREATE TABLE {} (LIKE {} INCLUDING ALL)").format(copy, partition))
        at = sql.SQL("date_bin('10 microseconds', \"timestamp\", '2000-01-01T00:00:00Z')")
        connection.execute(sql.SQL(_MULTIPLY).format(copy=copy, partition=partition, copies=sql.Literal(copies), at=at))
        with connection.transaction():
            connection.execute(sql.SQL("DROP TABLE {}").format(partition))
            connection.execute(sql.SQL("ALTER TABLE {} RENAME TO {}").format(copy, partition))
            attach = sql.SQL(statement("attach_partition"))
            connection.execute(attach.format(partition=partition, first=first, last=last))


def _fill(database_url: str, events: int, first: date, users: int, campaigns: int) -> None:
    migrate(database_url)
    days = [first + timedelta(days=offset) for offset in range(DAYS)]
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET timezone = 'UTC'; SET synchronous_commit = off; SET work_mem = '256MB'")
        _take_sample(connection)
        for number, day in enumerate(days):
            maintain(database_url, day, None)
            for source in SOURCES:
                connection.execute(_statement(source, day, number, events // DAYS, users, campaigns))
    rebuild(database_url, [built_in(source) for source in SOURCES])
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")


def _take_sample(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        "CREATE TEMPORARY TABLE sample (number integer, source text, funnel_stage text, event_type text, data jsonb)"
    )
    (batch,) = pregenerate(1, 1, _SAMPLE, now=datetime.now().astimezone())
    with connection.cursor().copy("COPY sample FROM STDIN") as copy:
        for number, event in enumerate(orjson.loads(batch.body)[:_SAMPLE]):
            names = (event["source"], event["funnelStage"], event["eventType"])
            copy.write_row((number, *names, orjson.dumps(event["data"]).decode()))
    connection.execute("CREATE INDEX ON sample (number); ANALYZE sample")


def _statement(source: str, day: date, number: int, count: int, users: int, campaigns: int) -> sql.Composed:
    declared = built_in(source)
    return sql.SQL(_FILL).format(
        partition=sql.Identifier(f"events_{day:%Y%m%d}"),
        source=sql.Literal(source),
        prefix=sql.Literal(f"{source}-{day:%m%d}-"),
        first=sql.Literal(f"{day.isoformat()}T00:00:00Z"),
        count=sql.Literal(count),
        shift=sql.Literal(number * 104_729),
        sample=sql.Literal(_SAMPLE),
        users=sql.Literal(users),
        campaigns=sql.Literal(campaigns),
        user_id=extract.user_id(declared),
        campaign_id=extract.campaign_id(declared),
        is_transaction=extract.is_transaction(declared),
        amount=extract.amount(declared),
        currency=extract.currency(declared),
    )
