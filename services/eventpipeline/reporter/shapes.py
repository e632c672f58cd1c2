"""The reports as they are answered, made of the rows that the store gives. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from eventpipeline.reporter import money
from eventpipeline.reporter.times import all_written, bounds
from eventpipeline.sources import Distribution, Source
from eventpipeline.store.distinct_users import RELATIVE_ERROR
from eventpipeline.store.reports import (
    Demographic,
    EventBucket,
    EventCount,
    Revenue,
    RevenueBucket,
    RevenueTotal,
    SourceUsers,
)
from eventpipeline.store.windows import Window

Report = dict[str, Any]
Bucket = TypeVar("Bucket", EventBucket, RevenueBucket)


def events_report(window: Window, counts: Sequence[EventCount]) -> Report:
    return {
        **bounds(window),
        "total": sum(row.count for row in counts),
        "items": [
            {
                "source": row.source,
                "funnelStage": row.funnel_stage,
                "eventType": row.event_type,
                "count": row.count,
            }
            for row in counts
        ],
    }


def events_series(starts: Sequence[datetime], buckets: Sequence[EventBucket]) -> list[Report]:
    """A bucket for each start, with 0 where there is nothing."""
    return [{"start": start, "count": found[0].count if found else 0} for start, found in _by_start(starts, buckets)]


def _by_start(starts: Sequence[datetime], buckets: Sequence[Bucket]) -> Iterator[tuple[str, list[Bucket]]]:
    """Each start, written, with the buckets that begin there; both in order of time.

    They are found by their order: to hash a time costs ten times as much as to compare two.
    """
    waiting = iter(buckets)
    bucket = next(waiting, None)
    for start, text in zip(starts, all_written(starts), strict=True):
        found = []
        while bucket is not None and bucket.start == start:
            found.append(bucket)
            bucket = next(waiting, None)
        yield text, found


def revenue_report(
    window: Window, totals: Sequence[RevenueTotal], items: Sequence[Revenue], *, by_campaign: bool
) -> Report:
    """Where there is more than one currency there is no total of all: `totals` has one for each."""
    report = {**bounds(window), **_total(totals)}
    if len(_currencies(totals)) > 1:
        report["totals"] = [{"currency": total.currency, **_total([total])} for total in totals]
    report["items"] = [
        {
            "source": row.source,
            **({"campaignId": row.campaign_id} if by_campaign else {}),
            "currency": row.currency,
            **_revenue(row),
        }
        for row in items
    ]
    return report


def _currencies(totals: Sequence[RevenueTotal]) -> set[str | None]:
    """The currencies in which there are amounts; a transaction without an amount has none."""
    return {total.currency for total in totals if total.amounts}


def _total(totals: Sequence[RevenueTotal]) -> Report:
    transactions = sum(total.transactions for total in totals)
    if len(_currencies(totals)) > 1:
        return {"total": None, "transactions": transactions, "averageOrderValue": None}
    amounts = [total for total in totals if total.amounts]
    total, count = (amounts[0].revenue, amounts[0].amounts) if amounts else (Decimal(0), 0)
    return {
        "total": money.written(total),
        "transactions": transactions,
        "averageOrderValue": money.written_mean(total, count),
    }


def _revenue(row: RevenueTotal) -> Report:
    return {
        "revenue": money.written(row.revenue),
        "transactions": row.transactions,
        "averageOrderValue": money.written_mean(row.revenue, row.amounts),
    }


def revenue_series(starts: Sequence[datetime], buckets: Sequence[RevenueBucket]) -> list[Report]:
    """A bucket for each start and currency, with 0.00 where there is nothing."""
    currencies = sorted({bucket.currency for bucket in buckets}, key=lambda name: name or "") or [None]
    series = []
    for start, found in _by_start(starts, buckets):
        by_currency = {bucket.currency: bucket for bucket in found}
        for currency in currencies:
            bucket = by_currency.get(currency)
            series.append(
                {
                    "start": start,
                    "currency": currency,
                    "revenue": money.written(bucket.revenue if bucket else Decimal(0)),
                    "transactions": bucket.transactions if bucket else 0,
                }
            )
    return series


def demographics_item(source: Source, events: int, users: SourceUsers, rows: Sequence[Demographic]) -> Report:
    """One source's demographics: what its file declares, under the names it gives.

    `estimates` has a member for each figure that is not exact, and says how wrong it can be.
    """
    by_dimension: dict[str, list[Demographic]] = {}
    for row in rows:
        by_dimension.setdefault(row.dimension, []).append(row)
    estimates: Report = {} if users.is_exact else {"users": {"relativeError": round(RELATIVE_ERROR, 4)}}
    estimates |= {row.dimension: {"maxError": row.error} for row in rows if row.error}
    item: Report = {"source": source.name, "events": events, "users": users.users, "estimates": estimates}
    for average in source.averages:
        found = by_dimension.get(average.name, [])
        mean = money.mean(found[0].total, found[0].events) if found else None
        item[average.name] = None if mean is None else float(mean)
    for distribution in source.distributions:
        item[distribution.name] = _distribution(distribution, by_dimension.get(distribution.name, []))
    return item


def _distribution(distribution: Distribution, rows: Sequence[Demographic]) -> list[Report]:
    """Ranges in their order, values as they come (by their events), what is not shown as `other` at the end."""
    carrying = sum(row.events for row in rows)

    def entry(key: str, name: str, events: int) -> Report:
        return {key: name, "events": events, "share": round(events / carrying, 4)}

    if distribution.ranges:
        counts: Mapping[str | None, int] = {row.value: row.events for row in rows}
        return [entry("range", label, counts[label]) for label in distribution.range_labels if label in counts]
    shown = [entry("value", row.value, row.events) for row in rows if row.value is not None]
    return shown + [entry("value", "other", row.events) for row in rows if row.value is None]
