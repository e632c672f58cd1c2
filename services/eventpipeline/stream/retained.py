"""Reading again what a stream still has, whether it was stored or not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator
from datetime import datetime

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from eventpipeline.stream.errors import unavailable
from eventpipeline.stream.pull import Message, Puller

_MESSAGES, _BYTES = 100, 4 * 2**20
"""Of one fetch."""
_WAIT_SECONDS = 1.0
"""Where nothing comes for so long there is nothing more."""
_FORGOTTEN_SECONDS = 60.0
"""After so long without a fetch the server forgets the consumer by itself."""


async def retained(
    client: Client, jetstream: JetStreamContext, stream: str, start: datetime | None, end: datetime
) -> AsyncGenerator[list[Message]]:
    """The messages that `stream` has and that it stored from `start` to before `end`, oldest first, a few at a time.

    Raises StreamUnavailable, also where there is no such stream.
    """
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_TIME if start else DeliverPolicy.ALL,
        opt_start_time=start.isoformat() if start else None,  # type: ignore[arg-type]
        ack_policy=AckPolicy.NONE,
        mem_storage=True,
        inactive_threshold=_FORGOTTEN_SECONDS,
    )
    try:
        consumer = await jetstream.add_consumer(stream, config)
        puller = await Puller.open(client, stream, consumer.name)
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise unavailable(error) from error
    try:
        while messages := await puller.fetch(_MESSAGES, _BYTES, _WAIT_SECONDS):
            if wanted := [message for message in messages if message.stored_at < end]:
                yield wanted
            if len(wanted) < len(messages):
                return
    finally:
        await puller.close()
        with contextlib.suppress(nats.errors.Error, TimeoutError, OSError):
            await jetstream.delete_consumer(stream, consumer.name)
