"""How events travel: packed, joined, with their requests in a header, and refused ones as dead letters."""

from __future__ import annotations

import hashlib
import json
import uuid
from base64 import b64decode

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventpipeline.envelope import (
    PACKED_BYTES,
    RequestRun,
    dead_letter,
    join,
    pack,
    requests_header,
    requests_of,
)
from eventpipeline.events import MAX_EVENT_BYTES, Rejection

_texts = st.lists(st.dictionaries(st.text(), st.integers(0, 9)).map(orjson.dumps), max_size=5)
_visible = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
_runs = st.builds(
    RequestRun, _visible, st.none() | st.just("00-" + "a" * 32 + "-" + "b" * 16 + "-01"), st.integers(1, 10_000)
)
REJECTION = Rejection("invalid_value", ({"loc": ["timestamp"], "msg": "is wrong", "type": "x"},), "e-1", "facebook")


@settings(derandomize=True)
@given(st.lists(_texts))
def test_packing_and_joining_keep_every_event_in_its_order(messages: list[list[bytes]]) -> None:
    packed = [pack([memoryview(event) for event in events]) for events in messages]
    assert [json.loads(message) for message in packed] == [[json.loads(event) for event in part] for part in messages]
    spread = [b" " + message.replace(b"[", b"[ ", 1) + b"\n" for message in packed]
    assert json.loads(join(spread)) == [json.loads(event) for part in messages for event in part]


@settings(derandomize=True)
@given(st.lists(_runs))
def test_requests_come_back_from_their_header(runs: list[RequestRun]) -> None:
    header = requests_header(runs)
    assert header.isascii()
    assert header.isprintable()
    assert requests_of({"Ep-Requests": header}) == runs


@pytest.mark.parametrize("header", ["", "nope", "{}", "5", "[1]", '[["a"]]', '[["a",null,"x"]]', "[[]]"])
def test_a_header_that_cannot_be_read_names_no_request(header: str) -> None:
    assert requests_of({"Ep-Requests": header}) == []
    assert requests_of({}) == requests_of(None) == []


@pytest.mark.parametrize("event", [b"{}", b"\xff\0", b"", b"x" * MAX_EVENT_BYTES])
def test_a_dead_letter_carries_the_event_itself(event: bytes) -> None:
    letter = json.loads(dead_letter(event, REJECTION, "cid", "2024-05-01T12:00:00Z"))
    assert uuid.UUID(letter.pop("id"))
    assert b64decode(letter.pop("payload")) == event
    assert letter == {
        "receivedAt": "2024-05-01T12:00:00Z",
        "source": "facebook",
        "funnelStage": None,
        "eventType": None,
        "eventId": "e-1",
        "reason": "invalid_value",
        "detail": [{"loc": ["timestamp"], "msg": "is wrong", "type": "x"}],
        "correlationId": "cid",
        "payloadBytes": len(event),
        "payloadSha256": hashlib.sha256(event).hexdigest(),
    }


def test_of_an_event_over_the_limit_a_dead_letter_keeps_the_beginning() -> None:
    event = bytes(range(256)) * 1025
    letter = json.loads(dead_letter(event, REJECTION, "cid", "2024-05-01T12:00:00Z"))
    assert b64decode(letter["payload"]) == event[: 64 * 1024]
    assert letter["payloadBytes"] == len(event)
    assert letter["payloadSha256"] == hashlib.sha256(event).hexdigest()


def test_the_largest_dead_letter_fits_one_message() -> None:
    wordy = Rejection("invalid_value", REJECTION.detail * 20, "\U0001f600" * 256, "\U0001f600" * 256)
    assert len(dead_letter(b"x" * MAX_EVENT_BYTES, wordy, "c" * 128, "2024-05-01T12:00:00Z")) < PACKED_BYTES


def test_a_dead_letter_that_may_be_made_twice_has_one_identity() -> None:
    identity = uuid.uuid4()
    letters = [json.loads(dead_letter(b"{}", REJECTION, "cid", "now", identity=identity)) for _ in range(2)]
    assert letters[0]["id"] == letters[1]["id"] == str(identity)
