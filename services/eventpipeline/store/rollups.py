"""The rollups: what appends counted, folded together by minute, ten minutes and so on to weeks.

An append only notes what it counted, in rows of its own, so that it waits for no other. Reports add these rows to the
rollups until a collector folds them in, every half minute. What a row counted goes over in one transaction.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, sql

from eventpipeline.sources import Source
from eventpipeline.store import distinct_users, extract
from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement
from eventpipeline.store.windows import STEPS, STEPS_TO_DAY, Step, floor

KEPT_VALUES = 1000
"""So many values of a distribution are kept in a row of a rollup; with fewer the counts are exact."""
KEPT_OF_HIGH_CARDINALITY = 250
KEPT_CAMPAIGNS = 1000
"""So many campaigns are kept in a row of a rollup; a bucket that has more is given up, and counted from its events."""

_AT_ONCE = 1000
"""Rows that appends made; so many take well under a second."""


def counted(source: Source) -> sql.Composed:
    """What an append does beside storing: its part `new` is counted, into rows that `fold` folds."""
    new = sql.Identifier("new")
    return sql.SQL(statement("count")).format(
        source=sql.Literal(source.name),
        spread=extract.spread(source.low_cardinality, new),
        listed=extract.spread_listed(source, new),
    )


def kept(source: Source) -> dict[str, object]:
    """How many values of which dimension are kept, as statements take it."""
    high_cardinality = [item.name for item in source.distributions if item.high_cardinality]
    return {
        "high_cardinality": high_cardinality,
        "kept_of_high": KEPT_OF_HIGH_CARDINALITY,
        "kept": KEPT_VALUES,
    }


async def fold(connection: AsyncConnection[Any], source: Source) -> int:
    """Folds what appends of `source` counted into the rollups; returns how many rows were folded.

    Where another collector is folding the same source, it is left to that one. Reports say the same before and after;
    they only read less. Raises StoreUnavailable.
    """
    return await _fold_all(connection, source, is_alone=False)


async def fold_alone(connection: AsyncConnection[Any], source: Source) -> int:
    """The same for who knows that nobody else folds these rows. Raises StoreUnavailable."""
    return await _fold_all(connection, source, is_alone=True)


async def _fold_all(connection: AsyncConnection[Any], source: Source, *, is_alone: bool) -> int:
    folded = 0
    with translated():
        for part in (_fold_events, _fold_campaigns, _fold_dimensions, _fold_users):
            more = True
            while more:
                async with connection.transaction():
                    taken = await part(connection, source) if is_alone or await _locked(connection, source) else 0
                folded += taken
                more = taken == _AT_ONCE
    return folded


async def _locked(connection: AsyncConnection[Any], source: Source) -> bool:
    row = await (await connection.execute(statement("fold_lock"), {"source": source.name})).fetchone()
    return row is not None and bool(row[0])


async def _fold_events(connection: AsyncConnection[Any], source: Source) -> int:
    return await _fold(connection, "fold_events", {"source": source.name})


async def _fold_campaigns(connection: AsyncConnection[Any], source: Source) -> int:
    return await _fold(connection, "fold_campaigns", {"source": source.name, "kept_campaigns": KEPT_CAMPAIGNS})


async def _fold_dimensions(connection: AsyncConnection[Any], source: Source) -> int:
    return await _fold(connection, "fold_dimensions", {"source": source.name, **kept(source)})


async def _fold(connection: AsyncConnection[Any], name: str, parameters: dict[str, Any]) -> int:
    cursor = await connection.execute(statement(name), {**parameters, "limit": _AT_ONCE})
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def _fold_users(connection: AsyncConnection[Any], source: Source) -> int:
    parameters = {"source": source.name, "limit": _AT_ONCE, **distinct_users.PARAMETERS}
    rows = await (await connection.execute(statement("fold_users"), parameters)).fetchall()
    if not rows:
        return 0
    sketches: dict[tuple[Step, datetime], list[bytes]] = defaultdict(list)
    for _taken, minute, registers, rests in rows:
        seen = distinct_users.sketch(registers, rests)
        for step in STEPS_TO_DAY:
            sketches[step, floor(minute, STEPS[step])].append(seen)
    keys: dict[str, Any] = {
        "source": source.name,
        "steps": [step for step, _ in sketches],
        "starts": [start for _, start in sketches],
    }
    for step, start, registers in await (await connection.execute(statement("fold_users_there"), keys)).fetchall():
        sketches[step, start].append(registers)
    unions = [distinct_users.union(found) for found in sketches.values()]
    await connection.execute(statement("fold_users_put"), keys | {"registers": unions})
    return int(rows[0][0])
