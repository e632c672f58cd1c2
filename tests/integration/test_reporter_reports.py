"""Every report against the same counted one by one, for windows that cut minutes and hours anywhere."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx2
import pytest
import pytest_asyncio

import brute_force
from brute_force import START, Occurrence, random_events, random_instant, within
from eventpipeline.sources import built_in
from reporter_client import ask, fill, reporter
from servers import postgres_server

EVENTS = random_events(seed=7, count=4000)
SOURCES = ("facebook", "tiktok")


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("reporter")) as url:
        fill(url, EVENTS)
        yield url


@pytest_asyncio.fixture
async def client(database: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with reporter(database) as opened:
        yield opened


def windows(seed: int, count: int) -> list[tuple[datetime | None, datetime | None]]:
    rng = random.Random(seed)
    found: list[tuple[datetime | None, datetime | None]] = [(None, None)]
    while len(found) < count:
        start = rng.choice([None, random_instant(rng), random_instant(rng)])
        # Short windows lie within a minute or an hour.
        length = timedelta(microseconds=rng.choice([1, 10**6, 40 * 10**6, 3 * 10**9, rng.randrange(1, 2 * 10**10)]))
        end = rng.choice([None, random_instant(rng), (start or START) + length])
        if not (start and end and start >= end):
            found.append((start, end))
    return found


def text(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


async def test_events_are_exact(client: httpx2.AsyncClient) -> None:
    for start, end in windows(seed=1, count=120):
        report = await ask(client, "/reports/events", from_=text(start), to=text(end))
        expected = brute_force.count_events(within(EVENTS, start, end))
        found = {(item["source"], item["funnelStage"], item["eventType"]): item["count"] for item in report["items"]}
        assert found == expected, (start, end)
        assert report["total"] == sum(expected.values())


async def test_events_are_filtered(client: httpx2.AsyncClient) -> None:
    rng = random.Random(2)
    for start, end in windows(seed=2, count=40):
        source = rng.choice([None, "facebook", "tiktok"])
        stage = rng.choice([None, "top", "bottom"])
        kind = rng.choice([None, "video.view", "purchase", "comment"])
        report = await ask(
            client, "/reports/events", from_=text(start), to=text(end), source=source, funnelStage=stage, eventType=kind
        )
        chosen = [
            event
            for event in within(EVENTS, start, end)
            if all(want in (None, has) for want, has in zip((source, stage, kind), event.key, strict=True))
        ]
        assert report["total"] == len(chosen)


async def test_revenue_is_exact(client: httpx2.AsyncClient) -> None:
    for start, end in windows(seed=3, count=80):
        report = await ask(client, "/reports/revenue", from_=text(start), to=text(end))
        expected = brute_force.count_money(within(EVENTS, start, end), lambda event: event.body["source"])
        assert {item["source"] for item in report["items"]} == set(expected)
        for item in report["items"]:
            money = expected[item["source"]]
            assert (Decimal(item["revenue"]), item["transactions"]) == (money.revenue, money.transactions)
            average = item["averageOrderValue"]
            assert (average and Decimal(average)) == money.average
            assert item["currency"] is None
            assert "campaignId" not in item
        all_of_it = brute_force.count_money(within(EVENTS, start, end), lambda _: None).get(None, brute_force.Money())
        assert Decimal(report["total"]) == all_of_it.revenue
        assert report["transactions"] == all_of_it.transactions
        assert "totals" not in report


async def test_revenue_of_nothing_is_zero(client: httpx2.AsyncClient) -> None:
    report = await ask(client, "/reports/revenue", from_="1999-01-01T00:00:00Z", to="1999-01-01T00:00:30Z")
    assert report == {
        "from": "1999-01-01T00:00:00Z",
        "to": "1999-01-01T00:00:30Z",
        "total": "0.00",
        "transactions": 0,
        "averageOrderValue": None,
        "items": [],
    }


async def test_revenue_by_campaign(client: httpx2.AsyncClient) -> None:
    for start, end in windows(seed=4, count=30):
        report = await ask(client, "/reports/revenue", from_=text(start), to=text(end), groupBy="campaign", limit=7)
        expected = brute_force.count_money(within(EVENTS, start, end), _campaign)
        assert len(report["items"]) == min(7, len(expected))
        for item in report["items"]:
            money = expected[item["source"], item["campaignId"]]
            assert (Decimal(item["revenue"]), item["transactions"]) == (money.revenue, money.transactions)
        shown = [Decimal(item["revenue"]) for item in report["items"]]
        assert shown == sorted((money.revenue for money in expected.values()), reverse=True)[:7]
        assert Decimal(report["total"]) == sum(money.revenue for money in expected.values())


async def test_revenue_of_one_campaign(client: httpx2.AsyncClient) -> None:
    for start, end in windows(seed=5, count=30):
        report = await ask(client, "/reports/revenue", from_=text(start), to=text(end), campaignId="camp 3")
        expected = brute_force.count_money(within(EVENTS, start, end), _campaign)
        money = expected.get(("facebook", "camp 3"), brute_force.Money())
        assert Decimal(report["total"]) == money.revenue
        assert report["transactions"] == money.transactions
        assert [item["campaignId"] for item in report["items"]] == ["camp 3"] * bool(money.transactions)


def _campaign(event: Occurrence) -> tuple[str, str | None]:
    return event.body["source"], event.body["data"]["engagement"].get("campaignId")


async def test_demographics_are_exact(client: httpx2.AsyncClient) -> None:
    for start, end in windows(seed=6, count=60):
        report = await ask(client, "/reports/demographics", from_=text(start), to=text(end))
        chosen = within(EVENTS, start, end)
        assert_demographics(report, chosen)


def assert_demographics(report: Any, events: Sequence[Occurrence], *, sources: Sequence[str] = SOURCES) -> None:
    """All is exact but the users, and these are right to what is said of them."""
    for item, name in zip(report["items"], sources, strict=True):
        expected = brute_force.demographics(built_in(name), events)
        users, error = expected.pop("users"), item.pop("estimates").get("users", {"relativeError": 0})["relativeError"]
        assert abs(item.pop("users") - users) <= 2 * error * users
        assert item == expected


async def test_demographics_are_counted_one_by_one_where_asked(client: httpx2.AsyncClient) -> None:
    for start, end in windows(seed=8, count=10):
        report = await ask(client, "/reports/demographics", from_=text(start), to=text(end), exact="true")
        chosen = within(EVENTS, start, end)
        assert report["items"] == [
            brute_force.demographics(built_in(name), chosen) | {"estimates": {}} for name in SOURCES
        ], (start, end)


async def test_users_of_less_than_a_minute_are_exact(client: httpx2.AsyncClient) -> None:
    report = await ask(client, "/reports/demographics", from_="2024-05-01T23:00:20Z", to="2024-05-01T23:00:50Z")
    assert [item["estimates"] for item in report["items"]] == [{}, {}]


async def test_demographics_of_one_source(client: httpx2.AsyncClient) -> None:
    report = await ask(client, "/reports/demographics", source="tiktok")
    assert_demographics(report, EVENTS, sources=["tiktok"])
    assert (report["from"], report["to"]) == (None, None)


@pytest.mark.parametrize(("interval", "step"), [("minute", 60), ("hour", 3600), ("day", 86400)])
async def test_series_have_every_bucket(client: httpx2.AsyncClient, interval: str, step: int) -> None:
    for start, end in windows(seed=step, count=12):
        asked = {"from_": text(start), "to": text(end), "interval": interval}
        chosen = within(EVENTS, start, end)
        events = (await ask(client, "/reports/events", **asked))["series"]
        money = (await ask(client, "/reports/revenue", **asked))["series"]
        counts = {_bucket(bucket["start"]): bucket["count"] for bucket in events}
        assert {_floor(event.time, step) for event in chosen} <= set(counts)
        assert sum(counts.values()) == len(chosen)
        for bucket, count in counts.items():
            assert count == sum(_floor(event.time, step) == bucket for event in chosen)
        expected = brute_force.count_money(chosen, lambda event: _floor(event.time, step))
        assert {_bucket(bucket["start"]) for bucket in money} >= set(expected)
        for bucket in money:
            found = expected.get(_bucket(bucket["start"]), brute_force.Money())
            assert (Decimal(bucket["revenue"]), bucket["transactions"]) == (found.revenue, found.transactions)
        for series in (events, money):
            starts = [_bucket(bucket["start"]) for bucket in series]
            assert starts == [starts[0] + timedelta(seconds=step) * index for index in range(len(starts))]
            if start and starts:
                assert starts[0] == _floor(start, step)


async def test_a_series_of_one_campaign(client: httpx2.AsyncClient) -> None:
    report = await ask(client, "/reports/revenue", campaignId="camp 3", interval="hour")
    assert sum(Decimal(bucket["revenue"]) for bucket in report["series"]) == Decimal(report["total"])
    assert sum(bucket["transactions"] for bucket in report["series"]) == report["transactions"]


def _bucket(start: str) -> datetime:
    return datetime.fromisoformat(start)


def _floor(instant: datetime, step: int) -> datetime:
    return datetime.fromtimestamp(int(instant.timestamp()) // step * step, UTC)


async def test_times_may_have_any_offset(client: httpx2.AsyncClient) -> None:
    report = await ask(client, "/reports/events", from_="2024-05-02T01:00:00+02:00", to="2024-05-01T20:30:00.5-03:00")
    assert report["from"] == "2024-05-01T23:00:00Z"
    assert report["to"] == "2024-05-01T23:30:00.500000Z"
    expected = within(EVENTS, datetime(2024, 5, 1, 23, tzinfo=UTC), datetime(2024, 5, 1, 23, 30, 0, 500000, UTC))
    assert report["total"] == len(expected)


async def test_csv_has_the_items(client: httpx2.AsyncClient) -> None:
    response = await client.get("/reports/events", params={"format": "csv"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert sum(int(row["count"]) for row in rows) == len(EVENTS)
    response = await client.get("/reports/revenue", params={"interval": "hour"}, headers={"accept": "text/csv"})
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert list(rows[0]) == ["start", "currency", "revenue", "transactions"]
    assert len(rows) == len((await ask(client, "/reports/revenue", interval="hour"))["series"])


async def test_csv_of_demographics_is_safe_for_spreadsheets(client: httpx2.AsyncClient) -> None:
    response = await client.get("/reports/demographics", params={"format": "csv", "source": "facebook"})
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert {row["label"] for row in rows if row["measure"] == "countries"} == {"France", "Chad", "'=Peru"}
    users = int({row["measure"]: row["value"] for row in rows if not row["label"]}["users"])
    bounds = {row["label"]: float(row["value"]) for row in rows if row["measure"] == "estimates"}
    assert abs(users - 200) <= 2 * bounds["users"] * 200
