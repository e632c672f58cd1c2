"""What the reports ask of Postgres. Every answer is exact for any window, however it cuts minutes and hours.

The functions take a connection of `snapshot`, on which all of them see the same moment. Each may raise
StoreUnavailable.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal, TypeVar

from psycopg import AsyncConnection, errors, sql
from psycopg.rows import class_row

from eventpipeline.sources import Source
from eventpipeline.store import StoreUnavailable, extract
from eventpipeline.store.pool import Pool, connection
from eventpipeline.store.statements import statement
from eventpipeline.store.windows import ALL_TIME, HOUR, MINUTE, Window

Connection = AsyncConnection[Any]
Interval = Literal["minute", "hour", "day"]
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

    def parameters(self, step: timedelta = MINUTE) -> dict[str, object]:
        return {
            "source": self.source,
            "funnel_stage": self.funnel_stage,
            "event_type": self.event_type,
            "campaign_id": self.campaign_id,
            **self.window.parameters(),
            **self.window.cut(step).parameters(),
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

    Of an average, with value '': the events that carry the number, and its sum.
    """

    dimension: str
    value: str | None
    events: int
    total: Decimal


@dataclass(frozen=True, slots=True)
class SourceUsers:
    source: str
    users: int


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


_MINUTES = sql.SQL(statement("report_minutes"))
_TRANSACTIONS = sql.SQL(statement("report_transactions")).format(minutes=_MINUTES)
_CAMPAIGNS = sql.SQL(statement("report_campaigns"))


@contextlib.asynccontextmanager
async def snapshot(pool: Pool) -> AsyncIterator[Connection]:
    """A connection on which all statements see the store as it is at the first of them."""
    try:
        async with connection(pool) as opened, opened.transaction():
            await opened.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield opened
    except StoreUnavailable as error:
        if isinstance(error.__cause__, errors.QueryCanceled):
            raise StoreUnavailable("the report took too long; ask for a shorter time between from and to") from error
        raise


async def events(connection: Connection, selection: Selection) -> list[EventCount]:
    return await _rows(connection, EventCount, "report_events", selection.parameters(), minutes=_MINUTES)


async def events_series(connection: Connection, selection: Selection, interval: Interval) -> list[EventBucket]:
    """The buckets that have events, in order of time."""
    parameters = selection.parameters() | {"interval": interval}
    return await _rows(connection, EventBucket, "report_events_series", parameters, minutes=_MINUTES)


async def events_span(connection: Connection, selection: Selection) -> Span:
    return (await _rows(connection, Span, "report_span", selection.parameters(), relation=_MINUTES))[0]


async def revenue(
    connection: Connection, selection: Selection, *, by_campaign: bool = False, limit: int | None = None
) -> list[Revenue]:
    """Revenue by source and currency, and by campaign where asked for or selected; the largest `limit` sums first."""
    parameters = selection.parameters() | {"limit": limit}
    relation = _CAMPAIGNS if by_campaign else _transactions(selection)
    return await _rows(connection, Revenue, "report_revenue", parameters, transactions=relation)


async def revenue_totals(connection: Connection, selection: Selection) -> list[RevenueTotal]:
    """One total for each currency."""
    relation = _transactions(selection)
    return await _rows(connection, RevenueTotal, "report_revenue_totals", selection.parameters(), transactions=relation)


async def revenue_series(connection: Connection, selection: Selection, interval: Interval) -> list[RevenueBucket]:
    """The buckets that have transactions, in order of time and by currency."""
    parameters, relation = selection.parameters() | {"interval": interval}, _transactions(selection)
    return await _rows(connection, RevenueBucket, "report_revenue_series", parameters, transactions=relation)


async def revenue_span(connection: Connection, selection: Selection) -> Span:
    relation = _transactions(selection)
    return (await _rows(connection, Span, "report_span", selection.parameters(), relation=relation))[0]


def _transactions(selection: Selection) -> sql.Composable:
    return _TRANSACTIONS if selection.campaign_id is None else _CAMPAIGNS


async def demographics(connection: Connection, source: Source, window: Window) -> list[Demographic]:
    """Every distribution of `source`, values by their events, and every average."""
    parameters = Selection(window, source.name).parameters(HOUR) | {
        "dimensions": [*(item.name for item in source.averages), *(item.name for item in source.distributions)],
        "complete": [item.name for item in source.distributions if item.ranges],
        "top": TOP_VALUES,
    }
    spread = extract.spread(source, sql.SQL("({}) AS edge").format(sql.SQL(statement("report_edges"))))
    return await _rows(connection, Demographic, "report_demographics", parameters, spread=spread)


async def users(connection: Connection, selection: Selection) -> dict[str, int]:
    """Distinct users by source."""
    rows = await _rows(connection, SourceUsers, "report_users", selection.parameters())
    return {row.source: row.users for row in rows}


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
