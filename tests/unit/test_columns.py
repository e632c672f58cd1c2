"""A batch as columns: what Postgres reads as text[], of events that are whole, and of nothing else."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from psycopg.adapt import PyFormat, Transformer

from eventpipeline.store.columns import TextArray, columns

EVENT = {
    "eventId": "e-1", "timestamp": "2025-03-01T12:00:00Z", "source": "facebook",
    "funnelStage": "top", "eventType": "ad.view", "data": {"user": {"userId": "ü"}, "n": [1.50, None]},
}  # fmt: skip

TEXTS = ("eventId", "timestamp", "funnelStage", "eventType")


def as_psycopg_writes(texts: list[str]) -> bytes:
    dumper = Transformer().get_dumper(texts, PyFormat.BINARY)
    return bytes(dumper.dump(texts) or b"")


@pytest.mark.parametrize("texts", [["a"], ["", "ü", "a\nb", "x" * 5000], ["same", "size"]])
def test_an_array_is_what_psycopg_writes(texts: list[str]) -> None:
    assert TextArray.of([text.encode() for text in texts]).binary == as_psycopg_writes(texts)


def test_each_member_of_the_envelope_is_a_column_and_data_stays_as_it_came() -> None:
    packed = (
        b'[%s , {"data":{"a" :1e2},"eventType":"t","funnelStage":"bottom","timestamp":"now","eventId":"\\u00e9"}]'
        % (json.dumps(EVENT).encode())
    )
    found = columns(packed)
    assert found
    assert {name: column.binary for name, column in found.items()} == {
        "event_ids": as_psycopg_writes(["e-1", "é"]),
        "timestamps": as_psycopg_writes(["2025-03-01T12:00:00Z", "now"]),
        "funnel_stages": as_psycopg_writes(["top", "bottom"]),
        "event_types": as_psycopg_writes(["ad.view", "t"]),
        "data": as_psycopg_writes([json.dumps(EVENT["data"]), '{"a" :1e2}']),
    }


@pytest.mark.parametrize(
    "event",
    [
        *({name: value for name, value in EVENT.items() if name != left_out} for left_out in (*TEXTS, "data")),
        *(EVENT | {name: 5} for name in TEXTS),
        EVENT | {"eventId": None}, [EVENT], 1, None, "event",
    ],
)  # fmt: skip
def test_what_is_no_whole_event_is_left_to_postgres(event: Any) -> None:
    assert columns(json.dumps([EVENT, event]).encode()) is None


@pytest.mark.parametrize(
    "packed",
    [b"", b"{", b"{}", b"null", b"[" * 20000 + b"]" * 20000, json.dumps([EVENT]).encode()[:-1],
     json.dumps([EVENT]).encode().replace(b"e-1", b"\xff"), json.dumps([EVENT]).encode().replace(b"e-1", b"\\ud800")],
)  # fmt: skip
def test_what_is_no_array_of_json_is_left_to_postgres(packed: bytes) -> None:
    assert columns(packed) is None


def test_raw_values_know_their_length() -> None:
    """Documented is only that they are buffers."""
    assert len(msgspec.json.decode(b'[ {"a": 1} ]', type=list[msgspec.Raw])[0]) == 8
