"""What the reports ask of Postgres: rollups for whole weeks, days, hours and minutes, the events for what is left.

Every count and sum is exact for any window, however it cuts a minute. Distinct users, and counts by value where there
are more values than a rollup keeps, say how wrong they can be.

The functions take a connection of `snapshot`, on which all of them see the same moment. Each may raise
StoreUnavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import AsyncConnection, OperationalError, errors

from eventpipeline.sources import Source
from eventpipeline.store import StoreUnavailable, distinct_users
from eventpipeline.store.pool import Pool, connection
from eventpipeline.store.report_queries import (
    Which,
    demographics_query,
    events_query,
    exact_demographics_query,
    fetched,
    plain,
    revenue_query,
    users_query,
)
from eventpipeline.store.rollups import kept
from eventpipeline.store.windows import ALL_TIME, STEPS, STEPS_TO_DAY, Interval, Split, Step, Window

Connection = AsyncConnection[Any]

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
class Found:
    """The demographics of one source.

    `edge_events` is how many events a window cuts off from whole buckets at its ends, and `edge_users` the sketch of
    their users. Where all is counted from the events nothing is cut off.
    """

    values: Sequence[Demographic]
    edge_events: int
    edge_users: bytes


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
class Events:
    """`series` has the buckets that have events, in order of time."""

    counts: Sequence[EventCount]
    series: Sequence[EventBucket]


@dataclass(frozen=True, slots=True)
class Revenues:
    """One total for each currency; `items` by source and currency, the largest sums first, and by campaign where asked
    for or selected; `series` has the buckets that have transactions, in order of time and by currency."""

    totals: Sequence[RevenueTotal]
    items: Sequence[Revenue]
    series: Sequence[RevenueBucket]


@dataclass(frozen=True, slots=True)
class Rest:
    """The sources that have events of before an upgrade, not counted in every rollup until these are rebuilt.

    Of `backlog` the demographics lack the minutes, and the users everything; of the others, `newer` rollups lack them.
    """

    backlog: frozenset[str]
    newer: frozenset[str]


@dataclass(frozen=True, slots=True)
class Span:
    """The first and the last time in a window; None where there is nothing."""

    first: datetime | None
    last: datetime | None


NOTHING = Span(None, None)

OLD_STEPS: tuple[Step, ...] = ("minute", "hour", "day")
"""Those that the sketches of users have where they were not rebuilt since."""
_ALL_STEPS = tuple(STEPS)


@contextlib.asynccontextmanager
async def snapshot(pool: Pool, *, parallel: bool = False, sums: bool = False) -> AsyncIterator[Connection]:
    """A connection on which all statements see the store as it is at the first of them.

    `parallel` is for those that count events: to start workers takes longer than what rollups answer. `sums` is for
    those that add up rollups, which takes less time than to plan it: they are planned once, for any window. These go
    in a pipeline: a statement is not waited for before the next is sent, see `together`.
    """
    settings = [] if parallel else ["SET LOCAL max_parallel_workers_per_gather = 0"]
    settings += ["SET LOCAL plan_cache_mode = force_generic_plan"] * sums
    try:
        async with connection(pool) as opened:
            try:
                async with opened.pipeline() if sums else contextlib.nullcontext():
                    for statement in ("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", *settings):
                        await opened.execute(statement)
                    yield opened
                    await opened.execute("COMMIT")  # after a ROLLBACK psycopg has all statements prepared anew
            except BaseException:
                with contextlib.suppress(OperationalError):  # the connection is gone, and the pool will see it
                    await opened.execute("ROLLBACK")
                raise
    except StoreUnavailable as error:
        if isinstance(error.__cause__, errors.QueryCanceled):
            raise StoreUnavailable("the report took too long; ask for a shorter time between from and to") from error
        raise


async def together(*work: Coroutine[Any, Any, Any]) -> list[Any]:
    """What each of `work` gives, all at once.

    On the connection of one snapshot each sends its first statement before any of them waits for an answer: while
    Postgres is at the second, what the first has found is read. Raises what the first that failed raised, when all
    have ended.
    """
    found = await asyncio.gather(*work, return_exceptions=True)
    for one in found:
        if isinstance(one, BaseException):
            raise one
    return found


async def events(connection: Connection, selection: Selection, interval: Interval | None = None) -> Events:
    """How many events there are, and in a series where `interval` is given."""
    split = selection.window.split(_ALL_STEPS)
    query = events_query(len(split.edges), interval is not None)
    # Its buckets end where those of the items do, at whole minutes: only their lengths differ.
    series = selection.window.split(_steps(interval)).parameters
    parameters = _parameters(selection, split, interval) | {f"series_{name}": value for name, value in series.items()}
    rows = await fetched(connection, query, parameters)
    return Events(
        [EventCount(source, stage, event_type, count) for source, stage, event_type, start, count in rows if not start],
        [EventBucket(start, count) for _source, _stage, _type, start, count in rows if start],
    )


async def revenue(
    connection: Connection,
    selection: Selection,
    *,
    by_campaign: bool = False,
    limit: int | None = None,
    interval: Interval | None = None,
) -> Revenues:
    """The money of transactions, at most `limit` items of it, and in a series where `interval` is given."""
    split = selection.window.split(_steps(interval))
    which: Which = "one" if selection.campaign_id is not None else "all" if by_campaign else "none"
    parameters = _parameters(selection, split, interval) | {"limit": limit}
    is_complete = which == "none" or not await _is_uncounted(connection, selection.source)
    if is_complete:
        query = revenue_query(which, len(split.edges), interval is not None)
        rows = await fetched(connection, query, parameters)
        is_complete = all(row[-1] for row in rows)
    if not is_complete:
        # Planned for this very window and these filters, or the index of transactions would be of no use.
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        query = revenue_query("events", 0, interval is not None)
        rows = await fetched(connection, query, parameters, prepare=False)
    totals, items, series = [], [], []
    for source, campaign, currency, start, is_item, is_bucket, money, transactions, amounts, _is_complete in rows:
        if is_item:
            items.append(Revenue(currency, money, transactions, amounts, source, campaign))
        elif is_bucket:
            series.append(RevenueBucket(start, currency, money, transactions))
        else:
            totals.append(RevenueTotal(currency, money, transactions, amounts))
    return Revenues(totals, items, series)


async def rest(connection: Connection) -> Rest:
    """What the rollups do not count until they are rebuilt."""
    rows = await fetched(connection, plain("report_rest"), {})
    return Rest(frozenset(source for source, is_backlog in rows if is_backlog), frozenset(source for source, _ in rows))


async def _is_uncounted(connection: Connection, source: str | None) -> bool:
    """Whether transactions of `source`, or of any, are not counted by campaign."""
    uncounted = (await rest(connection)).newer
    return source in uncounted if source else bool(uncounted)


class Demographics:
    """The demographics of one source; what is asked of Postgres is composed once."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self._queries = [demographics_query(source, edges) for edges in range(3)]
        self._exact = exact_demographics_query(source)
        self._parameters = {
            "source": source.name,
            "dimensions": [*(item.name for item in source.averages), *(item.name for item in source.distributions)],
            "averages": [item.name for item in source.averages],
            "complete": [item.name for item in source.distributions if item.ranges],
            "top": TOP_VALUES,
            **kept(source),
            **distinct_users.PARAMETERS,
        }

    async def found(self, connection: Connection, window: Window, steps: Sequence[Step]) -> Found:
        """Every distribution, values by their events, and every average.

        From the rollups of `steps`, shortest first; without any, all is counted from the events, which is slow and
        exact.
        """
        split = window.split(steps)
        query = self._queries[len(split.edges)] if steps else self._exact
        parameters = self._parameters | split.parameters
        rows = await fetched(connection, query, parameters, prepare=bool(steps))
        values = [Demographic(*row[:5]) for row in rows if row[0]]
        for _dimension, _value, events, _total, _error, registers, rests in rows[len(values) :]:
            return Found(values, events, distinct_users.sketch(registers or (), rests or ()))
        return Found(values, 0, distinct_users.EMPTY)


