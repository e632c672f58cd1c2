"""The three reports."""

from __future__ import annotations

from collections import defaultdict
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
    Demographic,
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
    counts = reports.events(store, Selection(query.window, query.source))
    if query.exact:
        found = await counts
        users, rows = await _demographics_in_part(store, query, asked, await reports.rest(store))
    else:
        # As if all were in the rollups, which it is but after an upgrade; then it is asked again. Users come first:
        # their sketches take the longest here, while Postgres is at the rest.
        names = [one.source.name for one in asked]
        users, found, rest, *rows = await reports.together(
            reports.users(store, names, query.window, exact=False), counts, reports.rest(store),
            *(one.found(store, query.window, tuple(STEPS)) for one in asked),
        )  # fmt: skip
        if rest.newer.intersection(names):
            users, rows = await _demographics_in_part(store, query, asked, rest)
    events: dict[str, int] = defaultdict(int)
    for row in found.counts:
        events[row.source] += row.count
    items = []
    for source, values in zip((one.source for one in asked), rows, strict=True):
        seen = users.get(source.name, SourceUsers(source.name, 0))
        items.append(shapes.demographics_item(source, events[source.name], seen, values))
    return {**bounds(query.window), "items": items}


async def _demographics_in_part(
    store: Connection, query: DemographicsQuery, asked: Sequence[Demographics], rest: reports.Rest
) -> tuple[dict[str, SourceUsers], list[list[Demographic]]]:
    """Users and values where not everything is counted in the rollups, or all is to be counted from the events."""
    names = [one.source.name for one in asked]
    uncounted = [name for name in names if query.exact or name in rest.backlog]
    users = await reports.users(store, uncounted, query.window, exact=True) if uncounted else {}
    if counted := [name for name in names if name not in uncounted]:
        steps = OLD_STEPS if rest.newer.intersection(counted) else tuple(STEPS)
        users |= await reports.users(store, counted, query.window, exact=False, steps=steps)
    rows = []
    for one in asked:
        steps = () if query.exact else _WITHOUT_MINUTES if one.source.name in rest.backlog else tuple(STEPS)
        rows.append(await one.found(store, query.window, steps))
    return users, rows


def _events_table(report: shapes.Report) -> str:
    if "series" in report:
        return tables.table(tables.EVENTS_SERIES, report["series"])
    return tables.table(tables.EVENTS, report["items"])


def _revenue_table(report: shapes.Report, by_campaign: bool) -> str:
    if "series" in report:
        return tables.table(tables.REVENUE_SERIES, report["series"])
    return tables.table(tables.REVENUE_BY_CAMPAIGN if by_campaign else tables.REVENUE, report["items"])
