"""A source that a user declares has its collector and its reports, exact, without code."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from declared import WEBSHOP_FILE, order, random_event, random_source, visit
from eventpipeline.events import EventValidator
from eventpipeline.sources import Source
from eventpipeline.store.append import Appender
from eventpipeline.store.reports import Demographics
from eventpipeline.store.rollups import fold
from eventpipeline.store.schema import migrate
from eventpipeline.store.windows import STEPS, Window
from servers import free_offset, wait_for

DECLARATIONS = 200
START = datetime(2024, 5, 1, 11, 57, tzinfo=UTC)


class Shop:
    """`eventpipeline up -f manifests/webshop.yaml`."""

    def __init__(self, offset: int, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.gateway = f"http://127.0.0.1:{3000 + offset}"
        self.reporter = f"http://127.0.0.1:{3003 + offset}"
        self.collector = f"http://127.0.0.1:{3004 + offset}"

    def post(self, *events: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = httpx2.post(f"{self.gateway}/webhook/events", json=list(events)).json()
        return answer

    def report(self, name: str, **query: str) -> Any:
        answer = httpx2.get(f"{self.reporter}/reports/{name}", params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    folder, offset = tmp_path_factory.mktemp("shop"), free_offset()
    up = subprocess.Popen(
        [sys.executable, "-m", "eventpipeline", "up", "-f", str(WEBSHOP_FILE), "--port-offset", str(offset)],
        cwd=folder, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert up.stdout
        printed = []
        for line in up.stdout:
            printed.append(line)
            if "webshop is ready" in line:
                break
        assert up.poll() is None, "".join(printed)
        yield Shop(offset, folder)
    finally:
        up.terminate()
        up.communicate(timeout=60)


EVENTS = [
    order("o-1"),
    order("o-2", total="0.10", currency="USD", campaign=None, items=1),
    order("o-3", total=None, items=12),
    order("o-4", total="100.000001", items=4),
    order("o-1"),  # again
    {**order("o-5"), "eventType": "order.refused"},
    visit("v-1", category="hats", seconds=1.5),
    visit("v-2", category="hats", seconds=2),
    visit("v-3", stray={"seconds": "none"}),
]


def test_reports_of_a_declared_source_are_exact(shop: Shop) -> None:
    answer = shop.post(*EVENTS, order("bad", total="9,99"), {**order("worse"), "source": "bookshop"})
    assert (answer["accepted"], answer["rejected"]) == (9, 2)
    assert [(error["eventId"], error["reason"]) for error in answer["errors"]] == [
        ("bad", "invalid_value"), ("worse", "unknown_source"),
    ]  # fmt: skip
    wait_for(
        lambda: shop.report("events", source="webshop")["total"] == 8,
        what=lambda: str(shop.report("events")),
        seconds=20,
    )

    counts = {item["eventType"]: item["count"] for item in shop.report("events", source="webshop")["items"]}
    assert counts == {"order.paid": 4, "order.refused": 1, "product.view": 3}
    assert shop.report("events", eventType="order.refused")["total"] == 1

    revenue = shop.report("revenue", source="webshop")
    assert revenue["totals"] == [
        {"currency": "EUR", "total": "149.900001", "transactions": 3, "averageOrderValue": "74.95"},
        {"currency": "USD", "total": "0.10", "transactions": 1, "averageOrderValue": "0.10"},
    ]
    assert shop.report("revenue", campaignId="spring-sale")["transactions"] == 3

    (people,) = shop.report("demographics", source="webshop")["items"]
    assert people["events"] == 8
    assert people["users"] == 2
    assert people["averageItems"] == pytest.approx((3 + 1 + 12 + 4 + 3) / 5)
    assert people["averageSeconds"] == pytest.approx(1.75)
    assert people["tiers"] == [{"value": "gold", "events": 5, "share": 1}]
    assert people["countries"] == [{"value": "France", "events": 5, "share": 1}]
    assert people["categories"] == [{"value": "hats", "events": 2, "share": 1}]
    assert {row["range"]: row["events"] for row in people["basketSizes"]} == {"<2": 1, "2-4": 3, "10+": 1}


def test_it_has_a_collector_with_metrics_of_its_name(shop: Shop) -> None:
    wait_for(
        lambda: "webshop_collector_events_processed_total 9.0" in httpx2.get(f"{shop.collector}/metrics").text,
        what=lambda: httpx2.get(f"{shop.collector}/metrics").text,
        seconds=20,
    )
    status = httpx2.get(f"{shop.reporter}/status").json()
    assert [source["source"] for source in status["sources"]] == ["facebook", "tiktok", "webshop"]


def test_its_schema_is_in_the_documents(shop: Shop) -> None:
    document = httpx2.get(f"{shop.gateway}/openapi.json").json()
    total = document["components"]["schemas"]["webshop-bottom"]["properties"]["data"]["properties"]["order"]
    assert total["properties"]["currency"] == {"type": "string", "enum": ["EUR", "USD", "GBP"]}
    assert "webshop" in httpx2.get(f"{shop.reporter}/openapi.json").text


def test_the_commands_know_it(shop: Shop) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "eventpipeline", "report", "revenue", "--source", "webshop", "--output", "json"],
        cwd=shop.data_dir, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {item["source"] for item in json.loads(done.stdout)["items"]} == {"webshop"}


def command(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "eventpipeline", *arguments, "--output", "json"],
        cwd=shop.data_dir, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_what_the_stream_has_of_it_is_replayed_by_its_declaration(shop: Shop) -> None:
    without = command(shop, "replay")
    assert without.returncode == 1
    assert "the stream has events of webshop" in without.stderr
    done = command(shop, "replay", "--file", str(WEBSHOP_FILE))
    assert done.returncode == 0, done.stderr
    (replayed,) = [one for one in json.loads(done.stdout) if one["name"] == "webshop"]
    assert (replayed["events"], replayed["new"], replayed["refused"]) == (9, 0, 0)


def test_a_dead_letter_of_it_is_mended_and_replayed(shop: Shop) -> None:
    def bad() -> list[dict[str, Any]]:
        items = httpx2.get(f"{shop.reporter}/dead-letters").json()["items"]
        return [letter for letter in items if letter["eventId"] == "bad"]

    wait_for(lambda: len(bad()) == 1, what=lambda: "the dead letter", seconds=20)
    (letter,) = bad()
    again = command(shop, "dead-letters", "replay", letter["id"])
    assert (again.returncode, len(json.loads(again.stdout)["failed"])) == (1, 1), "the gateway refuses it as before"
    mended = command(shop, "dead-letters", "replay", letter["id"], "--set", 'data.order.total="9.99"', "--drop")
    assert json.loads(mended.stdout)["accepted"] == [letter["id"]], mended.stderr
    wait_for(lambda: shop.report("events", source="webshop")["total"] == 9, what=lambda: "it is counted", seconds=20)


@pytest.fixture(scope="module")
def one_database(shared_postgres: str) -> Iterator[str]:
    with psycopg.connect(shared_postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE declared")
        url = shared_postgres.rsplit("/", 1)[0] + "/declared"
        migrate(url)
        yield url
        connection.execute("DROP DATABASE declared WITH (FORCE)")


async def test_what_a_declaration_lets_in_the_store_takes(one_database: str) -> None:
    """Whatever is declared, nothing that was answered 202 is refused later, nor when it is folded or reported.

    Each declaration takes the place of the one before, for the same source, and some of its events are stored by a
    collector that has the older one still.
    """
    stored, older = 0, random_source(random.Random("first"))
    async with await psycopg.AsyncConnection.connect(one_database, autocommit=True) as connection:
        for seed in range(DECLARATIONS):
            rng = random.Random(seed)
            source = random_source(rng)
            taken = valid_events(rng, source, seed)
            try:
                new = [
                    (await Appender(reader).append(connection, b"[" + b",".join(events) + b"]")).new
                    for reader, events in ((source, taken[:30]), (older, taken[30:]))
                ]
                await fold(connection, source)
                await Demographics(source).found(connection, Window(START, START + timedelta(minutes=7)), tuple(STEPS))
            except Exception as error:
                raise AssertionError(f"seed {seed}: {source.model_dump_json(by_alias=True)}") from error
            assert sum(new) == len(taken), seed
            stored, older = stored + len(taken), source
    assert stored > 20 * DECLARATIONS, "the hunt must not turn into one for refusals"


def valid_events(rng: random.Random, source: Source, seed: int) -> list[bytes]:
    validator = EventValidator(source)
    events = [json.dumps(random_event(rng, source, f"{seed}-{index}")).encode() for index in range(60)]
    return [event for event in events if validator.fault(event) is None]