async def sketch_of_users(connection: Connection, source: str, window: Window) -> bytes:
    """The sketch of the users of one source in a window of whole minutes."""
    return distinct_users.union((await _sketches(connection, [source], window.split(STEPS_TO_DAY))).get(source, ()))


async def users(
    connection: Connection, sources: Sequence[str], window: Window, *, exact: bool, steps: Sequence[Step] = STEPS_TO_DAY
) -> dict[str, SourceUsers]:
    """Distinct users by source: counted, or estimated where the window has whole minutes, by sketches of `steps`."""
    split = window.split(steps)
    if exact or not split.buckets:
        parameters: dict[str, object] = {"sources": list(sources), **window.parameters()}
        rows = await fetched(connection, plain("report_users"), parameters, prepare=False)
        return {source: SourceUsers(source, count) for source, count in rows}
    sketches = await _sketches(connection, sources, split)
    return {source: estimated(source, found) for source, found in sketches.items()}


def estimated(source: str, sketches: Iterable[bytes]) -> SourceUsers:
    """The users of one source whom any of the sketches has seen."""
    together = distinct_users.union(sketches)
    return SourceUsers(source, distinct_users.estimate(together), is_exact=together == distinct_users.EMPTY)


async def _sketches(connection: Connection, sources: Sequence[str], split: Split) -> dict[str, list[bytes]]:
    parameters = {"sources": list(sources), **distinct_users.PARAMETERS, **split.parameters}
    found: dict[str, list[bytes]] = defaultdict(list)
    for source, sketches, registers, rests in await fetched(connection, users_query(len(split.edges)), parameters):
        found[source] += distinct_users.apart(sketches) if sketches else [distinct_users.sketch(registers, rests)]
    return found


async def totals(connection: Connection) -> dict[str, SourceTotals]:
    """All that is stored, by source."""
    return {row[0]: SourceTotals(*row) for row in await fetched(connection, plain("report_totals"), {})}


def _steps(longest: Interval | None) -> Sequence[Step]:
    """Those of which no bucket is longer than `longest`."""
    return _ALL_STEPS[: _ALL_STEPS.index(longest or "day") + 1]


def _parameters(selection: Selection, split: Split, interval: Interval | None) -> dict[str, object]:
    return selection.parameters() | split.parameters | {"interval": STEPS[interval or "day"]}
