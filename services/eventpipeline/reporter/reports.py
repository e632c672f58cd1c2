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
from eventpipeline.store.reports import NOTHING, Connection, Selection, SourceUsers
from eventpipeline.store.windows import STEPS, Step

_WITHOUT_MINUTES: tuple[Step, ...] = ("hour", "day")


class ReportEndpoints:
    def __init__(self, sources: Sequence[Source], pool: Pool, metrics: ReporterMetrics) -> None:
        self._sources = sources
        self._vocabulary = Vocabulary.of(sources)
        self._pool = pool
        self._metrics = metrics

    async def events(self, request: Request) -> Response:
        with self._metrics.generating("events"):
            query = parse(EventsQuery, request, self._vocabulary)
            async with reports.snapshot(self._pool) as store:
                report = await _events(store, query)
            return report_response(request, "events", query.format, report, lambda: _events_table(report))

    async def revenue(self, request: Request) -> Response:
        with self._metrics.generating("revenue"):
            query = parse(RevenueQuery, request, self._vocabulary)
            async with reports.snapshot(self._pool) as store:
                report = await _revenue(store, query)
            by_campaign = query.by_campaign
            return report_response(
                request, "revenue", query.format, report, lambda: _revenue_table(report, by_campaign)
            )

    async def demographics(self, request: Request) -> Response:
        with self._metrics.generating("demographics"):
            query = parse(DemographicsQuery, request, self._vocabulary)
            asked = [source for source in self._sources if query.source in (None, source.name)]
            async with reports.snapshot(self._pool, parallel=query.exact) as store:
                report = await _demographics(store, query, asked)
            return report_response(
                request, "demographics", query.format, report, lambda: tables.demographics_table(report)
            )


async def _events(store: Connection, query: EventsQuery) -> shapes.Report:
    selection, window = query.selection, query.window
    report = shapes.events_report(window, await reports.events(store, selection))
    if query.interval:
        span = NOTHING if window.is_closed else await reports.events_span(store, selection, query.interval)
        starts = bucket_starts(window, span, query.interval)
        buckets = await reports.events_series(store, selection, query.interval)
        report["series"] = shapes.events_series(starts, buckets)
    return report


async def _revenue(store: Connection, query: RevenueQuery) -> shapes.Report:
    selection, window = query.selection, query.window
    totals = await reports.revenue_totals(store, selection)
    items = await reports.revenue(store, selection, by_campaign=query.by_campaign, limit=query.limit)
    report = shapes.revenue_report(window, totals, items, by_campaign=query.by_campaign)
    if query.interval:
        span = NOTHING if window.is_closed else await reports.revenue_span(store, selection, query.interval)
        starts = bucket_starts(window, span, query.interval)
        buckets = await reports.revenue_series(store, selection, query.interval)
        report["series"] = shapes.revenue_series(starts, buckets)
    return report


async def _demographics(store: Connection, query: DemographicsQuery, sources: Sequence[Source]) -> shapes.Report:
    window = query.window
    events: dict[str, int] = {}
    for row in await reports.events(store, Selection(window, query.source)):
        events[row.source] = events.get(row.source, 0) + row.count
    backlog = await reports.backlog(store)
    uncounted = [source.name for source in sources if query.exact or source.name in backlog]
    users = await reports.users(store, uncounted, window, exact=True) if uncounted else {}
    if counted := [source.name for source in sources if source.name not in uncounted]:
        users |= await reports.users(store, counted, window, exact=False)
    items = []
    for source in sources:
        steps = () if query.exact else _WITHOUT_MINUTES if source.name in backlog else tuple(STEPS)
        rows = await reports.demographics(store, source, window, steps)
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
