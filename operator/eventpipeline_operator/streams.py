"""The streams of the pipelines: made, put back, looked at and dropped through `eventpipeline.stream`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from tempfile import TemporaryDirectory

from eventpipeline.settings import StreamSettings
from eventpipeline.stream import DEAD, Change, Ensured, Stream, StreamUnavailable
from eventpipeline.telemetry import log
from eventpipeline_operator.certificates import NO_FILES, Files, write

_SECONDS = 5.0
_log = log("streams")


@dataclass(frozen=True)
class StreamsSeen:
    """What was found of the streams of a pipeline, and what was done."""

    fault: str | None = None
    """Why JetStream could not be asked, or None."""
    pending: Mapping[str, int] = field(default_factory=dict)
    """Messages that are not stored yet, by source."""
    removed: Mapping[str, int] = field(default_factory=dict)
    """The same of sources that have a stream but were not asked for."""
    wrong: tuple[str, ...] = ()
    """What is not as it has to be and cannot be changed in place, and what to do."""
    changed: tuple[str, ...] = ()
    """What was made or changed, as the plan says."""
    put_back: tuple[str, ...] = ()
    """What somebody else had deleted or changed."""


@dataclass
class _Open:
    """One connection, and what is remembered of the last look through it."""

    settings: StreamSettings
    certificates: Files
    folder: TemporaryDirectory[str] | None
    stream: Stream
    same_plan: bool = False
    """Whether the streams were looked at with these settings before: then what differs was changed by somebody."""
    unfit: set[str] = field(default_factory=set)
    """Sources whose stream did not have its byte limit then."""


class Streams:
    """One connection a pipeline, kept between passes, by the UID of the resource."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._made_at: dict[str, dict[str, dict[str, datetime]]] = {}
        """When each stream and consumer was made, as far as it was seen, by UID and source: the services make again
        what is missing at once, so that a deletion shows only in this."""

    async def look(
        self, uid: str, settings: StreamSettings, sources: Sequence[str], certificates: Files = NO_FILES
    ) -> StreamsSeen:
        """Puts back what is missing or was changed of the streams and consumers, and says what is pending."""
        opened = await self._opened(uid, settings, certificates)
        made_at, found = self._made_at.setdefault(uid, {}), _Found()
        try:
            async with asyncio.timeout(_SECONDS):
                await opened.stream.connected()
                for source in (*sources, DEAD):
                    opened.stream.forget(source)
                    ensured = await opened.stream.ensure(source)
                    found.note(
                        ensured, made_at.setdefault(source, {}), planned=not opened.same_plan or source in opened.unfit
                    )
                    (opened.unfit.discard if ensured.fits else opened.unfit.add)(source)
                    found.pending[source] = (await opened.stream.lag(source)).pending_messages
                present = await opened.stream.sources()
                found.removed |= {name: count for name, count in present.items() if name not in sources}
        except StreamUnavailable as error:
            return found.seen(str(error))
        except TimeoutError:
            fault = opened.stream.connection_fault
            late = f"JetStream did not answer within {_SECONDS:g} s"
            return found.seen(f"NATS cannot be reached: {fault}" if fault else late)
        opened.same_plan = True
        return found.seen(None)

    async def drop(self, uid: str, source: str) -> bool:
        """Drops the stream of a removed source if all of it is stored; says whether it did. Call after `look`."""
        try:
            async with asyncio.timeout(_SECONDS):
                dropped = await self._open[uid].stream.drop(source)
        except (StreamUnavailable, TimeoutError, KeyError):
            return False  # the next look finds it again
        if dropped:
            self._made_at[uid].pop(source, None)
        return dropped

    async def _opened(self, uid: str, settings: StreamSettings, certificates: Files) -> _Open:
        if (found := self._open.get(uid)) and (found.settings, found.certificates) != (settings, certificates):
            await self._close(uid)
        if uid not in self._open:
            folder = write(certificates) if certificates else None
            own = settings.model_copy(update={"nats_tls_dir": folder.name if folder else None})
            stream = Stream(own, "operator")
            stream.start()
            self._open[uid] = _Open(settings, certificates, folder, stream)
        return self._open[uid]

    async def close(self, uid: str) -> None:
        """Ends the connection of a pipeline that is gone."""
        self._made_at.pop(uid, None)
        await self._close(uid)

    async def _close(self, uid: str) -> None:
        if found := self._open.pop(uid, None):
            # The client's own closing is cancelled where the server has gone first; that must not cancel the pass.
            closing = asyncio.create_task(found.stream.close())
            await asyncio.wait((closing,), timeout=_SECONDS)
            if closing.done() and not closing.cancelled() and (error := closing.exception()):
                _log.debug("closing", error=str(error))
            if found.folder:
                found.folder.cleanup()

    async def close_all(self) -> None:
        await asyncio.gather(*(self.close(uid) for uid in tuple(self._open)))


@dataclass
class _Found:
    pending: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    put_back: list[str] = field(default_factory=list)

    def note(self, ensured: Ensured, made_at: dict[str, datetime], *, planned: bool) -> None:
        """Sorts what was done into what the plan says and what somebody had done; keeps `made_at` up to date."""
        self.wrong += ensured.faults
        for change in ensured.changes:
            if change.made:
                (self.put_back if change.what in made_at else self.changed).append(_made(change.what, made_at))
            else:
                (self.changed if planned else self.put_back).append(_changed(change, planned=planned))
        self.put_back += _made_again(ensured, made_at)
        made_at |= ensured.made_at

    def seen(self, fault: str | None) -> StreamsSeen:
        return StreamsSeen(
            fault, self.pending, self.removed, tuple(self.wrong), tuple(self.changed), tuple(self.put_back)
        )


def _made_again(ensured: Ensured, made_at: Mapping[str, datetime]) -> Iterator[str]:
    """What a service has made again before the operator could."""
    ours = {change.what for change in ensured.changes}
    return (
        _made(what, made_at)
        for what, moment in ensured.made_at.items()
        if made_at.get(what, moment) != moment and what not in ours
    )


def _made(what: str, made_at: Mapping[str, datetime]) -> str:
    if what not in made_at:
        return f"made {what}"
    if what.startswith("stream"):
        return f"made {what} again, which somebody had deleted; events in it that were not stored yet are lost"
    return f"made {what} again, which somebody had deleted, or changed so that it passed over events"


def _changed(change: Change, *, planned: bool) -> str:
    fields = ", ".join(change.fields)
    return (
        f"changed {change.what}: {fields}"
        if planned
        else f"put back {change.what}, which somebody had changed: {fields}"
    )
