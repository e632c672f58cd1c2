"""NATS JetStream: one stream a source, one durable consumer shared by its collectors, one stream of dead letters.

The only module that speaks to NATS. Streams keep their messages by limits with discard-new and no age: the server
never deletes an event that is not stored. What is stored is trimmed by `Stream.trim`.

    StreamError
    └── StreamUnavailable      nothing was stored, as far as is known; the same message may be sent again
        └── StreamFull         the stream is at its byte limit
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime

import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig, StreamInfo

from eventpipeline.settings import StreamSettings
from eventpipeline.telemetry import log

DEAD = "DEAD"
_CONSUMER = "collector"
_ACK_WAIT_SECONDS = 8
"""A message that a killed collector held comes again after this; whoever works longer on one says so in between."""
_STORE_FAILED = 10077
_TRIM_ABOVE, _TRIM_TO = 0.70, 0.60
_HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 4.0
"""A consumer that says nothing for so long, not even that it has nothing, is away."""
_log = log("stream")


class StreamError(Exception):
    """The stream cannot do what was asked."""


class StreamUnavailable(StreamError):  # noqa: N818
    """JetStream did not acknowledge: away, disabled, or too slow."""


class StreamFull(StreamUnavailable):
    """The stream is at its byte limit, with events that are not stored yet."""


@dataclass(frozen=True, slots=True)
class Lag:
    """How far the collectors of a stream are behind, and how full it is. Ages in seconds."""

    pending_messages: int
    oldest_age: float
    bytes: int
    max_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message of a stream, to be acknowledged once what it carries is stored."""

    data: bytes
    headers: dict[str, str]
    _msg: Msg


