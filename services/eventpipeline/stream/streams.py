"""The streams of one pipeline: made, published to, looked at and trimmed."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

import nats.errors
import nats.js.errors
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo

from eventpipeline.settings import StreamSettings
from eventpipeline.stream.connection import Connection
from eventpipeline.stream.errors import StreamFull, StreamUnavailable, unavailable
from eventpipeline.stream.pull import ACK_WAIT_SECONDS, CONSUMER, Puller
from eventpipeline.stream.trim import first_within_limit, first_younger
from eventpipeline.telemetry import log

DEAD = "DEAD"
_STORE_FAILED = 10077
_log = log("stream")


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the collectors of a stream are behind, and how full it is. Ages in seconds."""

    pending_messages: int
    oldest_age: float
    bytes: int
    max_bytes: int


class Stream:
    """A connection to the streams of one pipeline.

    It connects in the background and for ever: a service starts, and answers, while NATS is away.
    """

    def __init__(self, settings: StreamSettings, name: str) -> None:
        self._settings = settings
        self._ensured: set[str] = set()
        self._failed: set[str] = set()
        """The sources whose stream could not be made when that was last tried."""
        self._ensuring = asyncio.Lock()
        # After an outage everything is looked at again: the server may have come back without it.
        self._connection = Connection(settings.nats_url, name, on_lost=self._ensured.clear)

    def start(self) -> None:
        """Begins to connect. Call `close` in the end."""
        self._connection.start()

    async def connected(self) -> None:
        """Waits for the first connection."""
        await self._connection.first()

    async def close(self) -> None:
        await self._connection.close()

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

    async def ensure(self, source: str) -> None:
        """Makes the stream of `source` (or DEAD) and its consumer where they are missing, and lets limits grow.

        It never shrinks a stream, nor makes one anew. Raises StreamUnavailable.
        """
        if source in self._ensured:
            return
        async with self._ensuring:
            try:
                await self._ensure(self._connection.jetstream(), source)
            except (nats.errors.Error, TimeoutError, OSError) as error:
                self._failed.add(source)
                raise unavailable(error) from error
        self._failed.discard(source)
        self._ensured.add(source)

    async def _ensure(self, jetstream: JetStreamContext, source: str) -> None:
        name = self._stream_name(source)
        limit = self._settings.dead_bytes if source == DEAD else self._settings.stream_bytes
        wanted = StreamConfig(
            name=name,
            subjects=[self._subject(source)],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            storage=StorageType.FILE,
            max_bytes=limit,
            max_age=0,
            num_replicas=self._settings.stream_replicas,
            allow_direct=True,
            duplicate_window=1,  # seconds; no Nats-Msg-Id is sent: the store removes duplicates
        )
        try:
            info = await jetstream.stream_info(name)
        except nats.js.errors.NotFoundError:
            await jetstream.add_stream(wanted)
            _log.info("made stream", stream=name, max_bytes=limit)
        else:
            if 0 < (info.config.max_bytes or 0) < limit:
                await _grow(jetstream, info, limit)
        await jetstream.add_consumer(
            name,
            ConsumerConfig(
                durable_name=CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=ACK_WAIT_SECONDS,
                max_deliver=-1,
                max_ack_pending=100_000,
            ),
        )

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
                await self._connection.jetstream().publish(
                    self._subject(source), payload, timeout=timeout, headers=headers
                )
        except StreamUnavailable:
            raise
        except nats.js.errors.APIError as error:
            if error.err_code == _STORE_FAILED and "maximum bytes" in (error.description or ""):
                raise StreamFull(f"the stream of {source} is at its byte limit") from error
            self.forget(source)
            raise unavailable(error) from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise unavailable(error) from error

    # --- consume -----------------------------------------------------------------------------------------------------

    async def puller(self, source: str) -> Puller:
        """A puller of the messages of `source` (or DEAD). Raises StreamUnavailable."""
        await self.ensure(source)
        try:
            return await Puller.open(self._connection.client, self._stream_name(source))
        except (nats.errors.Error, OSError) as error:
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
        jetstream, name = self._connection.jetstream(), self._stream_name(source)
        try:
            consumer = await jetstream.consumer_info(name, CONSUMER)
            info = await jetstream.stream_info(name)
            floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
            first_young = await first_younger(
                partial(self._age, jetstream, source), self._settings.stream_retention_seconds,
                info.state.first_seq, floor + 1,
            )  # fmt: skip
            keep_from = min(max(first_within_limit(info), first_young), floor + 1)
            gone = keep_from - info.state.first_seq
            if gone <= 0:
                return 0
            await jetstream.purge_stream(name, seq=keep_from)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise unavailable(error) from error
        return gone


async def _grow(jetstream: JetStreamContext, info: StreamInfo, limit: int) -> None:
    try:
        await jetstream.update_stream(info.config.evolve(max_bytes=limit))
    except nats.js.errors.APIError as error:
        # The server may have no room for it yet; a smaller stream is as good a stream.
        _log.warning("stream cannot grow", stream=info.config.name, max_bytes=limit, error=error.description)
    else:
        _log.info("stream grew", stream=info.config.name, max_bytes=limit)
