"""The streams of the pipelines: made, put back and looked at through `eventpipeline.stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from eventpipeline.settings import StreamSettings
from eventpipeline.stream import DEAD, Stream, StreamUnavailable
from eventpipeline.telemetry import log

_SECONDS = 5.0
_log = log("streams")


@dataclass(frozen=True)
class StreamsSeen:
    """`fault`: what is wrong, or None. `pending`: messages that are not stored yet, by source."""

    fault: str | None = None
    pending: Mapping[str, int] = field(default_factory=dict)


class Streams:
    """One connection a pipeline, kept between passes, by the UID of the resource."""

    def __init__(self) -> None:
        self._open: dict[str, tuple[StreamSettings, Stream]] = {}

    async def look(self, uid: str, settings: StreamSettings, sources: Sequence[str]) -> StreamsSeen:
        """Puts back what is missing of the streams and consumers, and says what is pending."""
        stream = await self._stream(uid, settings)
        pending: dict[str, int] = {}
        try:
            async with asyncio.timeout(_SECONDS):
                await stream.connected()
                for source in (*sources, DEAD):
                    stream.forget(source)
                    pending[source] = (await stream.lag(source)).pending_messages
        except StreamUnavailable as error:
            return StreamsSeen(str(error), pending)
        except TimeoutError:
            return StreamsSeen(f"JetStream did not answer within {_SECONDS:g} s", pending)
        return StreamsSeen(None, pending)

    async def _stream(self, uid: str, settings: StreamSettings) -> Stream:
        if uid in self._open and self._open[uid][0] != settings:
            await self.close(uid)
        if uid not in self._open:
            stream = Stream(settings, "operator")
            stream.start()
            self._open[uid] = (settings, stream)
        return self._open[uid][1]

    async def close(self, uid: str) -> None:
        if found := self._open.pop(uid, None):
            # The client's own closing is cancelled where the server has gone first; that must not cancel the pass.
            closing = asyncio.create_task(found[1].close())
            await asyncio.wait((closing,), timeout=_SECONDS)
            if closing.done() and not closing.cancelled() and (error := closing.exception()):
                _log.debug("closing", error=str(error))

    async def close_all(self) -> None:
        await asyncio.gather(*(self.close(uid) for uid in tuple(self._open)))
