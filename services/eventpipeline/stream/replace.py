"""Taking single messages out of a stream: what a person's erasure needs."""

from __future__ import annotations

from dataclasses import dataclass

import nats.js.errors
from nats.js import JetStreamContext

from eventpipeline.stream.config import CONSUMER


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a stream and its collectors are, by the places of messages in the stream."""

    last: int
    """The newest message that the stream took."""
    delivered: int
    """The newest message that a collector was given; nobody has a later one in hand."""
    stored: int
    """The message up to which all are stored."""


async def progress(jetstream: JetStreamContext, name: str) -> Progress | None:
    """How far they are; None where there is no such stream. Raises what the client raises."""
    try:
        stream = await jetstream.stream_info(name)
    except nats.js.errors.NotFoundError:
        return None
    last = stream.state.last_seq
    try:
        consumer = await jetstream.consumer_info(name, CONSUMER)
    except nats.js.errors.NotFoundError:
        return Progress(last, delivered=0, stored=0)
    delivered = consumer.delivered.stream_seq if consumer.delivered else 0
    stored = consumer.ack_floor.stream_seq if consumer.ack_floor else 0
    # The floor stands still at a gap; with nothing on its way and nothing to come, all is stored.
    is_idle = not consumer.num_pending and not consumer.num_ack_pending
    return Progress(last, delivered, stored=last if is_idle else stored)


async def erase(jetstream: JetStreamContext, name: str, sequence: int) -> None:
    """Deletes a message and writes over its bytes on disk. One that is gone already is no error."""
    try:
        await jetstream.delete_msg(name, sequence)
    except nats.js.errors.APIError:
        if await _is_there(jetstream, name, sequence):
            raise


async def _is_there(jetstream: JetStreamContext, name: str, sequence: int) -> bool:
    try:
        await jetstream.get_msg(name, seq=sequence)
    except nats.js.errors.NotFoundError:
        return False
    return True
