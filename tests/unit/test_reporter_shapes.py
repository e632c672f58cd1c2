"""Windows, buckets, money, and the reports and tables made of the store's rows."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventpipeline.problems import Problem
from eventpipeline.reporter import money, shapes, tables, times
from eventpipeline.sources import built_in
from eventpipeline.store.reports import NOTHING, Demographic, EventBucket, RevenueTotal, SourceUsers, Span
from eventpipeline.store.windows import STEPS, Interval, Window, floor

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
instants = st.datetimes(timezones=st.just(UTC))


@given(st.none() | instants, st.none() | instants, st.integers(0, len(STEPS)))
def test_a_window_is_its_whole_buckets_and_its_edges(start: datetime | None, end: datetime | None, count: int) -> None:
    if start and end and start >= end:
        start, end = end, start + timedelta(microseconds=start < datetime.max.replace(tzinfo=UTC))
    steps = list(STEPS)[:count]
    split = Window(start, end).split(steps)
    buckets = [window for _, window in split.buckets]
    assert len(split.edges) <= 2
    assert len(buckets) <= max(2 * count - 1, 0)
    rng = random.Random(0)
    near = [at for window in (Window(start, end), *buckets) for at in (window.start, window.end) if at]
    for base in near:
        for _ in range(5):
            try:
                instant = base + timedelta(microseconds=rng.choice([-1, 0, 1, rng.randrange(-(10**10), 10**10)]))
            except OverflowError:
                continue
            parts = [part for part in (*buckets, *split.edges) if _holds(part, instant)]
            assert len(parts) == _holds(Window(start, end), instant)
            assert any(_holds(bucket, instant) for bucket in buckets) == bool(
                split.whole and _holds(split.whole, instant)
            )
    for edge in split.edges if steps else ():
        assert edge.start
        assert edge.end
        assert timedelta(0) < edge.end - edge.start < (1 + (len(split.edges) == 1)) * STEPS[steps[0]]
    for step, bucket in split.buckets:
        for bound in (bucket.start, bucket.end):
            assert bound is None or floor(bound, STEPS[step]) == bound or bound.year in (1, 9999)


def _holds(window: Window, instant: datetime) -> bool:
    return (window.start is None or window.start <= instant) and (window.end is None or instant < window.end)


def test_a_whole_window_touches_no_event() -> None:
    assert not Window(NOON, NOON + HOUR).split(["hour"]).edges
    assert not Window().split(list(STEPS)).edges
    assert Window(NOON, None).split(["minute"]).parameters["whole_to"] == "infinity"


def test_a_window_is_made_of_the_longest_buckets() -> None:
    start, end = datetime(2024, 5, 1, 22, 58, 30, tzinfo=UTC), datetime(2024, 5, 4, 1, 0, 0, 5, tzinfo=UTC)
    buckets = Window(start, end).split(list(STEPS)).buckets
    found = [(step, str(window.start)[8:16], str(window.end)[8:16]) for step, window in buckets]
    assert found == [
        ("day", "02 00:00", "04 00:00"),
        ("hour", "01 23:00", "02 00:00"),
        ("hour", "04 00:00", "04 01:00"),
        ("minute", "01 22:59", "01 23:00"),
    ]


def test_weeks_are_between_saturdays() -> None:
    first, last = datetime(2024, 4, 30, tzinfo=UTC), datetime(2024, 5, 20, tzinfo=UTC)
    found = Window(first, last).split(list(STEPS)).buckets
    assert [(step, str(window.start)[5:10], str(window.end)[5:10]) for step, window in found] == [
        ("week", "05-04", "05-18"),
        ("day", "04-30", "05-04"),
        ("day", "05-18", "05-20"),
    ]


@pytest.mark.parametrize(
    ("window", "span", "interval", "count", "first"),
    [
        (Window(), NOTHING, "day", 0, None),
        (Window(NOON, NOON + HOUR), NOTHING, "minute", 60, NOON),
        (Window(NOON + timedelta(seconds=1), NOON + HOUR), NOTHING, "hour", 1, NOON),
        (Window(NOON, NOON + timedelta(hours=13)), NOTHING, "day", 2, datetime(2024, 5, 1, tzinfo=UTC)),
        (Window(), Span(NOON, NOON), "minute", 1, NOON),
        (Window(None, NOON + HOUR), Span(NOON, NOON), "minute", 60, NOON),
        (Window(NOON + HOUR), Span(NOON, NOON), "hour", 0, None),
        (Window(NOON + HOUR), NOTHING, "hour", 0, None),
    ],
)
def test_buckets_fill_the_window(
    window: Window, span: Span, interval: Interval, count: int, first: datetime | None
) -> None:
    starts = times.bucket_starts(window, span, interval)
    assert len(starts) == count
    assert (starts[0] if starts else None) == first


def test_too_many_buckets_are_refused() -> None:
    with pytest.raises(Problem, match="gives 10001 buckets, more than 10000"):
        times.bucket_starts(Window(), Span(NOON, NOON + 10_000 * STEPS["minute"]), "minute")


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "0.00"),
        ("0E-6", "0.00"),
        ("1E+3", "1000.00"),
        ("12.5", "12.50"),
        ("12.500000", "12.50"),
        ("0.125", "0.125"),
    ],
)
def test_money_is_written_exactly(amount: str, text: str) -> None:
    assert money.written(Decimal(amount)) == text


def test_money_keeps_every_digit_of_a_sum() -> None:
    total = Decimal("123456789012345678901234567890.123456")
    assert money.written(total) == "123456789012345678901234567890.123456"
    assert money.mean(total, 3) == Decimal("41152263004115226300411522630.04")


@pytest.mark.parametrize(
    ("total", "count", "text"),
    [("0.01", 2, "0.00"), ("0.03", 2, "0.02"), ("0.05", 2, "0.02"), ("1", 3, "0.33"), ("5", 0, None), ("0", 4, "0.00")],
)
def test_means_are_rounded_half_to_even(total: str, count: int, text: str | None) -> None:
    assert money.written_mean(Decimal(total), count) == text


def test_a_transaction_without_an_amount_has_no_currency() -> None:
    totals = [RevenueTotal("EUR", Decimal("5.00"), 2, 2), RevenueTotal(None, Decimal(0), 1, 0)]
    report = shapes.revenue_report(Window(), totals, [], by_campaign=False)
    assert (report["total"], report["transactions"], report["averageOrderValue"]) == ("5.00", 3, "2.50")
    assert "totals" not in report


def test_demographics_follow_the_declaration() -> None:
    rows = [
        Demographic("ages", "65+", 1, Decimal(0), 0),
        Demographic("ages", "<18", 2, Decimal(0), 0),
        Demographic("averageAge", "", 3, Decimal(100), 0),
        Demographic("cities", "other", 4, Decimal(0), 1),
        Demographic("cities", "Lyon", 3, Decimal(0), 1),
        Demographic("cities", None, 2, Decimal(0), 1),
    ]
    assert shapes.demographics_item(built_in("facebook"), 3, SourceUsers("facebook", 2, is_exact=False), rows) == {
        "source": "facebook",
        "events": 3,
        "users": 2,
        "estimates": {"users": {"relativeError": 0.0319}, "cities": {"maxError": 1}},
        "averageAge": 33.33,
        "ages": [{"range": "<18", "events": 2, "share": 0.6667}, {"range": "65+", "events": 1, "share": 0.3333}],
        "genders": [],
        "countries": [],
        "cities": [
            {"value": "other", "events": 4, "share": 0.4444},
            {"value": "Lyon", "events": 3, "share": 0.3333},
            {"value": "other", "events": 2, "share": 0.2222},
        ],
    }


def test_empty_buckets_are_zero() -> None:
    series = shapes.events_series([NOON, NOON + HOUR], [EventBucket(NOON + HOUR, 3)])
    assert series == [
        {"start": "2024-05-01T12:00:00Z", "count": 0},
        {"start": "2024-05-01T13:00:00Z", "count": 3},
    ]
    assert shapes.revenue_series([NOON], []) == [
        {"start": "2024-05-01T12:00:00Z", "currency": None, "revenue": "0.00", "transactions": 0}
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\r=1"])
def test_no_cell_is_a_formula(text: str) -> None:
    row = {"source": text, "currency": None, "revenue": "1.00", "transactions": 1, "averageOrderValue": None}
    line = tables.table(tables.REVENUE, [row]).split("\r\n", 1)[1]
    assert line.lstrip('"').startswith(f"'{text}")


def test_a_table_of_nothing_has_its_columns() -> None:
    assert tables.table(tables.EVENTS, []) == "source,funnelStage,eventType,count\r\n"
    assert tables.demographics_table({"items": []}) == "source,measure,label,value,share\r\n"
