"""The rollups made anew from the events, and compared with them. Needs the owner's role.

Both count the events with the statements of an append. What retention has dropped is only in the rollups; those days
are left alone, and weeks that have such a day are the sum of their days.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, sql

from eventpipeline.sources import Source
from eventpipeline.store import distinct_users
from eventpipeline.store.pool import translated
from eventpipeline.store.rollups import counted, fold_alone, kept
from eventpipeline.store.statements import statement
from eventpipeline.store.windows import STEPS, STEPS_TO_DAY, Step, Window, floor

ROLLUPS = ("rollup_events", "rollup_campaigns", "rollup_dimensions", "rollup_users")
MOST_DIFFERENCES = 1000
"""So many are told of each rollup and source."""

_EVENTS_AT_ONCE = 50_000
_COUNTED_BEFORE_FOLDING = 20


@dataclass(frozen=True, slots=True)
class Difference:
    """A line of a rollup that is not what the events come to."""

    rollup: str
    source: str
    step: str
    start: datetime
    line: str
    stored: str
    counted: str

    def __str__(self) -> str:
        return (
            f"{self.rollup} {self.source} {self.step} {self.start.isoformat()} {self.line}".rstrip()
            + f": {self.stored}, but the events come to {self.counted}"
        )


def rebuild(database_url: str, sources: Sequence[Source]) -> int:
    """Makes the rollups of `sources` anew; returns how many events were counted.

    Nothing is stored meanwhile: collectors wait, and events stay in the stream. Reports see the rollups of before until
    all is done. Raises StoreUnavailable.
    """
    return asyncio.run(_rebuild(database_url, sources))


def check(database_url: str, sources: Sequence[Source]) -> list[Difference]:
    """Where the rollups of `sources` are not what their events come to. Raises StoreUnavailable.

    Everything is looked at as it was at one moment, while appends and folds go on.
    """
    return asyncio.run(_check(database_url, sources))


async def _rebuild(database_url: str, sources: Sequence[Source]) -> int:
    events = 0
    with translated():
        async with await _connect(database_url) as connection, connection.transaction():
            await connection.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
            for source in sources:
                named = {"source": source.name}
                await connection.execute(statement("rebuild_lock"), named)
                await fold_alone(connection, source)  # what is there of days that were dropped meanwhile
                for rollup in ROLLUPS:
                    clear = sql.SQL(statement("rebuild_clear")).format(rollup=sql.Identifier(rollup))
                    await connection.execute(clear, named)
                await connection.execute("DELETE FROM rollup_backlog WHERE source = %(source)s", named)
                await connection.execute("DELETE FROM rollup_rest WHERE source = %(source)s", named)
                events += await _count(connection, source)
                await _add_up_weeks(connection, source)
    return events


async def _add_up_weeks(connection: AsyncConnection[Any], source: Source) -> None:
    """Those that lack a day that retention has dropped; until now they have what was there, and their events again."""
    for rollup, weeks in (("rollup_events", "rebuild_weeks_events"), ("rollup_dimensions", "rebuild_weeks_dimensions")):
        clear = sql.SQL(statement("rebuild_weeks_clear")).format(rollup=sql.Identifier(rollup))
        await connection.execute(clear, {"source": source.name})
        await connection.execute(statement(weeks), {"source": source.name, **kept(source)})


async def _check(database_url: str, sources: Sequence[Source]) -> list[Difference]:
    found: list[Difference] = []
    with translated():
        async with await _connect(database_url) as connection, connection.transaction():
            await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            row = await (await connection.execute("SELECT current_schema()")).fetchone()
            assert row is not None
            schema = sql.Identifier(row[0])
            # Tables of the same names, in which the statements of an append and a fold make what should be there.
            for table in (*ROLLUPS, *(f"{rollup}_batch" for rollup in ROLLUPS)):
                name = sql.Identifier(table)
                await connection.execute(
                    sql.SQL("CREATE TEMPORARY TABLE {} (LIKE {}.{} INCLUDING ALL) ON COMMIT DROP").format(
                        name, schema, name
                    )
                )
            await connection.execute(statement("check_forgotten"))
            for source in sources:
                await _count(connection, source)
                found += await _compared(connection, source, "rollup_events", "check_events", schema)
                found += await _compared(connection, source, "rollup_campaigns", "check_campaigns", schema)
                found += await _compared(connection, source, "rollup_dimensions", "check_dimensions", schema)
                found += await _compared_users(connection, source, schema)
    return found


async def _connect(database_url: str) -> AsyncConnection[Any]:
    options = "-c timezone=UTC -c jit=off -c random_page_cost=1.1 -c work_mem=64MB -c lock_timeout=30s"
    return await AsyncConnection.connect(database_url, autocommit=True, connect_timeout=5, options=options)


async def _count(connection: AsyncConnection[Any], source: Source) -> int:
    """Counts all events of `source` into the rollups; returns how many there are."""
    rows = await (await connection.execute(statement("rebuild_minutes"), {"source": source.name})).fetchall()
    query = sql.SQL(statement("rebuild_count")).format(source=sql.Literal(source.name), counted=counted(source))
    for number, window in enumerate(chunks(rows), 1):
        await connection.execute(query, window.parameters())
        if number % _COUNTED_BEFORE_FOLDING == 0:
            await fold_alone(connection, source)
    await fold_alone(connection, source)
    return sum(events for _minute, events in rows)


def chunks(minutes: Iterable[tuple[datetime, int]]) -> Iterator[Window]:
    """Windows that hold all of the events of `minutes` (a minute and its events, in order), each about as many."""
    first: datetime | None = None
    last, held = None, 0
    for minute, events in minutes:
        if first and last and held + events > _EVENTS_AT_ONCE:
            yield Window(first, last)
            first, held = None, 0
        first, last, held = first or minute, minute + timedelta(minutes=1), held + events
    if first and last:
        yield Window(first, last)


async def _compared(
    connection: AsyncConnection[Any], source: Source, rollup: str, check: str, schema: sql.Identifier
) -> list[Difference]:
    query = sql.SQL(statement(check)).format(schema=schema)
    rows = await connection.execute(query, {"source": source.name, "limit": MOST_DIFFERENCES})
    return [Difference(rollup, source.name, *row) for row in await rows.fetchall()]


async def _compared_users(connection: AsyncConnection[Any], source: Source, schema: sql.Identifier) -> list[Difference]:
    parameters = {"source": source.name, "limit": MOST_DIFFERENCES, **distinct_users.PARAMETERS}
    waiting: dict[tuple[Step, datetime], list[bytes]] = defaultdict(list)
    batches = sql.SQL(statement("check_users_batch")).format(schema=schema)
    for minute, registers, rests in await (await connection.execute(batches, parameters)).fetchall():
        for step in STEPS_TO_DAY:
            waiting[step, floor(minute, STEPS[step])].append(distinct_users.sketch(registers, rests))
    query = sql.SQL(statement("check_users")).format(schema=schema)
    found = []
    for step, start, stored, expected in await (await connection.execute(query, parameters)).fetchall():
        together = distinct_users.union([stored or distinct_users.EMPTY, *waiting[step, start]])
        if together != (expected or distinct_users.EMPTY):
            said = [f"about {distinct_users.estimate(sketch)} users" for sketch in (together, expected or together)]
            found.append(Difference("rollup_users", source.name, step, start, "", said[0], said[1]))
    return found
