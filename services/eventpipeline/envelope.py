"""How events travel in the stream: packed, a JSON array a message, with the requests they came from in a header. Pure.

One message an event would cost an fsync an event; one message a request would not fit the broker's message limit.
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from eventpipeline.events import MAX_EVENT_BYTES, Rejection

PACKED_BYTES = 512 * 1024
"""The most bytes of events in one message; JetStream takes 1 MiB by default, headers included."""

REQUESTS_HEADER = "Ep-Requests"
REASON_HEADER = "Ep-Reason"
_KEPT_OF_TOO_LARGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class RequestRun:
    """So many events in a row that came with one request."""

    correlation_id: str
    traceparent: str | None
    count: int

    @property
    def header_bytes(self) -> int:
        """How many bytes of the header it takes."""
        return len(requests_header([self]))


def pack(events: Sequence[Any]) -> bytes:
    """The JSON array of `events`, each JSON text as bytes or a buffer."""
    return b"[" + b",".join(events) + b"]"


def join(packed: Iterable[bytes]) -> bytes:
    """One JSON array of the events of several packed messages, in order; no JSON where one of them is no array."""
    return b"[" + b",".join(inner for message in packed if (inner := _inside(message.strip()))) + b"]"


def _inside(message: bytes) -> bytes:
    return message[1:-1].strip() if message[:1] == b"[" and message[-1:] == b"]" else message


def requests_header(runs: Iterable[RequestRun]) -> str:
    return orjson.dumps([[run.correlation_id, run.traceparent, run.count] for run in runs]).decode()


def requests_of(headers: Mapping[str, str] | None) -> list[RequestRun]:
    """The runs in a message's headers; empty where a foreign publisher sent none, or none that can be right."""
    try:
        runs = orjson.loads((headers or {}).get(REQUESTS_HEADER, "[]"))
        return [_run(*run) for run in runs]
    except (ValueError, TypeError):
        return []


def _run(correlation_id: object, traceparent: object, count: object) -> RequestRun:
    if not (isinstance(correlation_id, str) and correlation_id.isascii() and correlation_id.isprintable()):
        raise TypeError("no correlation id")
    if not isinstance(traceparent, str | None) or not isinstance(count, int):
        raise TypeError("no run of events")
    if not (0 < len(correlation_id) <= 128 and 0 < count <= PACKED_BYTES):
        raise ValueError("out of range")
    return RequestRun(correlation_id, traceparent, count)


def dead_letter(
    event: bytes, rejection: Rejection, correlation_id: str, received_at: str, *, identity: uuid.UUID | None = None
) -> bytes:
    """A rejected event as one JSON object: what is known of it, why it was refused, and the event itself.

    The event stands base64-coded in `payload`, since it need not be text; of one that is over the limit only the
    first 64 KiB, beside its length and digest. `identity` is given where the same letter may be made twice.
    """
    kept = event if len(event) <= MAX_EVENT_BYTES else event[:_KEPT_OF_TOO_LARGE]
    return orjson.dumps(
        {
            "id": str(identity or uuid.uuid4()),
            "receivedAt": received_at,
            "source": rejection.source,
            "funnelStage": rejection.funnel_stage,
            "eventType": rejection.event_type,
            "eventId": rejection.event_id,
            "reason": rejection.reason,
            "detail": rejection.detail,
            "correlationId": correlation_id,
            "payload": base64.b64encode(kept).decode(),
            "payloadBytes": len(event),
            "payloadSha256": hashlib.sha256(event).hexdigest(),
        }
    )
