"""The three reports."""

from __future__ import annotations

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
from eventpipeline.store.windows import STEPS, Step

_WITHOUT_MINUTES: tuple[Step, ...] = ("hour", "six_hours", "day")


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
            asked = [one for one in self._demographics if query.source in (None, one.source.name)]
            async with reports.snapshot(self._pool, parallel=query.exact, sums=not query.exact) as store:
                report = await _demographics(store, query, asked)
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


async def _demographics(store: Connection, query: DemographicsQuery, asked: Sequence[Demographics]) -> shapes.Report:
    window, sources = query.window, [one.source for one in asked]
    events: dict[str, int] = {}
    for row in (await reports.events(store, Selection(window, query.source))).counts:
        events[row.source] = events.get(row.source, 0) + row.count
    rest = await reports.rest(store)
    uncounted = [source.name for source in sources if query.exact or source.name in rest.backlog]
    users = await reports.users(store, uncounted, window, exact=True) if uncounted else {}
    if counted := [source.name for source in sources if source.name not in uncounted]:
        steps = OLD_STEPS if rest.newer.intersection(counted) else tuple(STEPS)
        users |= await reports.users(store, counted, window, exact=False, steps=steps)
    items = []
    for one in asked:
        source = one.source
        steps = () if query.exact else _WITHOUT_MINUTES if source.name in rest.backlog else tuple(STEPS)
        rows = await one.found(store, window, steps)
        found = users.get(source.name, SourceUsers(source.name, 0))
        items.append(shapes.demographics_item(source, events.get(source.name, 0), found, rows))
    return {**bounds(window), "items": items}


def _events_table(report: shapes.Report) -> str:
    if "series" in report:
        return tables.table(tables.EVENTS_SERIES, report["series"])
    return tables.table(tables.EVENTS, report["items"])


def _revenue_table(report: shapes.Report, by_campaign: bool) -> str:
    if "series" in report:
        return tables.table(tables.REVENUE_SERIES, report["series"])
    return tables.table(tables.REVENUE_BY_CAMPAIGN if by_campaign else tables.REVENUE, report["items"])