class Stream:
    """A connection to the streams of one pipeline.

    It connects in the background and for ever: a service starts, and answers, while NATS is away.
    """

    def __init__(self, settings: StreamSettings, name: str) -> None:
        self._settings = settings
        self._name = name
        self._client = Client()
        self._context: JetStreamContext | None = None
        self._ensured: set[str] = set()
        self._ensuring = asyncio.Lock()
        self._connecting: asyncio.Task[None] | None = None
        self._connected = asyncio.Event()

    # --- connection --------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to connect. Call `close` in the end."""
        self._connecting = asyncio.create_task(self._connect())

    async def _connect(self) -> None:
        """Connects, and connects anew where the client has given up, as it does after some errors of the server."""
        delay = 0.1
        while True:
            client, closed = Client(), asyncio.Event()
            try:
                await self._open(client, closed)
                self._client, self._context = client, client.jetstream()
                self._connected.set()
                _log.info("connected to NATS")
                await closed.wait()
                _log.warning("the connection to NATS has ended; connecting anew", error=str(client.last_error))
                delay = 0.1
            except (OSError, nats.errors.Error, TimeoutError) as error:
                _log.warning("NATS is not reachable", error=str(error) or type(error).__name__, retry_seconds=delay)
            finally:
                with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
                    await client.close()
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)

    async def _open(self, client: Client, closed: asyncio.Event) -> None:
        async def on_error(error: Exception) -> None:
            _log.debug("nats", error=str(error) or type(error).__name__)

        async def on_disconnect() -> None:
            self._ensured.clear()
            if not client.is_closed:
                _log.warning("disconnected from NATS")

        async def on_reconnect() -> None:
            _log.info("reconnected to NATS")

        async def on_closed() -> None:
            closed.set()

        await client.connect(
            self._settings.nats_url.split(","),
            name=self._name,
            connect_timeout=2,
            reconnect_time_wait=1,
            max_reconnect_attempts=-1,
            ping_interval=5,
            max_outstanding_pings=2,
            allow_reconnect=True,
            error_cb=on_error,
            disconnected_cb=on_disconnect,
            reconnected_cb=on_reconnect,
            closed_cb=on_closed,
        )

    async def connected(self) -> None:
        """Waits for the first connection."""
        await self._connected.wait()

    async def close(self) -> None:
        while self._connecting and not self._connecting.done():
            # More than once, since the client may swallow a cancellation while it connects.
            self._connecting.cancel()
            await asyncio.wait((self._connecting,), timeout=1.0)

    async def check(self) -> str | None:
        """What is wrong with JetStream, or None where it answers."""
        try:
            await self._jetstream().account_info()
        except StreamUnavailable as error:
            return str(error)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            return str(_unavailable(error))
        return None

    def _jetstream(self) -> JetStreamContext:
        if self._context is None or not self._client.is_connected:
            raise StreamUnavailable("NATS is not connected")
        return self._context

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
                await self._ensure(self._jetstream(), source)
            except (nats.errors.Error, TimeoutError, OSError) as error:
                raise _unavailable(error) from error
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
                durable_name=_CONSUMER,
                ack_policy=AckPolicy.EXPLICIT,
                ack_wait=_ACK_WAIT_SECONDS,
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
                await self._jetstream().publish(self._subject(source), payload, timeout=timeout, headers=headers)
        except StreamUnavailable:
            raise
        except nats.js.errors.APIError as error:
            if error.err_code == _STORE_FAILED and "maximum bytes" in (error.description or ""):
                raise StreamFull(f"the stream of {source} is at its byte limit") from error
            self.forget(source)
            raise _unavailable(error) from error
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise _unavailable(error) from error

    # --- consume -----------------------------------------------------------------------------------------------------

    async def puller(self, source: str) -> Puller:
        """A puller of the messages of `source` (or DEAD). Raises StreamUnavailable."""
        await self.ensure(source)
        try:
            return await Puller.open(self._client, self._stream_name(source))
        except (nats.errors.Error, OSError) as error:
            raise _unavailable(error) from error

    async def lag(self, source: str) -> Lag:
        """How far behind the consumer of `source` (or DEAD) is. Raises StreamUnavailable."""
        await self.ensure(source)
        jetstream, name = self._jetstream(), self._stream_name(source)
        try:
            consumer = await jetstream.consumer_info(name, _CONSUMER)
            stream = await jetstream.stream_info(name)
            pending = (consumer.num_pending or 0) + (consumer.num_ack_pending or 0)
            floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
            age = await self._age(jetstream, source, floor + 1) if pending else 0.0
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise _unavailable(error) from error
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
        jetstream, name = self._jetstream(), self._stream_name(source)
        try:
            consumer = await jetstream.consumer_info(name, _CONSUMER)
            info = await jetstream.stream_info(name)
            floor = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
            first_young = await self._first_within_retention(jetstream, source, info.state.first_seq, floor + 1)
            keep_from = min(max(_first_within_limit(info), first_young), floor + 1)
            gone = keep_from - info.state.first_seq
            if gone <= 0:
                return 0
            await jetstream.purge_stream(name, seq=keep_from)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            self.forget(source)
            raise _unavailable(error) from error
        return gone

    async def _first_within_retention(self, jetstream: JetStreamContext, source: str, low: int, high: int) -> int:
        """The first sequence from `low` to `high` whose message is younger than the retention, or `high`."""
        retention = self._settings.stream_retention_seconds
        if low < high and await self._age(jetstream, source, low) <= retention:
            return low
        # Messages are in the order of their age.
        while low < high:
            middle = (low + high) // 2
            if await self._age(jetstream, source, middle) > retention:
                low = middle + 1
            else:
                high = middle
        return low


async def _grow(jetstream: JetStreamContext, info: StreamInfo, limit: int) -> None:
    try:
        await jetstream.update_stream(info.config.evolve(max_bytes=limit))
    except nats.js.errors.APIError as error:
        # The server may have no room for it yet; a smaller stream is as good a stream.
        _log.warning("stream cannot grow", stream=info.config.name, max_bytes=limit, error=error.description)
    else:
        _log.info("stream grew", stream=info.config.name, max_bytes=limit)


def _first_within_limit(info: StreamInfo) -> int:
    """The sequence from which messages may stay so that the stream is at 60 % of its limit, if it is above 70 %."""
    state, limit = info.state, info.config.max_bytes or 0
    if not state.messages or state.bytes <= _TRIM_ABOVE * limit:
        return state.first_seq
    excess = state.bytes - _TRIM_TO * limit
    return state.first_seq + int(excess / (state.bytes / state.messages)) + 1


