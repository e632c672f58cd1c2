"""From events to messages, over a stream that keeps what it is given."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from eventpipeline.events import INSTANT_PATTERN
from eventpipeline.gateway.app import create_app
from eventpipeline.gateway.ingest import Ingest
from eventpipeline.gateway.metrics import GatewayMetrics
from eventpipeline.settings import GatewaySettings
from eventpipeline.stream import Stream, StreamUnavailable
from eventpipeline.telemetry import Health
from samples import SOURCES, event, text


class KeptStream(Stream):
    """A stream in memory: it keeps what is published, or raises `trouble`."""

    def __init__(self, trouble: Exception | None = None) -> None:
        self.kept: list[tuple[str, bytes, dict[str, str]]] = []
        self.trouble = trouble

    async def publish(self, source: str, payload: bytes, headers: dict[str, str], timeout: float) -> None:
        if self.trouble:
            raise self.trouble
        self.kept.append((source, payload, headers))


def ingest(stream: Stream, *, retention_days: int | None = None) -> Ingest:
    return Ingest(
        tuple(SOURCES.values()),
        stream,
        GatewayMetrics(CollectorRegistry(), tuple(SOURCES)),
        ack_timeout=1.0,
        retention_days=retention_days,
        now=lambda: datetime(2050, 1, 1, tzinfo=UTC),
    )


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.lists(st.from_regex(INSTANT_PATTERN, fullmatch=True), min_size=1, max_size=20))
async def test_every_time_that_is_taken_can_be_compared_with_the_retention(instants: list[str]) -> None:
    stream = KeptStream()
    events = [text(event(event_id=f"e-{number}", timestamp=instant)) for number, instant in enumerate(instants)]
    outcome = await ingest(stream, retention_days=7).take(events, "cid", None)
    # The days around the edge are left to the offset.
    recent = {number for number, instant in enumerate(instants) if instant[:10] > "2049-12-26"}
    old = {number for number, instant in enumerate(instants) if instant[:10] < "2049-12-24"}
    refused = {error["index"] for error in outcome.errors}
    assert {error["reason"] for error in outcome.errors} <= {"beyond_retention"}
    assert old <= refused
    assert not recent & refused
    assert outcome.accepted + outcome.rejected == len(instants)
    kept = [one for source, packed, _ in stream.kept if source == "facebook" for one in json.loads(packed)]
    assert len(kept) == outcome.accepted


async def test_nothing_is_counted_as_taken_that_was_not_acknowledged() -> None:
    stream = KeptStream(StreamUnavailable("away"))
    with pytest.raises(StreamUnavailable):
        await ingest(stream).take([text(event())], "cid", None)


async def test_a_request_that_failed_is_forgotten_at_once() -> None:
    class Body(list[bytes]):
        """A list that can be referred to weakly."""

    class AwayStream(KeptStream):
        async def publish(self, source: str, payload: bytes, headers: dict[str, str], timeout: float) -> None:
            try:
                raise TimeoutError
            except TimeoutError as error:
                raise StreamUnavailable("away") from error

    async def fail() -> weakref.ref[Body]:
        body = Body([text(event())])
        with pytest.raises(StreamUnavailable):
            await taking.take(body, "cid", None)
        return weakref.ref(body)

    taking = ingest(AwayStream())
    gc.disable()  # the gateway's collections are rare, and bodies large
    try:
        body = await fail()
        await asyncio.sleep(0)
        assert body() is None
    finally:
        gc.enable()


async def test_an_unexpected_error_is_a_problem_with_its_correlation_id() -> None:
    settings_ = GatewaySettings(nats_url="nats://127.0.0.1:1", sources=("facebook", "tiktok"))
    stream = KeptStream(RuntimeError("a bug"))
    app = create_app(settings_, tuple(SOURCES.values()), stream, CollectorRegistry(), Health())
    body = text(event())
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, object]) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/webhook/events",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"x-correlation-id", b"cid-7")],
    }
    with pytest.raises(RuntimeError, match="a bug"):
        await app(scope, receive, send)  # type: ignore[arg-type]
    start, end = sent
    assert start["status"] == 500
    headers = dict(start["headers"])  # type: ignore[call-overload]
    assert headers[b"content-type"] == b"application/problem+json"
    assert headers[b"x-correlation-id"] == b"cid-7"
    problem = json.loads(end["body"])  # type: ignore[arg-type]
    assert (problem["status"], problem["correlationId"]) == (500, "cid-7")
    assert "a bug" not in problem["detail"]
