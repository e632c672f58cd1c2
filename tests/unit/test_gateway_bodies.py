"""Bodies are cut where a JSON parser would cut them, and no body takes long to cut."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Message

from eventpipeline.gateway import bodies
from eventpipeline.gateway.bodies import MAX_EVENTS, Body, InFlight, events_of
from eventpipeline.problems import Problem

JSON = "application/json"
NDJSON = "application/x-ndjson"

_characters = st.characters(codec="utf-8", exclude_characters="\0")
_tricky = st.text(st.one_of(st.sampled_from('\\"[]{},:/ \n\t'), _characters))
_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _tricky),
    lambda inner: st.one_of(st.lists(inner), st.dictionaries(_tricky, inner)),
)
_layouts = st.sampled_from([{"separators": (",", ":")}, {}, {"indent": 1}, {"ensure_ascii": False}])


async def cut(body: bytes, media_type: str = JSON) -> list[bytes]:
    return [bytes(event) for event in await events_of(body, media_type)]


def problem_of(body: bytes, media_type: str = JSON) -> Problem:
    with pytest.raises(Problem) as caught:
        asyncio.run(cut(body, media_type))
    return caught.value


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(_json, max_size=8), _layouts)
@example(["\\", '\\"', '"', "],[", "\\\\"], {})
@example([], {"indent": 1})
@example([[], {}, "", [[]], {"": {}}], {})
def test_an_array_is_cut_into_the_elements_that_a_parser_sees(elements: list[Any], layout: dict[str, Any]) -> None:
    text = json.dumps(elements, **layout).encode()
    assert [json.loads(element) for element in bodies._cut(text)] == elements
    assert [json.loads(element) for element in asyncio.run(cut(b" \n" + text + b"\r\n"))] == elements
    lines = b"\r\n\n \n".join(json.dumps(element).encode() for element in elements)
    assert [json.loads(line) for line in asyncio.run(cut(lines, NDJSON))] == elements


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.lists(st.sampled_from([*b'"\\[]{},:1a \n', 0xFF]), max_size=30).map(bytes))
def test_whatever_is_cut_is_cut_without_loss(inner: bytes) -> None:
    text = b"[" + inner + b"]"
    try:
        elements = list(bodies._cut(text))
    except Problem:
        with pytest.raises(json.JSONDecodeError):
            json.loads(text.decode("latin-1"))
    else:
        if elements != [b""]:
            assert b"".join(b",".join(elements).split()) == b"".join(inner.split())


async def test_one_bad_element_leaves_the_others() -> None:
    good = b'{"a":[1,"]"]}'
    for bad in (b"NaN", b'"\\ud800"', b"nope", b"", b"01", b'{"a":}', b"[" * 5000 + b"]" * 5000, b'"\\x"', b"\xff"):
        assert await cut(b"[" + good + b", " + bad + b" ," + good + b"]") == [good, bad, good]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"nope", 400),
        (b"{", 400),
        (b'{"a":NaN}', 400),
        (b'{"a":1}x', 400),
        (b"[", 400),
        (b"[{}", 400),
        (b"[{}]]", 400),
        (b"[{}] {}", 400),
        (b"[nope,NaN]", 400),
        (b"[,]", 400),
        ('{"a":1}'.encode("utf-16"), 400),
        (b'"x"', 422),
        (b"5", 422),
        (b"null", 422),
    ],
)
def test_what_is_no_document_of_events_is_refused(body: bytes, status: int) -> None:
    assert problem_of(body).status == status


async def test_what_is_one_event_or_none() -> None:
    assert await cut(b'{"a":1}') == [b'{"a":1}']
    assert await cut(b'\xef\xbb\xbf {"a":1}\r\n') == [b'{"a":1}']
    assert await cut(b'\xef\xbb\xbf[{"a":1}]') == [b'{"a":1}']
    assert await cut(b'{"\\ud800":1}') == [b'{"\\ud800":1}']  # JSON by its grammar; the event is refused, not the body
    assert await cut(b"{" + b'"a":{' * 9999 + b"}" * 10_000) != []
    assert await cut(b'{"a":"\xff"}') == [b'{"a":"\xff"}']
    assert await cut(b"[ ]") == []
    assert await cut(b"", NDJSON) == []
    assert await cut(b"\n\r\n  \n", NDJSON) == []
    assert await cut(b'{"a":1}\r\n\r\nnope\n{"b":\r2}', NDJSON) == [b'{"a":1}', b"nope", b'{"b":\r2}']


@pytest.mark.parametrize("separator", [b",", b"\n"])
def test_too_many_events_are_refused_before_any_is_taken(separator: bytes) -> None:
    def body(count: int, last: bytes = b"1") -> bytes:
        inner = b"1" + (separator + b"1") * (count - 2) + separator + last
        return inner if separator == b"\n" else b"[" + inner + b"]"

    media_type = NDJSON if separator == b"\n" else JSON
    assert len(asyncio.run(cut(body(MAX_EVENTS), media_type))) == MAX_EVENTS
    for last in (b"1", b"NaN"):
        assert problem_of(body(MAX_EVENTS + 1, last), media_type).status == 413


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"[1" + b",1" * 33_000_000 + b"]", 413),
        (b'["' + b'\\"' * 30_000_000, 400),
        (b'["' + b'\\"' * 30_000_000 + b"\\", 400),
        (b'["' + b"x" * 60_000_000 + b'"', 400),
        (b"[1," + b"1" * 60_000_000, 400),
        (b"[" + b'""' * 1_000_000 + b"]", 400),
        (b"[" + b"a," * 200_000 + b"a]", 400),
        (b"[" + b"[" * 3_000_000, 400),
    ],
    ids=["elements", "quotes", "backslash", "string", "number", "strings", "words", "brackets"],
)
def test_no_body_takes_long(body: bytes, status: int) -> None:
    started = time.perf_counter()
    assert problem_of(body).status == status
    assert time.perf_counter() - started < 10


# --- reading ---------------------------------------------------------------------------------------------------------


def request(pieces: Sequence[bytes], *, stalls: bool = False, **headers: str) -> Request:
    """A request that sends `pieces`, and then nothing more."""
    waiting = list(pieces)

    async def receive() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting) or stalls}
        await asyncio.Event().wait()
        raise AssertionError

    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "headers": [(b"content-type", b"application/json"), *raw]}, receive)


async def test_a_body_that_stands_still_is_given_up_and_gives_back_its_bytes() -> None:
    in_flight = InFlight(100)
    standing = request([b"[1,"], stalls=True, content_length="50")
    with pytest.raises(Problem) as caught, Body(standing, in_flight, 100, stall_seconds=0.01) as body:
        await body.read()
    assert caught.value.status == 408
    assert in_flight.bytes == 0


async def test_the_bytes_of_a_body_are_in_flight_until_it_is_left() -> None:
    in_flight = InFlight(100)
    for headers, held in (({"content_length": "60"}, 60), ({}, 6)):
        with Body(request([b"[1,", b"2]\n"], **headers), in_flight, 100) as body:
            assert await body.read() == b"[1,2]\n"
            assert in_flight.bytes == held
        assert in_flight.bytes == 0


async def test_what_is_announced_is_refused_before_it_is_read() -> None:
    unread = request([], stalls=True, content_length="60")
    in_flight = InFlight(100)
    in_flight.take(50)
    with pytest.raises(Problem) as caught, Body(unread, in_flight, 100) as body:
        await body.read()
    assert (caught.value.status, caught.value.retry_after) == (503, 2)
    assert in_flight.bytes == 50
    with pytest.raises(Problem) as caught, Body(unread, in_flight, 59) as body:
        await body.read()
    assert caught.value.status == 413
