"""What Postgres holds, and the same counted one event at a time in Python, straight from the contract."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg

from eventpipeline.store import distinct_users
from eventpipeline.store.rollups import KEPT_CAMPAIGNS, KEPT_OF_HIGH_CARDINALITY, KEPT_VALUES

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


def expected_counts(events: Iterable[dict[str, Any]]) -> Rows:
    """By step, start, source, funnel stage, event type and currency."""
    sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, 0, Decimal(0)])
    for event in _once(events):
        _campaign, transaction, amount = _money(event)
        for step, start in _buckets_and_weeks(event):
            found = sums[step, start, event["source"], event["funnelStage"], event["eventType"], None]
            found[0] += 1
            found[1] += transaction
            found[2] += amount is not None
            found[3] += amount or 0
    return {key: tuple(values) for key, values in sums.items()}


def expected_campaigns(events: Iterable[dict[str, Any]]) -> Rows:
    """By step, start, source, campaign and currency."""
    sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, 0, Decimal(0)])
    for event in _once(events):
        campaign, transaction, amount = _money(event)
        for step, start in _buckets(event) if transaction else ():
            found = sums[step, start, event["source"], campaign, None]
            found[0] += 1
            found[1] += amount is not None
            found[2] += amount or 0
    return {key: tuple(values) for key, values in sums.items()}


def expected_demographics(events: Iterable[dict[str, Any]]) -> Rows:
    """By source, dimension, step, start and value."""
    sums: dict[tuple[Any, ...], list[Any]] = defaultdict(lambda: [0, Decimal(0)])
    for event in _once(events):
        for dimension, value, total in _spread(event):
            for step, start in _buckets_and_weeks(event):
                found = sums[event["source"], dimension, step, start, value]
                found[0] += 1
                found[1] += total
    return {key: tuple(values) for key, values in sums.items()}


def expected_users(events: Iterable[dict[str, Any]]) -> dict[tuple[Any, ...], set[str]]:
    """By source, step and start."""
    users: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for event in _once(events):
        for step, start in _buckets(event):
            users[event["source"], step, start].add(event["data"]["user"]["userId"])
    return users


def _buckets(event: dict[str, Any]) -> Iterator[tuple[str, datetime]]:
    minute = datetime.fromisoformat(event["timestamp"]).astimezone(UTC).replace(second=0, microsecond=0)
    yield "minute", minute
    yield "ten_minutes", minute.replace(minute=minute.minute // 10 * 10)
    yield "hour", minute.replace(minute=0)
    yield "six_hours", minute.replace(minute=0, hour=minute.hour // 6 * 6)
    yield "day", minute.replace(minute=0, hour=0)


def _buckets_and_weeks(event: dict[str, Any]) -> Iterator[tuple[str, datetime]]:
    """Weeks begin on a Saturday; only events and demographics have them."""
    yield from _buckets(event)
    day = datetime.fromisoformat(event["timestamp"]).astimezone(UTC).date()
    saturday = day - timedelta(days=(day.weekday() + 2) % 7)
    yield "week", datetime(saturday.year, saturday.month, saturday.day, tzinfo=UTC)


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


def found_counts(database: str) -> Rows:
    return _select(
        database,
        6,
        """SELECT step, start, source, funnel_stage, event_type, currency,
                  sum(events), sum(transactions), sum(amounts), sum(revenue)
        FROM (
            SELECT * FROM rollup_events
            UNION ALL
            SELECT step, date_bin(length, e.minute, '2000-01-01T00:00:00Z'),
                   b.source, e.funnel_stage, e.event_type, e.currency, e.events, e.transactions, e.amounts, e.revenue
            FROM rollup_events_batch AS b
            CROSS JOIN LATERAL unnest(b.minute, b.funnel_stage, b.event_type, b.currency,
                                      b.events, b.transactions, b.amounts, b.revenue)
                AS e (minute, funnel_stage, event_type, currency, events, transactions, amounts, revenue)
            CROSS JOIN rollup_steps
        ) AS part
        GROUP BY 1, 2, 3, 4, 5, 6""",
    )


def found_campaigns(database: str) -> Rows:
    return _select(
        database,
        5,
        """SELECT step, start, source, campaign_id, currency, sum(transactions), sum(amounts), sum(revenue)
        FROM (
            SELECT r.step, r.start, r.source, e.campaign_id, r.currency, e.transactions, e.amounts, e.revenue
            FROM rollup_campaigns AS r
            CROSS JOIN LATERAL unnest(r.campaign_id, r.transactions, r.amounts, r.revenue)
                AS e (campaign_id, transactions, amounts, revenue)
            UNION ALL
            SELECT step, date_bin(length, e.minute, '2000-01-01T00:00:00Z'), b.source, e.campaign_id, e.currency,
                   1, (e.amount IS NOT NULL)::integer, coalesce(e.amount, 0)
            FROM rollup_campaigns_batch AS b
            CROSS JOIN LATERAL unnest(b.minute, b.campaign_id, b.currency, b.amount)
                AS e (minute, campaign_id, currency, amount)
            CROSS JOIN rollup_steps
            WHERE step <> 'week'
        ) AS part
        GROUP BY 1, 2, 3, 4, 5""",
    )


def assert_campaigns(database: str, expected: Rows) -> None:
    """What is kept is right, and only buckets with too many campaigns are given up."""
    given_up = _select(
        database, 4, "SELECT step, start, source, currency FROM rollup_campaigns WHERE campaign_id IS NULL"
    )

    def bucket(key: tuple[Any, ...]) -> tuple[Any, ...]:
        return (*key[:3], key[4])

    campaigns = Counter(bucket(key) for key in expected)
    assert all(campaigns[key] > KEPT_CAMPAIGNS for key in given_up)
    found = found_campaigns(database)
    assert {key: row for key, row in found.items() if bucket(key) not in given_up} == {
        key: row for key, row in expected.items() if bucket(key) not in given_up
    }


_PARTS = """SELECT source, dimension, step, start, value, events, total FROM (
    SELECT r.source, r.dimension, r.step, r.start, each.value, each.events, each.total
    FROM rollup_dimensions AS r CROSS JOIN LATERAL unnest(r.value, r.events, r.total) AS each (value, events, total)
    UNION ALL
    SELECT b.source, b.dimension, step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), each.value,
           coalesce(each.events, 1), coalesce(each.total, 0)
    FROM rollup_dimensions_batch AS b
    CROSS JOIN LATERAL unnest(b.minute, b.value, b.events, b.total) AS each (minute, value, events, total)
    CROSS JOIN rollup_steps
) AS part"""


def found_demographics(database: str) -> Rows:
    """The values that are kept."""
    query = (
        f"SELECT source, dimension, step, start, value, sum(events), sum(total) FROM ({_PARTS}) AS p GROUP BY 1,2,3,4,5"
    )
    return _select(database, 5, query)


def beyond(database: str) -> Rows:
    """By source, dimension, step and start, the events whose value is not kept; only where there are any."""
    return _select(database, 4, "SELECT source, dimension, step, start, beyond FROM rollup_dimensions WHERE beyond > 0")


def assert_users(database: str, expected: dict[tuple[Any, ...], set[str]]) -> None:
    """The sketches are those of these users, register by register."""
    with psycopg.connect(database, options="-c timezone=UTC") as connection:
        found = defaultdict(list)
        for *key, registers in connection.execute("SELECT source, step, start, registers FROM rollup_users"):
            found[tuple(key)].append(registers)
        batches = """SELECT source, step, date_bin(length, each.minute, '2000-01-01T00:00:00Z'), array_agg(each.hash)
            FROM rollup_users_batch AS b CROSS JOIN LATERAL unnest(b.minute, b.hash) AS each (minute, hash)
            CROSS JOIN rollup_steps WHERE step <> 'week' GROUP BY 1, 2, 3"""
        for *key, hashes in connection.execute(batches):
            found[tuple(key)].append(_sketch(hashes))
        names = sorted({user for users in expected.values() for user in users})
        hashed = dict(
            connection.execute("SELECT name, hashtextextended(name, 0) FROM unnest(%s::text[]) AS name", [names])
        )
    assert {key: distinct_users.union(parts) for key, parts in found.items()} == {
        key: _sketch([hashed[user] for user in users]) for key, users in expected.items()
    }


def _sketch(hashes: Iterable[int]) -> bytes:
    """One register at a time, by the definition."""
    registers = bytearray(4096)
    for number in hashes:
        bits = f"{number % 2**64:064b}"
        rest, register = bits[:52], int(bits[52:], 2)
        registers[register] = max(registers[register], len(rest) - len(rest.lstrip("0")) + 1)
    return bytes(registers)


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
    assert_rollups(database, events)


def assert_rollups(database: str, events: list[dict[str, Any]]) -> None:
    """The rollups are those of `events`; where not all values are kept, the counts of those that are keep the bound."""
    assert found_counts(database) == expected_counts(events)
    assert_campaigns(database, expected_campaigns(events))
    assert_users(database, expected_users(events))
    expected, found, left = expected_demographics(events), found_demographics(database), beyond(database)
    assert {key: row for key, row in found.items() if key[:4] not in left} == {
        key: row for key, row in expected.items() if key[:4] not in left
    }
    for bucket, (rest,) in left.items():
        true = {key: row[0] for key, row in expected.items() if key[:4] == bucket}
        kept = {key: row[0] for key, row in found.items() if key[:4] == bucket}
        assert sum(kept.values()) + rest == sum(true.values())
        error = rest / ((KEPT_OF_HIGH_CARDINALITY if bucket[1] == "cities" else KEPT_VALUES) + 1)
        assert all(kept.get(key, 0) <= count <= kept.get(key, 0) + error for key, count in true.items())


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
    assert_rollups(database, events)


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
