"""The reporter beside its reports: wrong requests, status, dead letters, what is away, the page and the documents."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import LiteralString

import httpx2
import orjson
import psycopg
import pytest
import pytest_asyncio

from brute_force import random_events
from eventpipeline.store import StoreUnavailable, reports
from eventpipeline.store.pool import open_pool
from reporter_client import ask, fill, reporter, reporter_process
from servers import free_port, postgres_server

EVENTS = random_events(seed=11, count=300)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("reporter")) as url:
        fill(url, EVENTS)
        yield url


@pytest_asyncio.fixture
async def client(database: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with reporter(database) as opened:
        yield opened


@pytest.mark.parametrize(
    ("path", "name", "says"),
    [
        ("/reports/events?sauce=facebook", "sauce", "there is no such parameter; there are from, to, source"),
        ("/reports/events?source=facebok", "source", "must be one of facebook, tiktok"),
        ("/reports/events?source=", "source", "must be one of facebook, tiktok"),
        ("/reports/events?source=facebook&source=tiktok", "source", "must be given once"),
        ("/reports/events?funnelStage=middle", "funnelStage", "'top' or 'bottom'"),
        ("/reports/events?eventType=ad.viewed", "eventType", "must be one of ad.click, ad.view"),
        ("/reports/events?from=yesterday", "from", "must be an ISO 8601 time with an offset"),
        ("/reports/events?from=2024-05-01", "from", "must be an ISO 8601 time with an offset"),
        ("/reports/events?from=2024-05-01T00:00:00", "from", "must be an ISO 8601 time with an offset"),
        ("/reports/events?from=2024-05-01T00:00:00+02:00", "from", "a + is written %2B in a URL"),
        ("/reports/events?to=2023-02-29T00:00:00Z", "to", "must be an ISO 8601 time with an offset"),
        ("/reports/events?to=0001-01-01T00:00:00%2B14:00", "to", "must be an ISO 8601 time with an offset"),
        ("/reports/events?from=1714521600", "from", "must be an ISO 8601 time with an offset"),
        ("/reports/events?from=2024-05-01T00:00:00Z&to=2024-05-01T00:00:00Z", "to", "must be later than from"),
        ("/reports/revenue?funnelStage=top", "funnelStage", "there is no such parameter"),
        ("/reports/revenue?groupBy=city", "groupBy", "'campaign'"),
        ("/reports/revenue?limit=0", "limit", "greater than or equal to 1"),
        ("/reports/revenue?limit=1001", "limit", "less than or equal to 1000"),
        ("/reports/revenue?limit=many", "limit", "valid integer"),
        ("/reports/revenue?campaignId=%00", "campaignId", "pattern"),
        (f"/reports/revenue?campaignId={'x' * 257}", "campaignId", "at most 256 characters"),
        ("/reports/events?format=xml", "format", "'json' or 'csv'"),
        ("/reports/events?interval=second", "interval", "'minute', 'hour' or 'day'"),
        ("/reports/demographics?interval=day", "interval", "there is no such parameter"),
        (
            "/reports/events?interval=minute&from=2024-05-01T00:00:00Z&to=2024-05-07T22:40:01Z",
            "interval",
            "gives 10001 buckets, more than 10000",
        ),
        ("/status?x=1", "x", "there is no such parameter; there are none"),
        ("/dead-letters?after=nonsense", "after", "must be the `next` of an earlier answer"),
    ],
)
async def test_wrong_parameters_are_named(client: httpx2.AsyncClient, path: str, name: str, says: str) -> None:
    response = await client.get(path)
    assert response.status_code == 422, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    (fault,) = problem["errors"]
    assert fault["loc"] == ["query", name]
    assert says in fault["msg"]
    assert name in problem["detail"]


async def test_all_that_is_wrong_is_said_at_once(client: httpx2.AsyncClient) -> None:
    problem = (await client.get("/reports/events?from=x&sauce=y&source=z")).json()
    assert {fault["loc"][1] for fault in problem["errors"]} == {"from", "sauce", "source"}


async def test_exactly_the_most_buckets_are_given(client: httpx2.AsyncClient) -> None:
    window = {"from_": "2024-05-01T00:00:00Z", "to": "2024-05-07T22:40:00Z"}
    report = await ask(client, "/reports/events", interval="minute", **window)
    assert len(report["series"]) == 10_000
    assert sum(bucket["count"] for bucket in report["series"]) == report["total"] == len(EVENTS)


async def test_any_time_of_the_calendar_is_taken(client: httpx2.AsyncClient) -> None:
    window = {"from_": "0001-01-01T00:00:00Z", "to": "9999-12-31T23:59:59.999999Z"}
    assert (await ask(client, "/reports/events", **window))["total"] == len(EVENTS)
    report = await ask(client, "/reports/demographics", from_="9999-12-31T23:59:30Z")
    assert [item["events"] for item in report["items"]] == [0, 0]


async def test_revenue_never_crosses_currencies(database: str, client: httpx2.AsyncClient) -> None:
    insert = """INSERT INTO rollup_events VALUES
        ('day', '1990-01-01', 'tiktok', 'bottom', 'purchase', 'EUR', 3, 3, 2, 5.01),
        ('day', '1990-01-01', 'tiktok', 'bottom', 'purchase', 'USD', 1, 1, 1, 7.005),
        ('day', '1990-01-01', 'tiktok', 'bottom', 'purchase', NULL, 1, 1, 0, 0),
        ('day', '1990-01-01', 'tiktok', 'bottom', 'follow', NULL, 1, 0, 0, 0)"""
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as connection:
        connection.execute(insert)
        try:
            report = await ask(client, "/reports/revenue", to="1991-01-01T00:00:00Z", interval="day")
        finally:
            connection.execute("DELETE FROM rollup_events WHERE start < '1991-01-01'")
    assert (report["total"], report["averageOrderValue"], report["transactions"]) == (None, None, 5)
    assert report["totals"] == [
        {"currency": None, "total": "0.00", "transactions": 1, "averageOrderValue": None},
        {"currency": "EUR", "total": "5.01", "transactions": 3, "averageOrderValue": "2.50"},
        {"currency": "USD", "total": "7.005", "transactions": 1, "averageOrderValue": "7.00"},
    ]
    assert [(item["currency"], item["revenue"]) for item in report["items"]] == [
        ("USD", "7.005"),
        ("EUR", "5.01"),
        (None, "0.00"),
    ]
    assert [bucket["currency"] for bucket in report["series"][:3]] == [None, "EUR", "USD"]


async def test_head_works_where_get_does(client: httpx2.AsyncClient) -> None:
    for path in ("/reports/events", "/reports/revenue", "/reports/demographics", "/status", "/dead-letters", "/docs"):
        assert (await client.head(path)).status_code == 200


async def test_other_methods_and_paths_are_problems(client: httpx2.AsyncClient) -> None:
    response = await client.post("/reports/events")
    assert (response.status_code, set(response.headers["allow"].split(", "))) == (405, {"GET", "HEAD"})
    assert response.headers["content-type"] == "application/problem+json"
    assert (await client.get("/reports")).status_code == 404


async def test_the_documents_need_no_outside(client: httpx2.AsyncClient) -> None:
    page = await client.get("/docs")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "http" not in page.text
    for name, kind in [
        ("swagger-ui.css", "text/css"),
        ("swagger-ui-bundle.js", "javascript"),
        ("start.js", "javascript"),
    ]:
        asset = await client.get(f"/docs/assets/{name}")
        assert asset.status_code == 200
        assert kind in asset.headers["content-type"]
    assert (await client.get("/openapi.json")).json()["openapi"].startswith("3.1")


async def test_the_page_is_served_whole(client: httpx2.AsyncClient) -> None:
    page = await client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assets = re.findall(r'(?:src|href)="(assets/[^"]+)"', page.text)
    assert assets
    kinds = {".js": "javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    for path in assets:
        asset = await client.get(f"/{path}")
        assert asset.status_code == 200, path
        assert kinds[Path(path).suffix] in asset.headers["content-type"]
        assert asset.headers["x-content-type-options"] == "nosniff"
        again = await client.get(f"/{path}", headers={"if-none-match": asset.headers["etag"]})
        assert again.status_code == 304
    assert (await client.get("/assets/../app.py")).status_code == 404
    assert (await client.get("/assets/%2e%2e/app.py")).status_code == 404


async def test_a_report_that_takes_too_long_says_so(database: str) -> None:
    with pytest.raises(StoreUnavailable, match="ask for a shorter time between from and to"):
        await _execute(database, "SET LOCAL statement_timeout = 20", "SELECT pg_sleep(5)")


async def test_a_snapshot_cannot_write(database: str) -> None:
    with pytest.raises(StoreUnavailable, match="read-only transaction"):
        await _execute(database, "DELETE FROM rollup_events")


async def _execute(database: str, *statements: LiteralString) -> None:
    async with open_pool(database, name="test", read_only=True, max_size=1) as pool, reports.snapshot(pool) as store:
        for statement in statements:
            await store.execute(statement)


async def test_what_is_generated_is_counted(client: httpx2.AsyncClient) -> None:
    await client.get("/reports/events")
    await client.get("/reports/events?from=x")
    metrics = (await client.get("/metrics")).text
    assert 'reporter_reports_generated_total{report="events"} 1.0' in metrics
    assert 'reporter_reports_failed_total{report="events"} 0.0' in metrics
    assert 'reporter_reports_latency_seconds_count{report="events"} 1.0' in metrics


async def test_without_postgres_reports_are_unavailable() -> None:
    nowhere = f"postgresql://postgres@127.0.0.1:{free_port()}/eventpipeline"
    async with reporter(nowhere) as client:
        responses = await asyncio.gather(*map(client.get, ("/reports/events", "/status", "/dead-letters", "/readyz")))
        metrics = (await client.get("/metrics")).text
    for response in responses[:3]:
        assert response.status_code == 503
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["retry-after"] == "5"
        assert "Postgres did not answer" in response.json()["detail"]
    assert responses[3].status_code == 503
    assert 'reporter_reports_failed_total{report="events"} 1.0' in metrics


def test_the_service_starts_serves_and_stops(database: str, tmp_path: Path) -> None:
    log = tmp_path / "reporter.log"
    with reporter_process(database, log) as (process, address):
        assert httpx2.get(f"{address}/reports/events").json()["total"] == len(EVENTS)
        head = httpx2.head(f"{address}/reports/events")
        assert (head.status_code, head.content) == (200, b"")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0, log.read_text()
    lines = [orjson.loads(line) for line in log.read_text().splitlines()]
    assert any(line.get("path") == "/reports/events" and line["status"] == 200 for line in lines)
