"""What Postgres holds, and the same counted one event at a time in Python, straight from the contract."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

Rows = dict[tuple[Any, ...], tuple[Any, ...]]
_AGES = ((18, "<18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (65, "55-64"))
_FOLLOWERS = ((1000, "<1000"), (10000, "1000-9999"), (100000, "10000-99999"), (1000000, "100000-999999"))


def parsed(packed: bytes) -> list[dict[str, Any]]:
    """Events of a JSON array, numbers exact."""
    return json.loads(packed, parse_float=Decimal)


def of_source(packed: bytes, source: str) -> bytes:
    """The events of one source, as the gateway packs them."""
    return json.dumps([event for event in json.loads(packed) if event["source"] == source]).encode()


def expected_rows(events: Iterable[dict[str, Any]]) -> Rows:
    rows: Rows = {}
    for event in events:
        moment = datetime.fromisoformat(event["timestamp"]).astimezone(UTC)
        rows.setdefault(
            (event["source"], event["eventId"], moment),
            (event["funnelStage"], event["eventType"], event["data"]["user"]["userId"], *_money(event)),
        )
    return rows


def expected_minutes(events: Iterable[dict[str, Any]]) -> Rows:
    sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0, Decimal(0)])
    for event in _once(events):
        minute = datetime.fromisoformat(event["timestamp"]).astimezone(UTC).replace(second=0, microsecond=0)
        found = sums[minute, event["source"], event["funnelStage"], event["eventType"], None]
        _campaign, transaction, amount = _money(event)
        found[0] += 1
        found[1] += transaction
        found[2] += amount is not None
        found[3] += amount or 0
    return {key: tuple(values) for key, values in sums.items()}


def expected_demographics(events: Iterable[dict[str, Any]]) -> Rows:
    sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    for event in _once(events):
        moment = datetime.fromisoformat(event["timestamp"]).astimezone(UTC)
        hour = moment.replace(minute=0, second=0, microsecond=0)
        for dimension, value, total in _spread(event):
            found = sums[event["source"], dimension, hour, value]
            found[0] += 1
            found[1] += total
    return {key: tuple(values) for key, values in sums.items()}


def _once(events: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    seen = set()
    for event in events:
        key = (event["source"], event["eventId"], datetime.fromisoformat(event["timestamp"]))
        if key not in seen:
            seen.add(key)
            yield event


def _money(event: dict[str, Any]) -> tuple[str | None, bool, Decimal | None]:
    """Campaign, whether it is a transaction, and its amount."""
    engagement = event["data"]["engagement"]
    facebook_bottom = event["source"] == "facebook" and event["funnelStage"] == "bottom"
    campaign = engagement["campaignId"] if facebook_bottom else None
    if event["eventType"] not in ("checkout.complete", "purchase"):
        return campaign, False, None
    amount = engagement["purchaseAmount"]
    return campaign, True, None if amount is None else Decimal(amount)


def _spread(event: dict[str, Any]) -> Iterator[tuple[str, str, Decimal | int]]:
    user, engagement = event["data"]["user"], event["data"]["engagement"]
    if event["source"] == "facebook":
        yield "ages", _range(_AGES, user["age"], "65+"), 0
        yield "genders", user["gender"], 0
        yield "countries", user["location"]["country"], 0
        yield "cities", user["location"]["city"], 0
        yield "averageAge", "", user["age"]
        return
    yield "followers", _range(_FOLLOWERS, user["followers"], "1000000+"), 0
    yield "averageFollowers", "", user["followers"]
    if event["funnelStage"] == "top":
        yield "countries", engagement["country"], 0
        yield "devices", engagement["device"], 0
        yield "averageWatchTime", "", engagement["watchTime"]
        yield "averagePercentageWatched", "", engagement["percentageWatched"]


def _range(bounds: tuple[tuple[int, str], ...], number: int, last: str) -> str:
    return next((label for bound, label in bounds if number < bound), last)


def found_rows(database: str) -> Rows:
    return _select(
        database,
        3,
        'SELECT source, event_id, "timestamp", funnel_stage, event_type, user_id, campaign_id, transaction, amount '
        "FROM events",
    )


def found_minutes(database: str) -> Rows:
    return _select(
        database,
        5,
        "SELECT minute, source, funnel_stage, event_type, currency, events, transactions, amounts, revenue "
        "FROM rollup_minute",
    )


def found_demographics(database: str) -> Rows:
    return _select(
        database,
        4,
        "SELECT source, dimension, hour, value, sum(events), sum(total) FROM rollup_demographics GROUP BY 1, 2, 3, 4",
    )


def _select(database: str, key: int, query: Any) -> Rows:
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        rows = connection.execute(query).fetchall()
    found = {row[:key]: row[key:] for row in rows}
    assert len(found) == len(rows)
    return found


def assert_holds(database: str, events: Iterable[dict[str, Any]]) -> None:
    """Rows and rollups are exactly those of `events`, each counted once."""
    events = list(events)
    assert found_rows(database) == expected_rows(events)
    assert found_minutes(database) == expected_minutes(events)
    assert found_demographics(database) == expected_demographics(events)


def assert_consistent(database: str) -> None:
    """The rollups are those of the rows, whatever these are."""
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        rows = connection.execute(
            'SELECT source, event_id, "timestamp", funnel_stage, event_type, data::text FROM events'
        ).fetchall()
    events = [
        {
            "source": source,
            "eventId": event_id,
            "timestamp": moment.isoformat(),
            "funnelStage": stage,
            "eventType": event_type,
            "data": json.loads(data, parse_float=Decimal),
        }
        for source, event_id, moment, stage, event_type, data in rows
    ]
    assert found_minutes(database) == expected_minutes(events)
    assert found_demographics(database) == expected_demographics(events)


def scalar(database: str, query: Any, *parameters: Any) -> Any:
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None


def facebook(number: int, **changes: Any) -> dict[str, Any]:
    """A checkout on Facebook; `amount`, `timestamp` and whole members can be given."""
    event = {
        "eventId": f"e{number}",
        "timestamp": (datetime(2025, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=number)).isoformat(),
        "source": "facebook",
        "funnelStage": "bottom",
        "eventType": "checkout.complete",
        "data": {
            "user": {
                "userId": f"u{number}", "name": "Ann", "age": 30, "gender": "female",
                "location": {"country": "France", "city": "Lyon"},
            },
            "engagement": {
                "adId": "ad", "campaignId": "c1", "clickPosition": "center", "device": "mobile",
                "browser": "Safari", "purchaseAmount": changes.pop("amount", "1.50"),
            },
        },
    }  # fmt: skip
    return event | changes


def tiktok(number: int, **changes: Any) -> dict[str, Any]:
    """A view on TikTok."""
    event = {
        "eventId": f"t{number}",
        "timestamp": (datetime(2025, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=number)).isoformat(),
        "source": "tiktok",
        "funnelStage": "top",
        "eventType": "video.view",
        "data": {
            "user": {"userId": f"u{number}", "username": "ann", "followers": 5},
            "engagement": {
                "watchTime": 1.5, "percentageWatched": 50, "device": "iOS", "country": "France", "videoId": "v",
            },
        },
    }  # fmt: skip
    return event | changes
