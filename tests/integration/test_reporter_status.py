"""The reporter's status and its dead letters, with NATS and without."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import pytest_asyncio

from brute_force import random_events
from eventpipeline.stream import DEAD, Stream
from reporter_client import ask, fill, reporter, settings_for
from servers import nats_server, postgres_server

EVENTS = random_events(seed=17, count=100)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("reporter")) as url:
        fill(url, EVENTS)
        yield url


@pytest_asyncio.fixture
async def client(database: str) -> AsyncIterator[httpx2.AsyncClient]:
    async with reporter(database) as opened:
        yield opened


async def test_status_without_nats(client: httpx2.AsyncClient) -> None:
    status = await ask(client, "/status")
    assert status["stream"] == "NATS is not connected"
    assert [source["pendingMessages"] for source in status["sources"]] == [None, None]
    assert sum(source["events"] for source in status["sources"]) == len(EVENTS)
    assert {source["source"]: source["deadLetters"] for source in status["sources"]} == {"facebook": 2, "tiktok": 1}
    assert status["deadLetters"] == {
        "total": 5,
        "retentionSeconds": None,
        "pendingMessages": None,
        "streamBytes": None,
        "streamByteLimit": None,
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
    dead = status["deadLetters"]
    assert dead["pendingMessages"] == 2
    assert 0 < dead["streamBytes"] < dead["streamByteLimit"]


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
        "expiresAt": None,
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


async def test_a_dead_letter_is_dropped_once(client: httpx2.AsyncClient, database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute(
            "INSERT INTO dead_letters (id, received_at, reason, detail, payload, payload_bytes, payload_sha256) "
            "SELECT '00000000-0000-0000-0000-00000000d0d0', '1990-01-01', reason, detail, payload, payload_bytes, "
            "payload_sha256 FROM dead_letters LIMIT 1"
        )
    path = "/dead-letters/00000000-0000-0000-0000-00000000d0d0"
    assert (await client.get(path)).status_code == 200
    dropped = await client.delete(path)
    assert (dropped.status_code, dropped.content) == (204, b"")
    for again in (await client.delete(path), await client.get(path), await client.delete("/dead-letters/nonsense")):
        assert again.status_code == 404
        assert again.json()["detail"].startswith("there is no dead letter")


async def test_a_reporter_that_may_only_read_drops_nothing(database: str) -> None:
    with psycopg.connect(database) as connection:
        connection.execute("CREATE ROLE reader LOGIN PASSWORD 'reader'")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")
    address = httpx2.URL(database).copy_with(username="reader", password="reader")
    async with reporter(str(address)) as client:
        letters = (await ask(client, "/dead-letters"))["items"]
        refused = await client.delete(f"/dead-letters/{letters[0]['id']}")
        assert refused.status_code == 403
        assert "may not drop" in refused.json()["detail"]
        assert (await ask(client, "/dead-letters"))["items"] == letters
