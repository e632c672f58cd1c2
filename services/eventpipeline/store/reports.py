"""What the reports ask of Postgres: rollups for whole days, hours and minutes, the events themselves for what is left.

Every count and sum is exact for any window, however it cuts a minute. Distinct users, and counts by value where there
are more values than a rollup keeps, say how wrong they can be.

The functions take a connection of `snapshot`, on which all of them see the same moment. Each may raise
StoreUnavailable.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from psycopg import AsyncConnection, errors, sql
from psycopg.rows import class_row

from eventpipeline.sources import Source
from eventpipeline.store import StoreUnavailable, distinct_users, extract
from eventpipeline.store.pool import Pool, connection
from eventpipeline.store.rollups import kept
from eventpipeline.store.statements import statement
from eventpipeline.store.windows import ALL_TIME, NO_TIME, STEPS, Split, Step, Window

Connection = AsyncConnection[Any]
Row = TypeVar("Row")

TOP_VALUES = 20
"""So many values of a distribution are shown; the rest is one entry."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events a report is about; None is all."""

    window: Window = ALL_TIME
    source: str | None = None
    funnel_stage: str | None = None
    event_type: str | None = None
    campaign_id: str | None = None

    def parameters(self) -> dict[str, object]:
        return {
            "source": self.source,
            "funnel_stage": self.funnel_stage,
            "event_type": self.event_type,
            "campaign_id": self.campaign_id,
            **self.window.parameters(),
        }


@dataclass(frozen=True, slots=True)
class EventCount:
    source: str
    funnel_stage: str
    event_type: str
    count: int


@dataclass(frozen=True, slots=True)
class EventBucket:
    start: datetime
    count: int


@dataclass(frozen=True, slots=True)
class RevenueTotal:
    """`amounts` is how many of the transactions have an amount."""

    currency: str | None
    revenue: Decimal
    transactions: int
    amounts: int


@dataclass(frozen=True, slots=True)
class Revenue(RevenueTotal):
    source: str
    campaign_id: str | None


@dataclass(frozen=True, slots=True)
class RevenueBucket:
    start: datetime
    currency: str | None
    revenue: Decimal
    transactions: int


@dataclass(frozen=True, slots=True)
class Demographic:
    """Of a distribution: the events with `value`, or with a value that is not shown where it is None.

    Of an average, with value '': the events that carry the number, and its sum. `error` is by how much each count of
    the dimension can be too low; 0 where they are exact.
    """

    dimension: str
    value: str | None
    events: int
    total: Decimal
    error: int


@dataclass(frozen=True, slots=True)
class SourceUsers:
    source: str
    users: int
    is_exact: bool = True
    """Otherwise it is right to distinct_users.RELATIVE_ERROR, in 95 of 100 cases."""