def _unavailable(error: BaseException) -> StreamUnavailable:
    return StreamUnavailable(f"JetStream did not answer: {str(error) or type(error).__name__}")


class Puller:
    """Pulls messages of one consumer, bounded by count and bytes.

    nats-py's own `fetch` cannot bound bytes, and a count that bounds large messages starves on small ones.
    """

    def __init__(self, client: Client, stream: str, inbox: str, subscription: Subscription) -> None:
        self._client = client
        self._request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{_CONSUMER}"
        self._inbox = inbox
        self._subscription = subscription
        self._requests = 0

    @classmethod
    async def open(cls, client: Client, stream: str) -> Puller:
        inbox = client.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*", pending_bytes_limit=-1)
        return cls(client, stream, inbox, subscription)

    async def close(self) -> None:
        with contextlib.suppress(nats.errors.Error):
            await self._subscription.unsubscribe()

    async def fetch(self, max_messages: int, max_bytes: int, wait: float) -> list[Message]:
        """What is there now, within the bounds; where nothing is, waits up to `wait` seconds for the first message.

        Raises StreamUnavailable where the consumer or the server is away.
        """
        try:
            messages = await self._pull({"batch": max_messages, "max_bytes": max_bytes, "no_wait": True}, max_messages)
            if messages:
                return messages
            heartbeat = min(_HEARTBEAT_SECONDS, wait / 2)
            return await self._pull({"batch": 1, "expires": int(wait * 1e9), "idle_heartbeat": int(heartbeat * 1e9)}, 1)
        except (nats.errors.Error, OSError) as error:
            raise _unavailable(error) from error

    async def _pull(self, request: dict[str, object], count: int) -> list[Message]:
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        await self._client.publish(self._request_subject, json.dumps(request).encode(), reply)
        messages: list[Message] = []
        try:
            while len(messages) < count:
                msg = await self._next()
                if msg.reply:  # what the server says of a request has no reply subject
                    messages.append(Message(msg.data, msg.headers or {}, msg))
                elif msg.subject == reply and _is_end(msg.headers or {}, something_came=bool(messages)):
                    break
        except (asyncio.CancelledError, StreamUnavailable):
            await give_back(messages)
            raise
        return messages

    async def _next(self) -> Msg:
        """The next message or word of the server. Raises StreamUnavailable where none comes."""
        silent_since = time.monotonic()
        while True:
            try:
                return await self._subscription.next_msg(timeout=_HEARTBEAT_SECONDS)
            except TimeoutError:
                if not self._client.is_connected:
                    raise StreamUnavailable("NATS is not connected") from None
                if time.monotonic() - silent_since > _SILENCE_SECONDS:
                    raise StreamUnavailable("the consumer does not answer") from None


def _is_end(headers: Mapping[str, str], *, something_came: bool) -> bool:
    """Whether the server says that a request is done. Raises StreamUnavailable where it cannot be served."""
    status, text = headers.get("Status", ""), headers.get("Description", "")
    if status == "100":
        return False  # a heartbeat
    if status in ("404", "408") or something_came or "Exceeds MaxBytes" in text or "Batch Completed" in text:
        return True
    raise StreamUnavailable("there is no consumer" if status == "503" else f"the consumer is away: {status} {text}")


async def acknowledge(messages: Iterable[Message]) -> None:
    """Acknowledges messages whose events are stored. A lost acknowledgement only brings the message again."""
    with contextlib.suppress(nats.errors.Error, OSError):
        for message in messages:
            await message._msg.ack()


async def give_back(messages: Iterable[Message]) -> None:
    """Hands messages that were not stored to another collector at once."""
    with contextlib.suppress(nats.errors.Error, OSError):
        for message in messages:
            await message._msg.nak()


async def keep_alive(held: Set[Message]) -> None:
    """Tells the server again and again that the messages in `held` are being worked on, until cancelled."""
    while True:
        await asyncio.sleep(_ACK_WAIT_SECONDS / 4)
        with contextlib.suppress(nats.errors.Error, OSError):
            for message in tuple(held):
                await message._msg.in_progress()
