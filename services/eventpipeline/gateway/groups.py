"""Group commit: small requests that come at the same time share a message, and the one fsync that makes it durable.

A message that comes alone goes out at once. While one of its source is on its way, further ones gather, and go together
when that is acknowledged, when they fill a message, or two milliseconds after the first of them came if no second one
is under way. Where several were answered together, as many are likely to come again in a moment: those that come gather
for two milliseconds though nothing is under way. Each request is answered after the acknowledgement that covers its
events, as if it had gone alone.
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
_MOST_UNDER_WAY = 2
"""Small messages of one source that are sent before the first is acknowledged: the server writes one after the other,
so that more of them only wait there, each with an fsync of its own, instead of gathering."""


class Groups:
    """Publishes the events of many requests to `stream`."""

    def __init__(self, stream: Stream, *, ack_timeout: float, gather_seconds: float = _GATHER_SECONDS) -> None:
        self._stream = stream
        self._ack_timeout = ack_timeout
        self._gather_seconds = gather_seconds
        self._open: dict[str, _Group] = {}
        self._under_way: Counter[str] = Counter()
        self._gather_until: dict[str, float] = {}
        """When a message of a source goes at once again, on the clock of the loop."""
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()

    def publish(self, source: str, packed: bytes, run: RequestRun) -> asyncio.Future[None]:
        """Sends the events of `packed`, a JSON array, which came with `run`; done once they are on disk.

        Its error is StreamUnavailable or StreamFull. Where it is cancelled, events that have gathered still go.
        """
        size = len(packed) + run.header_bytes
        if size >= _ALONE_BYTES:
            return asyncio.create_task(self._stream.publish(source, packed, _headers([run]), self._ack_timeout))
        if source in self._open and self._open[source].bytes + size > PACKED_BYTES:
            self._send(source)
        group = self._open.setdefault(source, _Group())
        # A future each: one request that is given up must not take the answer of the others with it.
        answered = group.add(packed, run, size)
        if not self._under_way[source] and self._loop.time() >= self._gather_until.get(source, 0.0):
            self._send(source)
        elif not group.timer:
            group.timer = self._loop.call_later(self._gather_seconds, self._hurry, source)
        return answered

    def _hurry(self, source: str) -> None:
        """The time to gather is over: sends the group, if that gains anything."""
        if self._under_way[source] < _MOST_UNDER_WAY:
            self._send(source)
        else:
            self._open[source].is_due = True

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
            group.answer(error)
        else:
            group.answer(None)
            if len(group.runs) > 1:
                self._gather_until[source] = self._loop.time() + self._gather_seconds
        finally:
            # An error that is raised from it holds this frame, and the bodies of its callers, until a collection.
            del group
            self._under_way[source] -= 1
            self._go_on(source)

    def _go_on(self, source: str) -> None:
        """Sends what has gathered while another message was under way, unless more is about to come."""
        if group := self._open.get(source):
            gathering = self._under_way[source] or self._loop.time() < self._gather_until.get(source, 0.0)
            if group.is_due or not gathering:
                self._send(source)


class _Group:
    """What goes with one message."""

    def __init__(self) -> None:
        self.runs: list[RequestRun] = []
        self.bytes = 0
        self.timer: asyncio.TimerHandle | None = None
        self.is_due = False
        """Whether it has gathered long enough."""
        self._packed: list[bytes] = []
        self._answered: list[asyncio.Future[None]] = []

    def add(self, packed: bytes, run: RequestRun, size: int) -> asyncio.Future[None]:
        """Done when its message is acknowledged."""
        answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._packed.append(packed)
        self.runs.append(run)
        self.bytes += size
        self._answered.append(answered)
        return answered

    def answer(self, error: Exception | None) -> None:
        """Tells all who wait; who was given up hears nothing."""
        for answered in self._answered:
            if answered.done():
                continue
            if error:
                answered.set_exception(error)
            else:
                answered.set_result(None)

    def packed(self) -> bytes:
        return self._packed[0] if len(self._packed) == 1 else envelope.join(self._packed)


def _headers(runs: list[RequestRun]) -> dict[str, str]:
    return {REQUESTS_HEADER: envelope.requests_header(runs)}
