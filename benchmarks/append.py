"""What an append costs Postgres, and what other keys would cost: CPU, log, whole pages in it, and the key's size.

    make bench NAME=append
    .venv/bin/python -m benchmarks.append --events 3000000 --times ordered

One Postgres, a database for each variant, the same batches to each in turns, and a checkpoint in the middle: after it
each page that is touched is logged whole once more. See README.md beside this file.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import orjson
import psutil
import psycopg
from psycopg import sql

from benchmarks import machine
from benchmarks.servers import Server, postgres_server
from eventpipeline.cli.output import print_table
from eventpipeline.publisher import pregenerate
from eventpipeline.sources import built_in
from eventpipeline.store.append import Appender
from eventpipeline.store.partitions import maintain
from eventpipeline.store.rollups import fold
from eventpipeline.store.schema import migrate

_SOURCES = ("facebook", "tiktok")
_BATCH = 10_000
_TURN = 10
"""Batches that one variant takes before the next has its turn."""
_START = datetime(2026, 1, 1, 12, tzinfo=UTC)
_RATE = 10_000
_DAYS = 30

_AS_IT_IS = "as it is"
_VARIANTS: dict[str, tuple[LiteralString, ...]] = {
    _AS_IT_IS: (),
    "id first in the key": (
        "ALTER TABLE events DROP CONSTRAINT events_pkey",
        'ALTER TABLE events ADD PRIMARY KEY (event_id, "timestamp", source)',
        'CREATE INDEX events_timestamp ON events USING brin ("timestamp") WITH (pages_per_range = 32)',
    ),
    "source first in the key": (
        "ALTER TABLE events DROP CONSTRAINT events_pkey",
        'ALTER TABLE events ADD PRIMARY KEY (source, "timestamp", event_id)',
    ),
}
"""What is done to the schema of this release."""
_TIMES = ("ordered", "equal", "random")
_KEY = """
SELECT sum(pg_relation_size(indexrelid)) FROM pg_partition_tree('events') AS tree
JOIN pg_index ON indrelid = tree.relid AND indisprimary WHERE tree.isleaf"""
_LOGGED = "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0'), wal_fpi FROM pg_stat_wal"


@dataclass
class _Variant:
    name: str
    url: str
    halves: list[dict[str, float]] = field(default_factory=lambda: [{}, {}])
    """Before and after the checkpoint."""
    key_bytes: float = 0.0

    def add(self, half: int, **costs: float) -> None:
        for name, cost in costs.items():
            self.halves[half][name] = self.halves[half].get(name, 0.0) + cost


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.append", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=int(os.environ.get("APPEND_EVENTS", "1000000")))
    parser.add_argument("--times", choices=_TIMES, default=os.environ.get("APPEND_TIMES", "ordered"))
    parser.add_argument("--folder", default=os.environ.get("APPEND_FOLDER", "/var/tmp"))
    wanted = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="eventpipeline-append-", dir=wanted.folder) as folder,
        postgres_server(Path(folder)) as server,
    ):
        variants = asyncio.run(_measured(server, wanted.events, wanted.times))
    measured = {variant.name: _result(variant, wanted.events) for variant in variants}
    columns = list(measured[_AS_IT_IS])
    print_table(
        f"An append, {wanted.events:,} events, times {wanted.times}",
        ("an event", *measured),
        [(column, *(f"{result[column]:.1f}" for result in measured.values())) for column in columns],
    )
    conditions = {"events": wanted.events, "times": wanted.times, "batch": _BATCH // len(_SOURCES)}
    about = {"machine": machine.machine(), "versions": machine.versions(), "conditions": conditions}
    print(json.dumps({"benchmark": "append", "variants": measured, **about}), flush=True)
    return 0


def _result(variant: _Variant, events: int) -> dict[str, float]:
    costs = {
        f"{name}, {when}": cost / (events / 2)
        for half, when in zip(variant.halves, ("before the checkpoint", "after"), strict=True)
        for name, cost in half.items()
    }
    return {name: costs[name] for name in sorted(costs)} | {"bytes of the key": variant.key_bytes / events}


async def _measured(server: Server, events: int, times: str) -> list[_Variant]:
    variants = [_prepared(server.url, number, name) for number, name in enumerate(_VARIANTS)]
    turns = events // _BATCH // _TURN
    connections = [await psycopg.AsyncConnection.connect(variant.url, autocommit=True) for variant in variants]
    with psycopg.connect(server.url, autocommit=True) as watcher:
        for turn, batches in enumerate(_turns(turns, times)):
            if turn == turns // 2:
                watcher.execute("CHECKPOINT")
            order = list(zip(variants, connections, strict=True))
            for variant, connection in order if turn % 2 else reversed(order):
                await _append(variant, connection, watcher, batches, half=int(turn >= turns // 2))
                if times != "random":  # a minute of its own for each event: folding takes minutes, and is not measured
                    for source in _SOURCES:
                        await fold(connection, built_in(source))
        for variant, connection in zip(variants, connections, strict=True):
            row = await (await connection.execute(_KEY)).fetchone()
            variant.key_bytes = float(row[0]) if row else 0.0
            await connection.close()
    return variants


def _prepared(url: str, number: int, name: str) -> _Variant:
    database = f"variant_{number}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    mine = f"{url.rsplit('/', 1)[0]}/{database}"
    migrate(mine)
    for ahead in range(-_DAYS, 1, 7):
        maintain(mine, (_START + timedelta(days=ahead)).date(), None)
    with psycopg.connect(mine) as connection:
        for statement in _VARIANTS[name]:
            connection.execute(statement)
    return _Variant(name, mine)


def _turns(count: int, times: str) -> Iterator[list[tuple[str, bytes]]]:
    rng = random.Random(1)
    for turn in range(count):
        batches: list[tuple[str, bytes]] = []
        for index in range(turn * _TURN, (turn + 1) * _TURN):
            now = _START + timedelta(seconds=index * _BATCH / _RATE)
            events = orjson.loads(pregenerate(index, 1, _BATCH, now=now)[0].body)
            if times != "ordered":
                for event in events:
                    back = rng.random() * _DAYS if times == "random" else 0.0
                    event["timestamp"] = (_START - timedelta(days=back)).isoformat()
            batches += [
                (source, orjson.dumps([event for event in events if event["source"] == source])) for source in _SOURCES
            ]
        yield batches


async def _append(
    variant: _Variant,
    connection: psycopg.AsyncConnection[Any],
    watcher: psycopg.Connection[Any],
    batches: list[tuple[str, bytes]],
    half: int,
) -> None:
    backend = psutil.Process(connection.info.backend_pid)
    logged, cpu = _logged(watcher), _cpu(backend)
    for source, packed in batches:
        await Appender(built_in(source)).append(connection, packed)
    costs = {"CPU µs": (_cpu(backend) - cpu) * 1e6}
    await connection.execute("SELECT pg_stat_force_next_flush()")
    now = _logged(watcher)
    variant.add(half, **costs, **{"bytes of log": now[0] - logged[0], "whole pages": now[1] - logged[1]})


def _logged(watcher: psycopg.Connection[Any]) -> tuple[float, float]:
    row = watcher.execute(_LOGGED).fetchone()
    assert row is not None
    return float(row[0]), float(row[1])


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
