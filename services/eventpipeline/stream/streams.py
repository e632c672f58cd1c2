"""The streams of one pipeline: made, published to, looked at and trimmed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import partial

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext

from eventpipeline.settings import StreamSettings
from eventpipeline.stream.config import CONSUMER, Ensured, can_be_changed, consumer_differences, stream_config
from eventpipeline.stream.connection import Connection
from eventpipeline.stream.ensure import ensure, make_missing
from eventpipeline.stream.errors import StreamFull, StreamUnavailable, unavailable
from eventpipeline.stream.pull import Message, Puller
from eventpipeline.stream.replace import Progress, erase, progress
from eventpipeline.stream.retained import retained
from eventpipeline.stream.trim import first_within_limit, first_younger, purge_below, stored_before
from eventpipeline.telemetry import log

DEAD = "DEAD"
_STORE_FAILED = 10077
_REPLACE_SECONDS = 30.0
_log = log("stream")


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the collectors of a stream are behind, and how full it is. Ages in seconds."""

    pending_messages: int
    oldest_age: float
    bytes: int
    max_bytes: int


class Tends(Enum):
    """What of the streams a connection makes and puts back before it uses them."""

    EVERYTHING = "streams and consumers"
    MISSING_STREAMS = "streams that are not there"
    NOTHING = "nothing"


