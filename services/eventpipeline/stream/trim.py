"""Which stored messages may go: the server deletes none by itself, so that it never deletes one that is not stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from nats.js import JetStreamContext
from nats.js.api import StreamInfo

from eventpipeline.stream.config import CONSUMER, can_be_changed, consumer_differences

_TRIM_ABOVE, _TRIM_TO = 0.70, 0.60


async def stored_before(jetstream: JetStreamContext, name: str) -> int:
    """The sequence below which every message is stored; 0 where that is not known.

    A consumer that somebody changed may count messages as acknowledged that no collector ever had.
    """
    consumer = await jetstream.consumer_info(name, CONSUMER)
    if not can_be_changed(consumer_differences(consumer.config)):
        return 0
    return (consumer.ack_floor.stream_seq if consumer.ack_floor else 0) + 1


async def trim_to_limit(jetstream: JetStreamContext, info: StreamInfo, limit: int, stored: int) -> int:
    """Deletes messages below the sequence `stored` so that the stream has room under `limit`; returns how many."""
    return await purge_below(jetstream, info, min(first_within_limit(info, limit), stored))


async def purge_below(jetstream: JetStreamContext, info: StreamInfo, sequence: int) -> int:
    """Deletes the messages below `sequence`; returns how many."""
    gone = sequence - info.state.first_seq
    if gone <= 0:
        return 0
    await jetstream.purge_stream(str(info.config.name), seq=sequence)
    return gone


def first_within_limit(info: StreamInfo, limit: int) -> int:
    """The sequence from which messages may stay so that the stream is at 60 % of `limit`, if it is above 70 %."""
    state = info.state
    if limit <= 0 or not state.messages or state.bytes <= _TRIM_ABOVE * limit:
        return state.first_seq
    excess = state.bytes - _TRIM_TO * limit
    return state.first_seq + int(excess / (state.bytes / state.messages)) + 1


async def first_younger(age: Callable[[int], Awaitable[float]], seconds: float, low: int, high: int) -> int:
    """The first sequence from `low` to `high` whose message, by `age`, is younger than `seconds`; or `high`."""
    if low < high and await age(low) <= seconds:
        return low
    # Messages are in the order of their age.
    while low < high:
        middle = (low + high) // 2
        if await age(middle) > seconds:
            low = middle + 1
        else:
            high = middle
    return low
