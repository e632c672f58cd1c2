from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from publisher_fakes import fault

from eventpipeline.publisher.batch import event_key
from eventpipeline.publisher.generator import Generator, pregenerate
from eventpipeline.sources import BUILT_IN, FUNNEL_STAGES, built_in

NOW = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)


@pytest.fixture(scope="module")
def batch():
    (batch,) = pregenerate(7, 1, 20_000, now=NOW)
    return batch


@pytest.fixture(scope="module")
def events(batch):
    return json.loads(batch.body)


def members(value: object, path: str = "") -> set[str]:
    """The paths of all members of a JSON value."""
    if not isinstance(value, dict):
        return set()
    return {found for name, item in value.items() for found in {f"{path}/{name}"} | members(item, f"{path}/{name}")}


def schema_members(schema, path: str = "") -> set[str]:
    return {
        found
        for name, member in schema.properties.items()
        for found in {f"{path}/{name}"} | schema_members(member, f"{path}/{name}")
    }


def test_a_seed_and_an_index_make_the_same_batch_whatever_was_made_before():
    used, fresh = Generator(3, (100, 500)), Generator(3, (100, 500))
    used.batch(0, NOW)
    assert used.batch(1, NOW) == fresh.batch(1, NOW)
    assert used.batch(1, NOW).body != used.batch(2, NOW).body
    assert used.batch(1, NOW).body != Generator(4, (100, 500)).batch(1, NOW).body


def test_now_changes_the_times_and_nothing_else():
    earlier, later = (Generator(3, (300, 300)).batch(0, now) for now in (NOW, NOW + timedelta(days=1)))
    assert earlier.facts == later.facts
    ids = [[event["eventId"] for event in json.loads(batch.body)] for batch in (earlier, later)]
    assert ids[0] == ids[1]


def test_each_event_keeps_the_contract_of_its_source(events):
    assert [event for event in events if fault(event)] == []


def test_each_event_has_exactly_the_members_of_its_source_and_stage(events):
    envelope = {"/eventId", "/timestamp", "/source", "/funnelStage", "/eventType", "/data"}
    for event in events:
        data = schema_members(built_in(event["source"]).schema_of(event["funnelStage"]), "/data")
        assert members(event) == envelope | data


def test_the_load_is_half_of_each_source_and_all_event_types_occur(events):
    sources = Counter(event["source"] for event in events)
    assert sources["facebook"] == pytest.approx(len(events) / 2, rel=0.05)
    seen = {event_key(event["source"], event["funnelStage"], event["eventType"]) for event in events}
    assert seen == {
        event_key(name, stage, event_type)
        for name in BUILT_IN
        for stage in FUNNEL_STAGES
        for event_type in built_in(name).event_types_of(stage)
    }


def test_an_event_has_the_size_of_the_real_ones(batch, events):
    assert 425 <= len(batch.body) / len(events) <= 442


def test_what_may_be_null_sometimes_is(events):
    for member in ("videoId", "profileId", "purchasedItem", "purchaseAmount"):
        values = [event["data"]["engagement"].get(member, "absent") for event in events]
        assert None in values
        assert any(value not in (None, "absent") for value in values)


def test_ids_are_unique_and_cities_many(events):
    assert len({event["eventId"] for event in events}) == len(events)
    assert {event["eventId"][14] for event in events} == {"4"}
    campaigns = [event["data"]["engagement"].get("campaignId") for event in events]
    campaigns = [campaign for campaign in campaigns if campaign]
    assert len(set(campaigns)) == len(campaigns)
    facebook = [event["data"]["user"]["location"] for event in events if event["source"] == "facebook"]
    assert len({place["city"] for place in facebook}) > 5_000
    assert len({place["country"] for place in facebook}) > 180


def test_timestamps_are_of_the_last_second(events):
    times = {datetime.fromisoformat(event["timestamp"]) for event in events}
    assert max(times) == NOW
    assert min(times) > NOW - timedelta(seconds=1)


def test_the_facts_of_a_batch_are_those_of_its_events(batch, events):
    counts = Counter(event_key(event["source"], event["funnelStage"], event["eventType"]) for event in events)
    assert batch.facts.counts == counts
    assert batch.facts.events == len(events)
    for source, event_type in (("facebook", "checkout.complete"), ("tiktok", "purchase")):
        sold = [event for event in events if (event["source"], event["eventType"]) == (source, event_type)]
        amounts = [event["data"]["engagement"]["purchaseAmount"] for event in sold]
        decimals = [Decimal(amount) for amount in amounts if amount is not None]
        assert batch.facts.transactions[source] == len(sold)
        assert batch.facts.amounts[source] == len(decimals) < len(sold)
        assert batch.facts.revenue[source] == sum(decimals)


def test_amounts_of_events_that_are_no_transactions_exist_and_are_no_revenue(events):
    assert any(event["data"]["engagement"].get("purchaseAmount") for event in events if event["eventType"] == "follow")


def test_sizes_are_uniform_between_their_bounds():
    generator = Generator(1, (10, 20), corrupt=0.0)
    assert {generator.batch(index, NOW).facts.events for index in range(200)} == set(range(10, 21))


def test_one_batch_in_ten_carries_one_corrupted_event_more():
    generator = Generator(1, (50, 50))
    batches = [generator.batch(index, NOW) for index in range(400)]
    corrupted = [batch for batch in batches if batch.facts.corrupted]
    assert len(corrupted) == pytest.approx(40, abs=20)
    for batch in batches:
        assert len(json.loads(batch.body)) == batch.facts.events == 50 + len(batch.facts.corrupted)
        invalid = [reason for event in json.loads(batch.body) if (reason := fault(event))]
        assert invalid == [event.reason for event in batch.facts.corrupted if not event.valid]
