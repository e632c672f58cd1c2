"""Query parameters and the choice between JSON and CSV."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import uuid4

import pytest
from starlette.requests import Request

from eventpipeline.problems import Problem
from eventpipeline.reporter.params import (
    DeadLettersQuery,
    EventsQuery,
    RevenueQuery,
    Vocabulary,
    parse,
    write_cursor,
)
from eventpipeline.reporter.responses import prefers_csv
from eventpipeline.sources import BUILT_IN, load
from eventpipeline.store.dead_letter_queries import Position

VOCABULARY = Vocabulary.of(load(BUILT_IN))


def request(query: str) -> Request:
    return Request({"type": "http", "query_string": query.encode(), "headers": []})


def test_nothing_given_is_all() -> None:
    query = parse(EventsQuery, request(""), VOCABULARY)
    assert (query.window.start, query.window.end, query.source, query.interval) == (None, None, None, None)
    assert parse(RevenueQuery, request(""), VOCABULARY).limit == 100


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2024-05-01T12:00:00Z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01t12:00:00z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01T12:00Z", datetime(2024, 5, 1, 12, tzinfo=UTC)),
        ("2024-05-01T12:00:00.000001-03:30", datetime(2024, 5, 1, 15, 30, 0, 1, UTC)),
        ("2024-05-01T12:00:00.123456789%2B0200", datetime(2024, 5, 1, 10, 0, 0, 123456, UTC)),
    ],
)
def test_times_have_an_offset(text: str, instant: datetime) -> None:
    assert parse(EventsQuery, request(f"from={text}"), VOCABULARY).window.start == instant


@pytest.mark.parametrize("name", ["from_", "From", "funnel_stage", "campaignId", "limit"])
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(Problem) as refused:
        parse(EventsQuery, request(f"{name}=1"), VOCABULARY)
    assert refused.value.extension["errors"][0]["type"] == "unknown_parameter"


def test_a_cursor_is_read_as_it_was_written() -> None:
    position = Position(datetime(2024, 5, 1, 12, 0, 0, 7, UTC), uuid4())
    query = parse(DeadLettersQuery, request(f"after={write_cursor(position)}"), VOCABULARY)
    assert query.after == position


@pytest.mark.parametrize("campaign", ["camp-7", "", "a b&c", "é" * 256])
def test_any_campaign_may_be_asked_for(campaign: str) -> None:
    query = parse(RevenueQuery, request(urlencode({"campaignId": campaign})), VOCABULARY)
    assert query.selection.campaign_id == campaign
    assert query.by_campaign


@pytest.mark.parametrize(
    ("accept", "csv"),
    [
        ("", False),
        ("*/*", False),
        ("application/json", False),
        ("text/csv", True),
        ("Text/CSV; charset=utf-8", True),
        ("text/csv, */*", True),
        ("text/csv, application/json;q=0.9", True),
        ("application/json, text/csv", False),
        ("text/csv;q=0.5, application/json", False),
        ("text/csv;q=0", False),
        ("text/csv;q=wrong, */*;q=0.1", False),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", False),
    ],
)
def test_accept_is_honoured(accept: str, csv: bool) -> None:
    assert prefers_csv(accept) is csv
