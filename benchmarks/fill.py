"""A store of any size, filled by SQL with events like those of the public publisher, and its rollups by the product."""

from __future__ import annotations

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

SOURCES = ("facebook", "tiktok")
DAYS = 30
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


def fill(database_url: str, events: int, first: date, *, users: int, campaigns: int) -> None:
    """Stores about `events` events of both sources, evenly over DAYS days from `first`, and makes the rollups.

    The users of the events are drawn from so many, and the campaigns of those that have one.
    """
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
