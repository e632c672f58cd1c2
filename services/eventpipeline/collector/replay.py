"""Storing again what the stream still has: the way back after the database was lost.

What is stored already is left alone, since an event is counted once; so a replay may overlap with anything, run beside
the collectors, and be repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from eventpipeline import envelope
from eventpipeline.collector.batches import BatchStore, Packed
from eventpipeline.stream import DEAD, Stream


@dataclass(frozen=True)
class Replayed:
    """What one stream gave. `new` is what was not stored before."""

    name: str
    messages: int = 0
    events: int = 0
    new: int = 0
    refused: int = 0

    def __add__(self, other: Replayed) -> Replayed:
        return Replayed(
            self.name,
            self.messages + other.messages,
            self.events + other.events,
            self.new + other.new,
            self.refused + other.refused,
        )


Show = Callable[[Replayed], None]


async def replay_events(
    stream: Stream, store: BatchStore, source: str, start: datetime | None, end: datetime, show: Show
) -> Replayed:
    """Stores the events of `source` that the stream took from `start` to before `end`. Tells `show` how far it is.

    Raises StreamUnavailable or, once `store` was told to give up, StoreUnavailable.
    """
    done = Replayed(source)
    async for messages in stream.retained(source, start, end):
        packed = [Packed(message.data, tuple(envelope.requests_of(message.headers))) for message in messages]
        stored = await store.store(packed)
        done += Replayed(source, len(messages), stored.events, stored.new, len(stored.letters))
        show(done)
    return done


async def replay_letters(
    stream: Stream, store: BatchStore, start: datetime | None, end: datetime, show: Show
) -> Replayed:
    """Lands the dead letters of that time, likewise."""
    done = Replayed("dead letters")
    async for messages in stream.retained(DEAD, start, end):
        landed = await store.land([message.data for message in messages])
        done += Replayed(done.name, len(messages), landed, landed)
        show(done)
    return done
