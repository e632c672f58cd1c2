"""The three reports."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from eventpipeline.reporter import shapes, tables
from eventpipeline.reporter.metrics import ReporterMetrics
from eventpipeline.reporter.params import DemographicsQuery, EventsQuery, RevenueQuery, Vocabulary, parse
from eventpipeline.reporter.responses import report_response
from eventpipeline.reporter.times import bounds, bucket_starts
from eventpipeline.sources import Source
from eventpipeline.store import reports
from eventpipeline.store.pool import Pool
from eventpipeline.store.reports import (
    NOTHING,
    OLD_STEPS,
    Connection,
    Demographics,
    EventBucket,
    RevenueBucket,
    Selection,
    SourceUsers,
    Span,
)
from eventpipeline.store.windows import STEPS, STEPS_TO_DAY, Step

_SOURCES_AT_ONCE = 2
"""Of one report of demographics, each on a connection of its own, for which another core may be free; the other
connections are left to others."""
_WITHOUT_MINUTES: tuple[Step, ...] = ("hour", "six_hours", "day", "week")


class ReportEndpoints:
    def __init__(self, sources: Sequence[Source], pool: Pool, metrics: ReporterMetrics) -> None:
        self._demographics = [Demographics(source) for source in sources]
        self._vocabulary = Vocabulary.of(sources)
        self._pool = pool
        self._metrics = metrics

    async def events(self, request: Request) -> Response:
        with self._metrics.generating("events"):
            query = parse(EventsQuery, request, self._vocabulary)
            async with reports.snapshot(self._pool, sums=True) as store:
                report = await _events(store, query)
            return report_response(request, "events", query.format, report, lambda: _events_table(report))

    async def revenue(self, request: Request) -> Response:
        with self._metrics.generating("revenue"):
            query = parse(RevenueQuery, request, self._vocabulary)
            async with reports.snapshot(self._pool, sums=True) as store:
                report = await _revenue(store, query)
            by_campaign = query.by_campaign
            return report_response(
                request, "revenue", query.format, report, lambda: _revenue_table(report, by_campaign)
            )

    async def demographics(self, request: Request) -> Response:
        with self._metrics.generating("demographics"):
            query = parse(DemographicsQuery, request, self._vocabulary)
            at_once = asyncio.Semaphore(_SOURCES_AT_ONCE)

            async def item(one: Demographics) -> shapes.Report:
                async with at_once, reports.snapshot(self._pool, parallel=query.exact, sums=not query.exact) as store:
                    return await _demographics(store, query, one)

            asked = [one for one in self._demographics if query.source in (None, one.source.name)]
            report = {**bounds(query.window), "items": await reports.together(*map(item, asked))}
            return report_response(
                request, "demographics", query.format, report, lambda: tables.demographics_table(report)
            )


async def _events(store: Connection, query: EventsQuery) -> shapes.Report:
    window, interval = query.window, query.interval
    starts = bucket_starts(window, NOTHING, interval) if interval and window.is_closed else []
    found = await reports.events(store, query.selection, interval)
    report = shapes.events_report(window, found.counts)
    if interval:
        starts = starts or bucket_starts(window, _span(found.series), interval)
        report["series"] = shapes.events_series(starts, found.series)
    return report


async def _revenue(store: Connection, query: RevenueQuery) -> shapes.Report:
    window, interval = query.window, query.interval
    starts = bucket_starts(window, NOTHING, interval) if interval and window.is_closed else []
    found = await reports.revenue(
        store, query.selection, by_campaign=query.by_campaign, limit=query.limit, interval=interval
    )
    report = shapes.revenue_report(window, found.totals, found.items, by_campaign=query.by_campaign)
    if interval:
        starts = starts or bucket_starts(window, _span(found.series), interval)
        report["series"] = shapes.revenue_series(starts, found.series)
    return report


def _span(series: Sequence[EventBucket | RevenueBucket]) -> Span:
    return Span(series[0].start, series[-1].start) if series else NOTHING


async def _demographics(store: Connection, query: DemographicsQuery, one: Demographics) -> shapes.Report:
    """The item of one source, all of it as it was at one moment."""
    name, whole = one.source.name, query.window.split(tuple(STEPS)).whole
    if query.exact or whole is None:
        return await _demographics_in_part(store, query, one, await reports.rest(store))
    # As if all were in the rollups, which it is but after an upgrade; then it is asked again. Users come first: their
    # sketches take the longest here, while Postgres is at the rest. Events at the ends come with the values.
    users, counted, rest, found = await reports.together(
        reports.sketch_of_users(store, name, whole), reports.events(store, Selection(whole, name)),
        reports.rest(store), one.found(store, query.window, tuple(STEPS)),
    )  # fmt: skip
    if name in rest.newer:
        return await _demographics_in_part(store, query, one, rest)
    events = sum(row.count for row in counted.counts) + found.edge_events
    seen = reports.estimated(name, (users, found.edge_users))
    return shapes.demographics_item(one.source, events, seen, found.values)


async def _demographics_in_part(
    store: Connection, query: DemographicsQuery, one: Demographics, rest: reports.Rest
) -> shapes.Report:
    """The same where not everything is counted in the rollups, or all is to be counted from the events."""
    name, window = one.source.name, query.window
    is_backlog = name in rest.backlog
    user_steps = OLD_STEPS if name in rest.newer else STEPS_TO_DAY
    counted = await reports.events(store, Selection(window, name))
    users = await reports.users(store, [name], window, exact=query.exact or is_backlog, steps=user_steps)
    steps = () if query.exact else _WITHOUT_MINUTES if is_backlog else tuple(STEPS)
    found = await one.found(store, window, steps)
    seen = users.get(name, SourceUsers(name, 0))
    return shapes.demographics_item(one.source, sum(row.count for row in counted.counts), seen, found.values)


def _events_table(report: shapes.Report) -> str:
    if "series" in report:
        return tables.table(tables.EVENTS_SERIES, report["series"])
    return tables.table(tables.EVENTS, report["items"])


def _revenue_table(report: shapes.Report, by_campaign: bool) -> str:
    if "series" in report:
        return tables.table(tables.REVENUE_SERIES, report["series"])
    return tables.table(tables.REVENUE_BY_CAMPAIGN if by_campaign else tables.REVENUE, report["items"])
