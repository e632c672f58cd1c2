"""What the gateway's rules take, Postgres takes, and gives back the same: else a 202 would be a lie."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from psycopg import AsyncConnection

from eventpipeline.envelope import RequestRun, pack
from eventpipeline.store import Refused
from eventpipeline.store.append import Appender
from eventpipeline.store.schema import migrate
from samples import PLACES, SOURCES, event, gateway_takes, hunting_events, sized, text, with_extra
from servers import postgres_server

EVENTS = 2500
BATCH = 200


@dataclass(frozen=True)
class Taken:
    """An event that the gateway takes, and the correlation id under which the test stores it."""

    source: str
    written: bytes
    correlation_id: str


@pytest.fixture(scope="module")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("store")
    with postgres_server(folder) as url:
        migrate(url)
        yield url


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[AsyncConnection[Any]]:
    async with await AsyncConnection.connect(database_url, autocommit=True, options="-c timezone=UTC") as opened:
        await opened.execute("TRUNCATE events, rollup_events_batch, rollup_dimensions_batch, rollup_users_batch")
        yield opened


def generated() -> list[Taken]:
    """Those of generated events that the gateway takes, each identity once."""
    taken: list[Taken] = []
    identities: set[tuple[str, str, datetime]] = set()

    # No shrinking: whether Postgres takes an event is asked for many at once, later.
    @settings(
        max_examples=EVENTS,
        derandomize=True,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hunting_events())
    def collect(found: tuple[str, bytes]) -> None:
        source, written = found
        written = written.replace(b'"eventId":"e-', b'"eventId":"e-%d-' % len(taken), 1)
        if gateway_takes(source, written):
            parsed = json.loads(written)
            identity = (source, parsed["eventId"], instant(parsed["timestamp"]))
            if identity not in identities:
                identities.add(identity)
                taken.append(Taken(source, written, f"c-{len(taken)}"))

    collect()
    return taken


async def test_generated_events(connection: AsyncConnection[Any]) -> None:
    taken = generated()
    assert len(taken) > EVENTS // 2  # the hunt must not turn into one for refusals
    await store_and_compare(connection, taken)


async def test_known_edges(connection: AsyncConnection[Any]) -> None:
    raws = [
        b"9" * 4300,
        b"-" + b"9" * 4300,
        b"1e308",
        b"1e-16383",
        b"0e-16383",
        b"0e16383",
        b"-0.0",
        b"0." + b"0" * 16_382 + b"1",
        b"1" + b"0" * 4299 + b"e-4299",
        b"0." + b"0" * 14_000 + b"1e13900",
        b"1e-000000000000000000005",
        b"1e" + b"0" * 14_000 + b"5",
        b"[" * 198 + b"]" * 198,
        b'"' + "\ufffe\uffff\U0010ffff\ufdd0".encode() + b'"',
        b'{"' + b"k" * 300 + b'":1,"' + b"k" * 300 + b'":2}',
        b'{"":{"":{"":0}}}',
        b'{"a":1,"\\u0061":2}',
        b'"\\\\u0000"',
        b'"' + b"\\u00e9" * 40_000 + b'"',
        b"[" + b",".join([b"1e300"] * 30_000) + b"]",
    ]
    written = [with_extra(raw).replace(b'"e-1"', b'"e-%d"' % number, 1) for number, raw in enumerate(raws)]
    written.append(sized(256 * 1024).replace(b'"e-1"', b'"e-x"'))
    written.append(text(event("tiktok", "bottom", "\U0001f600" * 128)))
    for number, amount in enumerate(["0", "0.00", "007.1", "999999999999999.999999"]):
        made = event("tiktok", "bottom", f"amount-{number}")
        made["data"]["engagement"]["purchaseAmount"] = amount
        made["data"]["user"]["userId"] = "\U0010ffff" * 256
        written.append(text(made))
    taken = [Taken("tiktok", one, f"c-{number}") for number, one in enumerate(written)]
    assert all(gateway_takes("tiktok", one.written) for one in taken)
    await store_and_compare(connection, taken)


async def test_stray_members_of_other_sources_may_hold_anything(connection: AsyncConnection[Any]) -> None:
    taken = []
    for number, (source, stage) in enumerate(PLACES):
        other = event("tiktok" if source == "facebook" else "facebook", "top" if stage == "bottom" else "bottom")
        made = event(source, stage, f"e-{number}")
        for part in ("user", "engagement"):
            made["data"][part] = {name: ["not", 1] for name in other["data"][part]} | made["data"][part]
        taken.append(Taken(source, text(made), f"c-{number}"))
    await store_and_compare(connection, taken)


async def store_and_compare(connection: AsyncConnection[Any], taken: Sequence[Taken]) -> None:
    for source in SOURCES:
        own = [one for one in taken if one.source == source]
        for first in range(0, len(own), BATCH):
            await store(connection, source, own[first : first + BATCH])
    rows = await stored(connection)
    for one in taken:
        assert one.correlation_id in rows, f"stored, but not found again: {one.written!r}"
        compare(one, rows.pop(one.correlation_id))
    assert rows == {}
    await compare_rollups(connection, taken)


async def store(connection: AsyncConnection[Any], source: str, batch: Sequence[Taken]) -> None:
    """Stores a batch; where Postgres refuses it, fails with the one event that it refuses."""
    requests = [RequestRun(one.correlation_id, None, 1) for one in batch]
    try:
        await Appender(SOURCES[source]).append(connection, pack([one.written for one in batch]), requests)
    except Refused as error:
        if len(batch) == 1:
            raise AssertionError(f"taken by the gateway, refused by Postgres ({error}): {batch[0].written!r}") from None
        middle = len(batch) // 2
        await store(connection, source, batch[:middle])
        await store(connection, source, batch[middle:])
        raise AssertionError(f"refused together ({error}), but not alone") from None


async def stored(connection: AsyncConnection[Any]) -> dict[str, dict[str, Any]]:
    cursor = await connection.execute(
        'SELECT correlation_id, source, event_id, "timestamp", funnel_stage, event_type, user_id, campaign_id,'
        " transaction, amount, currency, data::text FROM events"
    )
    names = [column.name for column in cursor.description or ()]
    return {row[0]: dict(zip(names, row, strict=True)) for row in await cursor.fetchall()}


def exact(written: str | bytes) -> Any:
    """JSON with numbers as they are written."""
    return json.loads(written, parse_float=Decimal, parse_int=Decimal)


def compare(one: Taken, row: dict[str, Any]) -> None:
    sent = exact(one.written)
    engagement = sent["data"]["engagement"]
    transaction = sent["eventType"] in ("checkout.complete", "purchase")
    amount = engagement["purchaseAmount"] if transaction else None
    campaign = engagement["campaignId"] if (one.source, sent["funnelStage"]) == ("facebook", "bottom") else None
    expected = {
        "source": one.source,
        "event_id": sent["eventId"],
        "funnel_stage": sent["funnelStage"],
        "event_type": sent["eventType"],
        "user_id": sent["data"]["user"]["userId"],
        "campaign_id": campaign,
        "transaction": transaction,
        "amount": None if amount is None else Decimal(amount),
        "currency": None,
        "data": sent["data"],
    }
    row = row | {"data": exact(row["data"])}
    assert {name: row[name] for name in expected} == expected
    assert str(row["amount"]) == str(expected["amount"]) or amount.startswith("0")
    assert abs(row["timestamp"] - instant(sent["timestamp"])) <= timedelta(microseconds=1)


def instant(written: str) -> datetime:
    """An RFC 3339 time, cut to microseconds."""
    match = re.fullmatch(r"(.{19})(?:\.(\d+))?(Z|([+-])(\d\d):(\d\d))", written)
    assert match
    local = datetime.fromisoformat(match[1]).replace(tzinfo=UTC)
    local += timedelta(microseconds=int((match[2] or "0").ljust(6, "0")[:6]))
    offset = timedelta(hours=int(match[5] or 0), minutes=int(match[6] or 0))
    return local + offset if match[4] == "-" else local - offset


async def compare_rollups(connection: AsyncConnection[Any], taken: Sequence[Taken]) -> None:
    counts: Counter[tuple[str, str]] = Counter()
    revenue: Counter[tuple[str, str]] = Counter()
    for one in taken:
        sent = exact(one.written)
        counts[one.source, sent["eventType"]] += 1
        if sent["eventType"] in ("checkout.complete", "purchase"):
            revenue[one.source, sent["eventType"]] += Decimal(sent["data"]["engagement"]["purchaseAmount"] or 0)
    cursor = await connection.execute(
        "SELECT source, event_type, sum(events), sum(revenue) FROM rollup_minute GROUP BY 1, 2"
    )
    rows = await cursor.fetchall()
    assert {(source, kind): events for source, kind, events, _ in rows} == counts
    assert {(source, kind): total for source, kind, _, total in rows if total} == {
        k: v for k, v in revenue.items() if v
    }
    cursor = await connection.execute(
        "SELECT source, sum(events) FROM rollup_demographics WHERE dimension = 'countries' GROUP BY 1"
    )
    assert await cursor.fetchall() != []
