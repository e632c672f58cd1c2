"""Each event that is sent, written down while it is sent: what the oracle compares the database with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from eventpipeline.publisher.batch import Batch


class _User(msgspec.Struct, rename="camel"):
    user_id: str


class _Engagement(msgspec.Struct, rename="camel"):
    purchase_amount: str | None = None


class _Data(msgspec.Struct):
    user: _User
    engagement: _Engagement


class _Event(msgspec.Struct, rename="camel"):
    event_id: str
    timestamp: str
    source: str
    funnel_stage: str
    event_type: str
    data: _Data


_raw = msgspec.json.Decoder(list[msgspec.Raw])
_event = msgspec.json.Decoder(_Event)
_TRANSACTIONS = ("checkout.complete", "purchase")


@dataclass
class Sent:
    """The record of one run in a file, in the form that Postgres's COPY reads.

    A line an event: batch, source, event id, timestamp, funnel stage, event type, user id, amount.
    """

    path: Path

    def __enter__(self) -> Self:
        self._file = self.path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, batch: Batch) -> None:
        """Writes down the valid events of a batch."""
        self._file.write(b"".join(_lines(batch)))

    def flush(self) -> None:
        self._file.flush()


def _lines(batch: Batch) -> Iterator[bytes]:
    events: list[Any] = _raw.decode(batch.body)
    # An event that was made invalid is the last one of its batch.
    for event in events[: len(events) - batch.facts.invalid]:
        one = _event.decode(event)
        amount = one.data.engagement.purchase_amount if one.event_type in _TRANSACTIONS else None
        fields = (
            str(batch.index), one.source, one.event_id, one.timestamp, one.funnel_stage, one.event_type,
            one.data.user.user_id, amount if amount is not None else "\\N",
        )  # fmt: skip
        yield "\t".join(fields).encode() + b"\n"
