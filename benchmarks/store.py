"""Store size: bytes a row of the events, part by part, and of the rollups, after real appends.

    make bench NAME=store
    .venv/bin/python -m benchmarks.store --events 500000

See README.md beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg

from benchmarks import machine
from benchmarks.servers import postgres_server
from eventpipeline.cli.output import print_table
from eventpipeline.publisher import pregenerate
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.partitions import maintain
from eventpipeline.store.rollups import fold
from eventpipeline.store.schema import migrate

_SOURCES = ("facebook", "tiktok")
_BATCH = 10_000
_GOAL = 330
_START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_RATE = 10_000
"""Events a second of the time that the events are of."""

_PARTS = """
SELECT coalesce('index ' || coalesce(parent.relname, index.relname), 'table') AS part,
       sum(pg_relation_size(coalesce(index.oid, tree.relid)))
FROM pg_partition_tree('events') AS tree
LEFT JOIN LATERAL (
    SELECT NULL::oid AS oid, NULL::name AS relname
    UNION ALL
    SELECT pg_class.oid, pg_class.relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE indrelid = tree.relid
) AS index ON true
LEFT JOIN pg_inherits ON inhrelid = index.oid
LEFT JOIN pg_class AS parent ON parent.oid = inhparent
WHERE tree.isleaf
GROUP BY 1 ORDER BY 1 DESC"""
_COLUMNS = """
SELECT avg(pg_column_size(data)), avg(pg_column_size(event_id)), avg(pg_column_size(user_id)),
       avg(pg_column_size(correlation_id)), avg(coalesce(pg_column_size(campaign_id), 0)), avg(pg_column_size(events.*))
FROM events"""
_ROLLUPS = """
SELECT relname, pg_total_relation_size(oid) FROM pg_class
WHERE relkind = 'r' AND relname ~ '^rollup_(events|dimensions|users|campaigns)$' ORDER BY 1"""

_KNOWN = "data #- '{user,userId}' #- '{engagement,campaignId}' #- '{engagement,purchaseAmount}'"
_LAYOUTS = {
    "as it is": ("text", "data"),
    "data as json, not jsonb": ("text", "data::json"),
    "data without what has a column": ("text", _KNOWN),
    "the same, values without their names": ("text", f"jsonb_path_query_array({_KNOWN}, '$.*.*')"),
    "the same, ids as uuid": ("uuid", f"jsonb_path_query_array({_KNOWN}, '$.*.*')"),
    "no data at all": ("text", "NULL"),
}
"""What else a row could be: the type of its ids, and what it has of the event's `data`."""
_LAYOUT = """
CREATE TEMPORARY TABLE layout ON COMMIT DROP AS
SELECT "timestamp", stored_at, event_id::{ids}, user_id::{ids}, correlation_id, source, funnel_stage, event_type,
       campaign_id, transaction, amount, currency, {data} AS data
FROM events"""


def main(arguments: Sequence[str]) -> int:
    """The exit code is 0: the goal is told, not held."""
    parser = argparse.ArgumentParser(prog="benchmarks.store", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=int(os.environ.get("STORE_EVENTS", "500000")))
    parser.add_argument("--folder", default=os.environ.get("STORE_FOLDER", "/var/tmp"))
    wanted = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="eventpipeline-store-", dir=wanted.folder) as folder,
        postgres_server(Path(folder)) as server,
    ):
        asyncio.run(_store(server.url, wanted.events))
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("VACUUM (ANALYZE)")
            measured = _measured(connection) | {"layouts": _layouts(connection)}
    rows = [(name, round(size, 1)) for part in ("parts", "columns", "rollups") for name, size in measured[part].items()]
    print_table(
        f"Bytes a row, {measured['rows']:,} rows", ("", "bytes"), [*rows, ("events, all parts", measured["row"])]
    )
    print_table(
        "Other layouts of the table",
        ("", "bytes a row"),
        [(name, round(size, 1)) for name, size in measured["layouts"].items()],
    )
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": {"events": wanted.events}}
    print(json.dumps({"benchmark": "store", "goal": _GOAL, **measured, **about}), flush=True)
    return 0


async def _store(database: str, events: int) -> None:
    migrate(database)
    maintain(database, _START.date(), None)
    async with await psycopg.AsyncConnection.connect(database, autocommit=True) as connection:
        await connection.execute("SET timezone = 'UTC'")
        for index in range(events // _BATCH):
            now = _START + timedelta(seconds=index * _BATCH / _RATE)
            (batch,) = pregenerate(index, 1, _BATCH, now=now)
            for name in _SOURCES:
                mine = [event for event in orjson.loads(batch.body) if event["source"] == name]
                await Appender(built_in(name)).append(connection, orjson.dumps(mine))
                await fold(connection, built_in(name))


def _measured(connection: psycopg.Connection[Any]) -> dict[str, Any]:
    (count,) = connection.execute("SELECT count(*) FROM events").fetchone() or (1,)
    parts = {name: int(size) / count for name, size in connection.execute(_PARTS).fetchall()}
    names = ("data", "event_id", "user_id", "correlation_id", "campaign_id", "the whole row")
    sizes = connection.execute(_COLUMNS).fetchone() or ()
    columns = {f"  of it {name}": float(size or 0) for name, size in zip(names, sizes, strict=True)}
    rollups = {name: int(size) / count for name, size in connection.execute(_ROLLUPS).fetchall()}
    return {"rows": count, "row": round(sum(parts.values()), 1), "parts": parts, "columns": columns, "rollups": rollups}


def _layouts(connection: psycopg.Connection[Any]) -> dict[str, float]:
    """Bytes a row of the table alone, were it of another layout."""
    found = {}
    for name, (ids, data) in _LAYOUTS.items():
        with connection.transaction():
            connection.execute(_LAYOUT.format(ids=ids, data=data).encode())
            (size,) = connection.execute(
                "SELECT pg_relation_size('layout')::float8 / count(*) FROM layout"
            ).fetchone() or (0.0,)
        found[name] = size
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
