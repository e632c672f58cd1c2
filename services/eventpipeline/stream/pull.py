"""Pulling messages of a consumer, and saying what became of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from eventpipeline.stream.config import ACK_WAIT_SECONDS, CONSUMER
from eventpipeline.stream.errors import StreamUnavailable, unavailable

_HEARTBEAT_SECONDS = 1.0
_SILENCE_SECONDS = 4.0
"""A consumer that says nothing for so long, not even that it has nothing, is away."""
_PAUSE_SECONDS = 0.2
"""What has come is taken where nothing follows for so long: nats-server (2.15) does not say that a request is done when
its messages are exactly as many bytes as were asked for. Was it only slow, the rest comes with the next request."""


@dataclass(frozen=True, slots=True, eq=False)
class Message:
    """One message of a stream, to be acknowledged once what it carries is stored."""

    data: bytes
    headers: dict[str, str]
    _msg: Msg

    @property
    def stored_at(self) -> datetime:
        """When the server stored it."""
        return self._msg.metadata.timestamp

    @property
    def sequence(self) -> int:
        """Its place in the stream."""
        return int(self._msg.metadata.sequence.stream)


class Puller:
    """Pulls messages of one consumer, bounded by count and bytes.

    nats-py's own `fetch` cannot bound bytes, and a count that bounds large messages starves on small ones.
    """

    def __init__(self, client: Client, stream: str, consumer: str, inbox: str, subscription: Subscription) -> None:
        self._client = client
        self._request_subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._inbox = inbox
        self._subscription = subscription
        self._requests = 0

    @classmethod
    async def open(cls, client: Client, stream: str, consumer: str = CONSUMER) -> Puller:
        inbox = client.new_inbox()
        subscription = await client.subscribe(f"{inbox}.*", pending_bytes_limit=-1)
        return cls(client, stream, consumer, inbox, subscription)

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
            raise unavailable(error) from error

    async def _pull(self, request: dict[str, object], count: int) -> list[Message]:
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        await self._client.publish(self._request_subject, json.dumps(request).encode(), reply)
        messages: list[Message] = []
        try:
            while len(messages) < count:
                msg = await self._next_soon() if messages else await self._next()
                if not msg:
                    break
                if msg.reply:  # what the server says of a request has no reply subject
                    messages.append(Message(msg.data, msg.headers or {}, msg))
                elif msg.subject == reply and _is_end(msg.headers or {}, something_came=bool(messages)):
                    break
        except (asyncio.CancelledError, StreamUnavailable):
            await give_back(messages)
            raise
        return messages

    async def _next_soon(self) -> Msg | None:
        """The next message or word of the server; None where it pauses."""
        try:
            return await self._subscription.next_msg(timeout=_PAUSE_SECONDS)
        except TimeoutError:
            return None

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
        await asyncio.sleep(ACK_WAIT_SECONDS / 4)
        with contextlib.suppress(nats.errors.Error, OSError):
            for message in tuple(held):
                await message._msg.in_progress()
