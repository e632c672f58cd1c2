"""How the pipeline fares: what is stored, what waits in the stream, what was refused."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from eventpipeline.reporter.params import NoQuery, Vocabulary, parse
from eventpipeline.reporter.responses import json_response
from eventpipeline.reporter.times import written
from eventpipeline.sources import Source
from eventpipeline.store import reports
from eventpipeline.store.dead_letter_queries import DeadLetterCount, count_dead_letters
from eventpipeline.store.pool import Pool
from eventpipeline.store.reports import SourceTotals
from eventpipeline.stream import DEAD, Lag, Stream, StreamUnavailable

_STREAM_SECONDS = 2.0
"""The stream is asked no longer than this: the page lives on while NATS is away."""


class StatusEndpoint:
    def __init__(self, sources: Sequence[Source], pool: Pool, stream: Stream) -> None:
        self._vocabulary = Vocabulary.of(sources)
        self._names = tuple(source.name for source in sources)
        self._pool = pool
        self._stream = stream

    async def status(self, request: Request) -> Response:
        parse(NoQuery, request, self._vocabulary)
        asking = asyncio.create_task(self._lags())
        try:
            async with reports.snapshot(self._pool) as store:
                totals = await reports.totals(store)
                dead = await count_dead_letters(store, self._names)
            lags, fault = await asking
        finally:
            asking.cancel()
        return json_response(
            {
                "time": written(datetime.now(UTC).replace(microsecond=0)),
                "stream": fault or "ok",
                "sources": [_source(name, totals.get(name), lags.get(name), dead) for name in self._names],
                "deadLetters": _dead_letters(self._names, lags.get(DEAD), dead),
            }
        )

    async def _lags(self) -> tuple[dict[str, Lag], str | None]:
        """The lag of each source and of the dead letters, or none at all and why."""
        names = (*self._names, DEAD)
        try:
            async with asyncio.timeout(_STREAM_SECONDS):
                lags = await asyncio.gather(*(self._stream.lag(name) for name in names))
        except StreamUnavailable as error:
            return {}, str(error)
        except TimeoutError:
            return {}, f"JetStream did not answer within {_STREAM_SECONDS:g} s"
        return dict(zip(names, lags, strict=True)), None


def _source(name: str, totals: SourceTotals | None, lag: Lag | None, dead: Sequence[DeadLetterCount]) -> dict[str, Any]:
    return {
        "source": name,
        "events": totals.events if totals else 0,
        "transactions": totals.transactions if totals else 0,
        "pendingMessages": lag.pending_messages if lag else None,
        "oldestPendingSeconds": round(lag.oldest_age, 3) if lag else None,
        "streamBytes": lag.bytes if lag else None,
        "streamByteLimit": lag.max_bytes if lag else None,
        "deadLetters": sum(row.count for row in dead if row.source == name),
    }


def _dead_letters(names: Sequence[str], lag: Lag | None, dead: Sequence[DeadLetterCount]) -> dict[str, Any]:
    reasons = sorted({row.reason for row in dead})
    return {
        "total": sum(row.count for row in dead),
        "retentionSeconds": None,
        "pendingMessages": lag.pending_messages if lag else None,
        "streamBytes": lag.bytes if lag else None,
        "streamByteLimit": lag.max_bytes if lag else None,
        "byReason": {reason: sum(row.count for row in dead if row.reason == reason) for reason in reasons},
        "bySource": {
            **{name: sum(row.count for row in dead if row.source == name) for name in names},
            "other": sum(row.count for row in dead if row.source is None),
        },
    }
