"""The reporter beside its reports: wrong requests, status, dead letters, what is away, the page and the documents."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import orjson
import psycopg
import pytest
import pytest_asyncio

from brute_force import random_events
from eventpipeline.stream import DEAD, Stream
from reporter_client import ask, fill, reporter, reporter_process, settings_for
from servers import free_port, nats_server, postgres_server

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


async def test_status_without_nats(client: httpx2.AsyncClient) -> None:
    status = await ask(client, "/status")
    assert status["stream"] == "NATS is not connected"
    assert [source["pendingMessages"] for source in status["sources"]] == [None, None]
    assert sum(source["events"] for source in status["sources"]) == len(EVENTS)
    assert {source["source"]: source["deadLetters"] for source in status["sources"]} == {"facebook": 2, "tiktok": 1}
    assert status["deadLetters"] == {
        "total": 5,
        "pendingMessages": None,
        "byReason": {"invalid_json": 1, "invalid_value": 1, "missing_field": 2, "unknown_source": 1},
        "bySource": {"facebook": 2, "tiktok": 1, "other": 2},
    }
    ready = await client.get("/readyz")
    assert ready.status_code == 200
    assert ready.json()["checks"] == {"store": "ok", "stream": "NATS is not connected"}


async def test_status_with_nats(database: str, tmp_path: Path) -> None:
    with nats_server(tmp_path, max_file_bytes=4 * 2**30) as nats_url:
        stream = Stream(settings_for(database, nats_url), "test")
        stream.start()
        await _publish(stream, "facebook", 3)
        await _publish(stream, DEAD, 2)
        async with reporter(database, nats_url) as client:
            status = await _until_connected(client)
        await stream.close()
    facebook, tiktok = status["sources"]
    assert (facebook["pendingMessages"], tiktok["pendingMessages"]) == (3, 0)
    assert facebook["oldestPendingSeconds"] >= 0
    assert 0 < facebook["streamBytes"] < facebook["streamByteLimit"]
    assert status["deadLetters"]["pendingMessages"] == 2


async def _publish(stream: Stream, source: str, count: int) -> None:
    while await stream.check():
        await asyncio.sleep(0.05)
    for _ in range(count):
        await stream.publish(source, b"[]", {}, timeout=5)


async def _until_connected(client: httpx2.AsyncClient) -> Any:
    async with asyncio.timeout(10):
        while (status := await ask(client, "/status"))["stream"] != "ok":
            await asyncio.sleep(0.05)
    return status


async def test_dead_letters_page_by_page(client: httpx2.AsyncClient) -> None:
    seen: list[dict[str, Any]] = []
    after: str | None = None
    for expected in (2, 2, 1):
        page = await ask(client, "/dead-letters", limit=2, after=after)
        assert len(page["items"]) == expected
        seen += page["items"]
        after = page["next"]
    assert after is None
    assert [item["eventId"] for item in seen] == ["d", "c", "b", None, "a"]
    assert seen[2] == {
        "id": seen[2]["id"],
        "receivedAt": "2024-05-01T00:00:02Z",
        "source": "facebook",
        "funnelStage": "invalid-stage",
        "eventType": "ad.view",
        "eventId": "b",
        "reason": "invalid_value",
        "detail": [],
        "correlationId": "corr",
        "payloadBytes": 16,
    }


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"source": "facebook"}, ["b", "a"]),
        ({"source": "myspace"}, ["c"]),
        ({"reason": "missing_field"}, ["d", "a"]),
        ({"funnelStage": "invalid-stage"}, ["b"]),
        ({"eventId": "c"}, ["c"]),
        ({"from_": "2024-05-01T00:00:03Z"}, ["d", "c"]),
        ({"from_": "2024-05-01T00:00:02Z", "to": "2024-05-01T00:00:04Z"}, ["c", "b"]),
        ({"reason": "missing_field", "source": "facebook"}, ["a"]),
    ],
)
async def test_dead_letters_are_filtered(
    client: httpx2.AsyncClient, parameters: dict[str, str], expected: list[str]
) -> None:
    page = await ask(client, "/dead-letters", **parameters)
    assert [item["eventId"] for item in page["items"]] == expected


async def test_a_dead_letter_shows_what_was_sent(client: httpx2.AsyncClient) -> None:
    for item in (await ask(client, "/dead-letters"))["items"]:
        shown = await ask(client, f"/dead-letters/{item['id']}")
        coded = shown.pop("payloadEncoding", None)
        payload = base64.b64decode(shown.pop("payload")) if coded else shown.pop("payload").encode()
        assert hashlib.sha256(payload).hexdigest() == shown.pop("payloadSha256")
        assert len(payload) == item["payloadBytes"]
        assert coded == ("base64" if item["reason"] == "invalid_json" else None)
        assert shown == item


@pytest.mark.parametrize("identity", ["00000000-0000-0000-0000-000000000000", "nonsense", "%00"])
async def test_an_unknown_dead_letter_is_not_found(client: httpx2.AsyncClient, identity: str) -> None:
    response = await client.get(f"/dead-letters/{identity}")
    assert response.status_code == 404
    assert response.json()["detail"].startswith("there is no dead letter")


async def test_revenue_never_crosses_currencies(database: str, client: httpx2.AsyncClient) -> None:
    insert = """INSERT INTO rollup_minute VALUES
        ('1990-01-01', 'tiktok', 'bottom', 'purchase', 'EUR', 3, 3, 2, 5.01),
        ('1990-01-01', 'tiktok', 'bottom', 'purchase', 'USD', 1, 1, 1, 7.005),
        ('1990-01-01', 'tiktok', 'bottom', 'purchase', NULL, 1, 1, 0, 0),
        ('1990-01-01', 'tiktok', 'bottom', 'follow', NULL, 1, 0, 0, 0)"""
    with psycopg.connect(database, autocommit=True, options="-c timezone=UTC") as connection:
        connection.execute(insert)
        try:
            report = await ask(client, "/reports/revenue", to="1991-01-01T00:00:00Z", interval="day")
        finally:
            connection.execute("DELETE FROM rollup_minute WHERE minute < '1991-01-01'")
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
