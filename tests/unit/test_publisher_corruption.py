from __future__ import annotations

import json
import random
from collections import Counter
from datetime import UTC, datetime

import pytest
from publisher_fakes import fault

from eventpipeline.publisher.corruption import CORRUPTIONS, KINDS, draw
from eventpipeline.publisher.generator import pregenerate

PLACES = [("facebook", "top"), ("facebook", "bottom"), ("tiktok", "top"), ("tiktok", "bottom")]

# Why an event is refused after a corruption; a dash where it stays valid. Columns as in PLACES.
ORACLE = {
    "timestamp invalid": "invalid_value invalid_value invalid_value invalid_value",
    "eventId deleted": "missing_field missing_field missing_field missing_field",
    "user deleted": "missing_field missing_field missing_field missing_field",
    "user.name deleted": "missing_field missing_field - -",
    "user.username deleted": "- - missing_field missing_field",
    "funnelStage invalid": "invalid_value invalid_value invalid_value invalid_value",
    "eventType an array": "wrong_type wrong_type wrong_type wrong_type",
    "actionTime -1": "wrong_type - - wrong_type",
    "watchTime -1": "- - invalid_value -",
    "adId deleted": "- missing_field - -",
    "purchasedItem deleted": "- - - missing_field",
    "gender alien": "invalid_value invalid_value - -",
    "followers not a number": "- - wrong_type wrong_type",
}
CASES = [
    (name, place, None if reason == "-" else reason)
    for name, row in ORACLE.items()
    for place, reason in zip(PLACES, row.split(), strict=True)
]


@pytest.fixture(scope="module")
def example():
    """An event of each place, as JSON text."""
    (batch,) = pregenerate(1, 1, 200, now=datetime(2026, 1, 1, tzinfo=UTC))
    return {(event["source"], event["funnelStage"]): json.dumps(event) for event in json.loads(batch.body)}


def test_the_table_is_complete():
    assert set(ORACLE) == set(CORRUPTIONS)
    assert len(KINDS) == 8


@pytest.mark.parametrize(("name", "place", "reason"), CASES)
def test_the_oracle_knows_what_a_corruption_does(example, name, place, reason):
    assert CORRUPTIONS[name].reason_at(*place) == reason
    event = json.loads(example[place])
    CORRUPTIONS[name].apply(event)
    assert fault(event) == reason


@pytest.mark.parametrize("place", PLACES)
def test_a_corruption_changes_one_member_at_most(example, place):
    for corruption in CORRUPTIONS.values():
        event = json.loads(example[place])
        corruption.apply(event)
        whole = json.loads(example[place])
        for parent in corruption.path[:-1]:
            event, whole = event[parent], whole[parent]
        member = corruption.path[-1]
        assert {**event, member: 0} == {**whole, member: 0}


def test_the_eight_kinds_are_equally_likely():
    rng = random.Random(1)
    drawn = Counter(draw(rng).name for _ in range(8_000))
    for kind in KINDS:
        assert sum(drawn[corruption.name] for corruption in kind) == pytest.approx(1_000, rel=0.15)