@dataclass(frozen=True, slots=True)
class SourceTotals:
    source: str
    events: int
    transactions: int


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last time in a window; None where there is nothing."""

    first: datetime | None
    last: datetime | None


NOTHING = Span(None, None)


_CAMPAIGNS = sql.SQL(statement("report_campaigns"))


@contextlib.asynccontextmanager
async def snapshot(pool: Pool, *, parallel: bool = False) -> AsyncIterator[Connection]:
    """A connection on which all statements see the store as it is at the first of them.

    `parallel` is for those that count events: to start workers takes longer than what rollups answer.
    """
    try:
        async with connection(pool) as opened, opened.transaction():
            workers = "" if parallel else "; SET LOCAL max_parallel_workers_per_gather = 0"
            await opened.execute(f"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY{workers}")
            yield opened
    except StoreUnavailable as error:
        if isinstance(error.__cause__, errors.QueryCanceled):
            raise StoreUnavailable("the report took too long; ask for a shorter time between from and to") from error
        raise


async def events(connection: Connection, selection: Selection) -> list[EventCount]:
    parameters, counts = _counts(selection)
    return await _rows(connection, EventCount, "report_events", parameters, counts=counts)


async def events_series(connection: Connection, selection: Selection, interval: Step) -> list[EventBucket]:
    """The buckets that have events, in order of time."""
    parameters, counts = _counts(selection, interval)
    parameters["interval"] = interval
    return await _rows(connection, EventBucket, "report_events_series", parameters, counts=counts)


async def events_span(connection: Connection, selection: Selection, interval: Step) -> Span:
    """To the beginning of the bucket of `interval`, or more exact."""
    parameters, counts = _counts(selection, interval)
    return (await _rows(connection, Span, "report_span", parameters, relation=counts))[0]


async def revenue(
    connection: Connection, selection: Selection, *, by_campaign: bool = False, limit: int | None = None
) -> list[Revenue]:
    """Revenue by source and currency, and by campaign where asked for or selected; the largest `limit` sums first."""
    parameters, transactions = _transactions(selection, by_campaign=by_campaign)
    parameters["limit"] = limit
    return await _rows(connection, Revenue, "report_revenue", parameters, transactions=transactions)


async def revenue_totals(connection: Connection, selection: Selection) -> list[RevenueTotal]:
    """One total for each currency."""
    parameters, transactions = _transactions(selection)
    return await _rows(connection, RevenueTotal, "report_revenue_totals", parameters, transactions=transactions)


async def revenue_series(connection: Connection, selection: Selection, interval: Step) -> list[RevenueBucket]:
    """The buckets that have transactions, in order of time and by currency."""
    parameters, transactions = _transactions(selection, interval)
    parameters["interval"] = interval
    return await _rows(connection, RevenueBucket, "report_revenue_series", parameters, transactions=transactions)


async def revenue_span(connection: Connection, selection: Selection, interval: Step) -> Span:
    """To the beginning of the bucket of `interval`, or more exact."""
    parameters, transactions = _transactions(selection, interval)
    return (await _rows(connection, Span, "report_span", parameters, relation=transactions))[0]


async def backlog(connection: Connection) -> frozenset[str]:
    """The sources that have events of before an upgrade, for which the rollups of demographics lack the minutes and
    those of users everything, until they are rebuilt."""
    cursor = await connection.execute(statement("report_backlog"))
    return frozenset(name for (name,) in await cursor.fetchall())


async def demographics(
    connection: Connection, source: Source, window: Window, steps: Sequence[Step]
) -> list[Demographic]:
    """Every distribution of `source`, values by their events, and every average.

    From the rollups of `steps`, shortest first; without any, all is counted from the events, which is slow and exact.
    """
    split = window.split(steps)
    edges = sql.SQL("UNION ALL SELECT dimension, value, events, total FROM ({}) AS spread").format(
        extract.spread(source, sql.SQL("({}) AS edge").format(sql.SQL(statement("report_edges"))))
    )
    parameters = {
        "source": source.name,
        "dimensions": [*(item.name for item in source.averages), *(item.name for item in source.distributions)],
        "complete": [item.name for item in source.distributions if item.ranges],
        "top": TOP_VALUES,
        **kept(source),
        **split.parameters(),
    }
    return await _rows(
        connection, Demographic, "report_demographics", parameters,
        rollups=_buckets(split, "report_demographics_rollup"), edges=_where_cut(split, edges),
    )  # fmt: skip


async def users(
    connection: Connection, sources: Sequence[str], window: Window, *, exact: bool
) -> dict[str, SourceUsers]:
    """Distinct users by source: counted, or estimated where the window has whole minutes."""
    split = window.split(list(STEPS))
    if exact or not split.buckets:
        rows = await _rows(connection, SourceUsers, "report_users", {"sources": list(sources), **window.parameters()})
        return {row.source: row for row in rows}
    sketches = await _sketches(connection, sources, split)
    return {
        source: SourceUsers(source, distinct_users.estimate(distinct_users.union(found)), is_exact=False)
        for source, found in sketches.items()
    }


async def _sketches(connection: Connection, sources: Sequence[str], split: Split) -> dict[str, list[bytes]]:
    parameters = {"sources": list(sources), **distinct_users.PARAMETERS, **split.parameters()}
    found: dict[str, list[bytes]] = defaultdict(list)
    async with connection.cursor(binary=True) as cursor:  # as text, bytes are twice as many
        await cursor.execute(_buckets(split, "report_users_rollup"), parameters, prepare=False)
        for source, registers in await cursor.fetchall():
            found[source].append(registers)
        edges = _where_cut(split, sql.SQL(statement("report_users_edges")))
        query = sql.SQL(statement("report_users_seen")).format(edges=edges)
        await cursor.execute(query, parameters, prepare=False)
        for source, registers, rests in await cursor.fetchall():
            found[source].append(distinct_users.sketch(registers, rests))
    return found


async def totals(connection: Connection) -> dict[str, SourceTotals]:
    """All that is stored, by source."""
    return {row.source: row for row in await _rows(connection, SourceTotals, "report_totals", {})}


async def _rows(
    connection: Connection, kind: type[Row], name: str, parameters: dict[str, object], **parts: sql.Composable
) -> list[Row]:
    async with connection.cursor(row_factory=class_row(kind)) as cursor:
        # Never prepared: a plan for any window would not know that this one leaves the events alone.
        await cursor.execute(sql.SQL(statement(name)).format(**parts), parameters, prepare=False)
        return await cursor.fetchall()


def _counts(selection: Selection, longest: Step = "day") -> tuple[dict[str, object], sql.Composable]:
    """Events and money of a selection as a relation, and its parameters. No row stands for more time than `longest`."""
    names = list(STEPS)
    split = selection.window.split(names[: names.index(longest) + 1])
    counts = sql.SQL(statement("report_counts")).format(
        rollups=_buckets(split, "report_counts_rollup"),
        edges=_where_cut(split, sql.SQL(statement("report_counts_edges"))),
    )
    return selection.parameters() | split.parameters(), counts


def _transactions(
    selection: Selection, longest: Step = "day", *, by_campaign: bool = False
) -> tuple[dict[str, object], sql.Composable]:
    if by_campaign or selection.campaign_id is not None:
        return selection.parameters(), _CAMPAIGNS
    parameters, counts = _counts(selection, longest)
    return parameters, sql.SQL(statement("report_transactions")).format(counts=counts)


def _buckets(split: Split, name: str) -> sql.Composed:
    """The whole buckets of `split`, each length by an index range of its own."""
    template = sql.SQL(statement(name))
    return sql.SQL(" UNION ALL ").join(
        template.format(
            step=sql.Literal(step), first=sql.Literal(bounds.parameters()["from"]),
            last=sql.Literal(bounds.parameters()["to"]),
        )
        for step, bounds in split.buckets or (("minute", NO_TIME),)
    )  # fmt: skip


def _where_cut(split: Split, edges: sql.Composable) -> sql.Composable:
    """`edges` where there are any: to plan a look at every partition takes longer than a report."""
    return edges if split.edges else sql.SQL("")