class Stream:
    """A connection to the streams of one pipeline.

    It connects in the background and for ever: a service starts, and answers, while NATS is away.
    """

    def __init__(self, settings: StreamSettings, name: str, tends: Tends = Tends.EVERYTHING) -> None:
        self._settings = settings
        self._tends = tends
        self._ensured: set[str] = set()
        self._failed: set[str] = set()
        """The sources whose stream could not be made when that was last tried."""
        self._unfit: set[str] = set()
        """The sources whose stream could not have its byte limit yet."""
        self._ensuring = asyncio.Lock()
        # After an outage everything is looked at again: the server may have come back without it.
        self._connection = Connection(
            settings.nats_url,
            name,
            on_lost=self._ensured.clear,
            tls_dir=settings.nats_tls_dir,
            inbox_prefix=settings.nats_inbox_prefix,
        )

    def start(self) -> None:
        """Begins to connect. Call `close` in the end."""
        self._connection.start()

    async def connected(self) -> None:
        """Waits for the first connection."""
        await self._connection.first()

    async def close(self) -> None:
        await self._connection.close()

    @property
    def connection_fault(self) -> str | None:
        """Why there is no connection, or None where nothing was heard against one."""
        return self._connection.fault

    @property
    def is_refused(self) -> bool:
        """Whether NATS did not take the login when it was last tried."""
        return "authorization violation" in (self.connection_fault or "").lower()

    @property
    def is_connected(self) -> bool:
        return self._connection.client.is_connected

    async def is_there(self, source: str) -> bool:
        """Whether there is a stream of `source` (or DEAD). Raises StreamUnavailable."""
        try:
            await self._connection.jetstream().stream_info(self._stream_name(source))
        except nats.js.errors.NotFoundError:
            return False
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise unavailable(error) from error
        return True

    async def check(self) -> str | None:
        """What is wrong with JetStream, or None where it answers."""
        if fault := await self._connection.check():
            return fault
        for source in tuple(self._failed):
            try:
                await self.ensure(source)
            except StreamUnavailable as error:
                return f"the stream of {source} cannot be made: {error}"
        return None

    # --- streams and consumers ---------------------------------------------------------------------------------------

    def _stream_name(self, source: str) -> str:
        return self._settings.stream_prefix + (DEAD if source == DEAD else f"EVENTS_{source}")

    def _subject(self, source: str) -> str:
        return self._settings.stream_prefix + ("dead" if source == DEAD else f"events.{source}")

    async def ensure(self, source: str) -> Ensured:
        """Makes the stream of `source` (or DEAD) and its consumer, and puts back what somebody changed of them.

        Where that was done since the last `forget`, and all was well, nothing is looked at. Never deletes an event
        that is not stored, nor a stream. Raises StreamUnavailable.
        """
        if source in self._ensured or self._tends is Tends.NOTHING:
            return Ensured()
        async with self._ensuring:
            try:
                ensured = await self._ensure(self._connection.jetstream(), source)
            except (nats.errors.Error, TimeoutError, OSError) as error:
                self._failed.add(source)
                raise unavailable(error) from error
        self._failed.discard(source)
        self._ensured.add(source)
        return ensured

    async def _ensure(self, jetstream: JetStreamContext, source: str) -> Ensured:
        settings = self._settings
        wanted = stream_config(
            self._stream_name(source), self._subject(source),
            max_bytes=self._limit(source), replicas=settings.stream_replicas,
        )  # fmt: skip
        if self._tends is Tends.MISSING_STREAMS:
            return await make_missing(jetstream, wanted)
        ensured = await ensure(jetstream, wanted, larger_is_fine=settings.stream_larger)
        for fault in ensured.faults:
            _log.error("a stream is not as it has to be", fault=fault)
        if ensured.fits:
            self._unfit.discard(source)
        elif source not in self._unfit:
            self._unfit.add(source)
            _log.warning("a stream cannot have its byte limit yet", stream=wanted.name, max_bytes=wanted.max_bytes)
        return ensured

    def _limit(self, source: str) -> int:
        return self._settings.dead_bytes if source == DEAD else self._settings.stream_bytes

    def forget(self, source: str) -> None:
        """Has the stream and consumer of `source` looked at again before use: somebody may have deleted them."""
        self._ensured.discard(source)

    # --- publish -----------------------------------------------------------------------------------------------------

    async def publish(self, source: str, payload: bytes, headers: dict[str, str], timeout: float) -> None:
        """Stores one message in the stream of `source` (or DEAD); returns once JetStream has it on disk.

        Raises StreamFull at the byte limit, StreamUnavailable where no acknowledgement came within `timeout` seconds.
        """
        try:
            async with asyncio.timeout(timeout):
                await self.ensure(source)
                await self._connection.room()
                await self._put(source, payload, headers, timeout)
        except StreamFull:
            raise
        except StreamUnavailable:
            self.forget(source)
            raise
        except TimeoutError as error:
            self.forget(source)
            raise unavailable(error) from error

    async def _put(self, source: str, payload: bytes, headers: dict[str, str], timeout: float) -> None:
        """Publishes to a stream that is there, whatever its settings. Raises as `publish`."""
        try:
            await self._connection.jetstream().publish(self._subject(source), payload, timeout=timeout, headers=headers)
        except nats.js.errors.APIError as error:
            if error.err_code == _STORE_FAILED and "maximum bytes" in (error.description or ""):
                raise StreamFull(f"the stream of {source} is at its byte limit") from error
            raise unavailable(error) from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise unavailable(error) from error

    # --- consume -----------------------------------------------------------------------------------------------------

    async def puller(self, source: str) -> Puller:
        """A puller of the messages of `source` (or DEAD). Raises StreamUnavailable."""
        await self.ensure(source)
        try:
            return await Puller.open(self._connection.client, self._stream_name(source))
        except (nats.errors.Error, OSError) as error:
            raise unavailable(error) from error

    def retained(self, source: str, start: datetime | None, end: datetime) -> AsyncGenerator[list[Message]]:
        """What the stream of `source` (or DEAD) still has and stored from `start` to before `end`; see `retained`.

        Nothing of the stream is made or changed, and its collectors do not notice. Raises StreamUnavailable.
        """
        return retained(self._connection.client, self._connection.jetstream(), self._stream_name(source), start, end)

    async def replace(self, source: str, message: Message, data: bytes | None) -> None:
        """Puts `data` at the end of the stream in place of `message`, with its headers, and erases the message.

        The new one is on disk before the old one goes, so a message may be there twice for a moment, and never not at
        all. Without `data` the message only goes. The stream itself is left as it is. Raises StreamFull or
        StreamUnavailable; to be called again then.
        """
        if data is not None:
            await self._put(source, data, message.headers, _REPLACE_SECONDS)
        try:
            await erase(self._connection.jetstream(), self._stream_name(source), message.sequence)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise unavailable(error) from error

    async def progress(self, source: str) -> Progress | None:
        """How far the stream and the collectors of `source` (or DEAD) are; None where there is no such stream.

        Nothing is made. Raises StreamUnavailable.
        """
        try:
            return await progress(self._connection.jetstream(), self._stream_name(source))
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise unavailable(error) from error

    async def lag(self, source: str) -> Lag:
        """How far behind the consumer of `source` (or DEAD) is. Raises StreamUnavailable."""
        await self.ensure(source)
        jetstream, name = self._connection.jetstream(), self._stream_name(source)
        try:
            consumer = await jetstream.consumer_info(name, CONSUMER)
            stream = await jetstream.stream_info(name)
            pending = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
            age = await self._age(jetstream, source, floor + 1) if pending else 0.0
        except nats.js.errors.NotFoundError:
            self.forget(source)
            raise StreamUnavailable(f"{name}, or its consumer, is not there; a collector makes it") from None
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise unavailable(error) from error
        return Lag(pending, age, stream.state.bytes, stream.config.max_bytes or 0)

    async def _age(self, jetstream: JetStreamContext, source: str, sequence: int) -> float:
        """Seconds since the first message at or after `sequence` was stored; 0 where there is none."""
        try:
            message = await jetstream.get_msg(
                self._stream_name(source), seq=sequence, subject=self._subject(source), next=True
            )
        except nats.js.errors.NotFoundError:
            return 0.0
        stored_at = message.time or datetime.now(UTC)
        return max(0.0, time.time() - stored_at.timestamp())

    # --- trim --------------------------------------------------------------------------------------------------------

    async def trim(self, source: str) -> int:
        """Deletes stored messages that are past the retention, or that fill the stream above 70 % of its byte limit.

        Only what every collector has acknowledged goes. Returns how many messages went. Raises StreamUnavailable.
        """
        if source in self._unfit:
            self.forget(source)
            await self.ensure(source)
        jetstream, name = self._connection.jetstream(), self._stream_name(source)
        try:
            stored = await stored_before(jetstream, name)
            if not stored:
                self.forget(source)  # somebody changed the consumer; whoever uses it next puts it back
            info = await jetstream.stream_info(name)
            first_young = await first_younger(
                partial(self._age, jetstream, source), self._settings.stream_retention_seconds,
                info.state.first_seq, stored,
            )  # fmt: skip
            limit = info.config.max_bytes or -1
            full = first_within_limit(info, limit if limit > 0 else self._limit(source))
            return await purge_below(jetstream, info, min(max(full, first_young), stored))
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise unavailable(error) from error

    # --- sources that were removed -----------------------------------------------------------------------------------

    async def sources(self) -> dict[str, int]:
        """Every source that has a stream of this pipeline, and how many of its messages are not stored yet.

        Makes nothing, so that a stream that was dropped stays away. Raises StreamUnavailable.
        """
        found: dict[str, int] = {}
        prefix = self._stream_name("")
        try:
            jetstream, offset = self._connection.jetstream(), 0
            while page := await jetstream.streams_info(offset):
                offset += len(page)
                for info in page:
                    name = str(info.config.name)
                    if name.startswith(prefix) and info.config.subjects == [self._subject(name.removeprefix(prefix))]:
                        found[name.removeprefix(prefix)] = await _pending(jetstream, name, info.state.messages)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise unavailable(error) from error
        return found

    async def drop(self, source: str) -> bool:
        """Deletes the stream of a source that was removed, if everything in it is stored; says whether it did.

        To be called when nothing publishes to it any more, and nothing makes it again. Raises StreamUnavailable.
        """
        jetstream, name = self._connection.jetstream(), self._stream_name(source)
        try:
            info = await jetstream.stream_info(name)
            if await _pending(jetstream, name, info.state.messages):
                return False
            await jetstream.delete_stream(name)
        except nats.js.errors.NotFoundError:
            return False
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise unavailable(error) from error
        finally:
            self.forget(source)
        _log.info("dropped the stream of a source that was removed", stream=name)
        return True


async def _pending(jetstream: JetStreamContext, name: str, messages: int) -> int:
    """How many messages of a stream are not stored yet: all, where there is no consumer that would know."""
    try:
        consumer = await jetstream.consumer_info(name, CONSUMER)
    except nats.js.errors.NotFoundError:
        return messages
    if not can_be_changed(consumer_differences(consumer.config)):
        return messages
    return (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
