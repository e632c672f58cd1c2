"""Group commit: small requests that come at the same time share a message, and the one fsync that makes it durable.

A message that comes alone goes out at once. While one of its source is on its way, further ones gather, and go together
when that is acknowledged, when they fill a message, or two milliseconds after the first of them came. Each request is
answered after the acknowledgement that covers its events, as if it had gone alone.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from eventpipeline import envelope
from eventpipeline.envelope import PACKED_BYTES, REQUESTS_HEADER, RequestRun
from eventpipeline.stream import Stream

_ALONE_BYTES = 64 * 1024
"""A message of so many bytes goes alone: its fsync is spread over enough events, and it need not wait for others."""
_GATHER_SECONDS = 0.002


class Groups:
    """Publishes the events of many requests to `stream`."""

    def __init__(self, stream: Stream, *, ack_timeout: float, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._stream = stream
        self._ack_timeout = ack_timeout
        self._gather_seconds = gather_seconds
        self._open: dict[str, _Group] = {}
        self._under_way: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()

    async def publish(self, source: str, packed: bytes, run: RequestRun) -> None:
        """Stores the events of `packed`, a JSON array, which came with `run`; returns once they are on disk.

        Raises StreamUnavailable or StreamFull. Where the caller is cancelled, events that have gathered still go.
        """
        size = len(packed) + run.header_bytes
        if size >= _ALONE_BYTES:
            await self._stream.publish(source, packed, _headers([run]), self._ack_timeout)
            return
        # One request that is given up must not take the answer of the others with it. What is awaited has no name here:
        # an error that it raises holds this frame, and the bodies of its callers would stay until a collection.
        await asyncio.shield(self._gathered(source, packed, run, size))

    def _gathered(self, source: str, packed: bytes, run: RequestRun, size: int) -> asyncio.Future[None]:
        """Puts it into a group; what comes of that group's message."""
        if source in self._open and self._open[source].bytes + size > PACKED_BYTES:
            self._send(source)
        group = self._open.setdefault(source, _Group())
        group.add(packed, run, size)
        if not self._under_way[source]:
            self._send(source)
        elif not group.timer:
            group.timer = asyncio.get_running_loop().call_later(self._gather_seconds, self._send, source)
        return group.acknowledged

    def _send(self, source: str) -> None:
        group = self._open.pop(source)
        if group.timer:
            group.timer.cancel()
        self._under_way[source] += 1
        task = asyncio.create_task(self._publish(source, group))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, source: str, group: _Group) -> None:
        try:
            await self._stream.publish(source, group.packed(), _headers(group.runs), self._ack_timeout)
        except Exception as error:
            group.acknowledged.set_exception(error)
            group.acknowledged.exception()  # who waited may have left
        else:
            group.acknowledged.set_result(None)
        finally:
            del group  # as above
            self._under_way[source] -= 1
            if source in self._open and not self._under_way[source]:
                self._send(source)


class _Group:
    """What goes with one message."""

    def __init__(self) -> None:
        self.runs: list[RequestRun] = []
        self.bytes = 0
        self.timer: asyncio.TimerHandle | None = None
        self.acknowledged = asyncio.get_running_loop().create_future()
        self._packed: list[bytes] = []

    def add(self, packed: bytes, run: RequestRun, size: int) -> None:
        self._packed.append(packed)
        self.runs.append(run)
        self.bytes += size

    def packed(self) -> bytes:
        return self._packed[0] if len(self._packed) == 1 else envelope.join(self._packed)


def _headers(runs: list[RequestRun]) -> dict[str, str]:
    return {REQUESTS_HEADER: envelope.requests_header(runs)}
