"""The steps of forgetting persons, in an order in which nothing is lost and nothing comes back, wherever it ends.

First the streams, then the tables: a collector could otherwise store an event again that it had in hand. Each step
finds what is still to be done by looking, so what was interrupted is finished by doing all of it again.

In a stream a message is replaced by one without the persons, at the end of it: the same events at the same places, of
which theirs have only their identity, kind and money. So the events of others stay, an event that was not stored yet
is counted all the same, and a replay finds nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

from eventpipeline.persons import Persons, Rewritten, Trace
from eventpipeline.store import erasures
from eventpipeline.store.erasures import Connection
from eventpipeline.stream import ACK_WAIT_SECONDS, DEAD, Message, Progress, Stream

_END_OF_TIME = datetime.max.replace(tzinfo=UTC)
_LOOK_SECONDS = 0.2

Show = Callable[[str], None]


@dataclass
class Forgotten:
    """What was found of the persons, and, but for a dry run, is gone."""

    erasure: int | None = None
    """The number of the record; None of a dry run."""
    events: int = 0
    """In the store: they have only their identity, kind and money left."""
    messages: int = 0
    """In the streams: each was replaced by one without the persons."""
    stream_events: int = 0
    """In those messages; most are in the store too."""
    dead_letters: int = 0
    """In the store."""
    stream_dead_letters: int = 0
    mentions: set[str] = field(default_factory=set)
    """Dead letters, by their ids, that hold an id of the persons somewhere else, and are left."""


@dataclass(frozen=True)
class Options:
    dry_run: bool = False
    """Only counts."""
    with_mentions: bool = False
    """Takes dead letters that only mention the persons, too."""
    wait_seconds: float = 30.0
    """How long collectors get to store what came before; what they did not store by then is forgotten in the stream."""
    requested_by: str | None = None
    reference: str | None = None


@dataclass(frozen=True)
class Forgetting:
    """Forgets persons of one source. `show` is told what is being done, in a few words."""

    persons: Persons
    options: Options
    stream: Stream
    connection: Connection
    show: Show

    async def run(self) -> Forgotten:
        """Forgets them all; may be run again at any time. Raises StreamUnavailable, StreamFull or StoreUnavailable."""
        done = Forgotten()
        name, users = self.persons.source.name, len(self.persons.ids)
        if not self.options.dry_run:
            done.erasure = await erasures.begin(
                self.connection, name, users, self.options.requested_by, self.options.reference
            )
        await self._stream(done, name)
        await self._stream(done, DEAD)
        await self._events(done)
        await self._letters(done)
        if done.erasure is not None:
            await erasures.finish(self.connection, done.erasure)
        return done

    # --- streams -----------------------------------------------------------------------------------------------------

    async def _stream(self, done: Forgotten, name: str) -> None:
        before = await self._caught_up(name)
        if before is None:
            return
        replaced: list[int] = []
        async with contextlib.aclosing(self.stream.retained(name, None, _END_OF_TIME)) as pages:
            async for messages in pages:
                self.show(f"stream {name}: message {messages[-1].sequence:,} of {before.last:,}")
                for message in messages:
                    if await self._message(done, name, message):
                        replaced.append(message.sequence)
                if messages[-1].sequence >= before.last:
                    break
        after = await self.stream.progress(name)
        if not self.options.dry_run and after and any(before.stored < one <= after.delivered for one in replaced):
            # A collector had it in hand: it stores it within this time, or the server has taken it from it.
            self.show(f"stream {name}: waiting for a collector")
            await asyncio.sleep(ACK_WAIT_SECONDS)

    async def _message(self, done: Forgotten, name: str, message: Message) -> bool:
        """Replaces a message where it has something of the persons; says whether it had."""
        rewritten = self._rewritten(done, name, message)
        if rewritten is None:
            return False
        if done.erasure is not None:
            await self.stream.replace(name, message, rewritten.data)
            await erasures.note(self.connection, done.erasure, messages=1)
        done.messages += 1
        return True

    def _rewritten(self, done: Forgotten, name: str, message: Message) -> Rewritten | None:
        if name != DEAD:
            rewritten = self.persons.events_rewritten(message.data)
            done.stream_events += rewritten.removed if rewritten else 0
            return rewritten
        rewritten, mentions = self.persons.letters_rewritten(message.data, mentions=self.options.with_mentions)
        done.stream_dead_letters += rewritten.removed if rewritten else 0
        done.mentions.update(mentions)
        return rewritten

    async def _caught_up(self, name: str) -> Progress | None:
        """How far the collectors are, once they stored all that there is now, or after the time that they get.

        None where there is no stream.
        """
        first = now = await self.stream.progress(name)
        deadline = time.monotonic() + self.options.wait_seconds
        while not self.options.dry_run and first and now and now.stored < first.last and time.monotonic() < deadline:
            self.show(f"stream {name}: waiting until what came before is stored")
            await asyncio.sleep(_LOOK_SECONDS)
            now = await self.stream.progress(name)
        return now

    # --- tables ------------------------------------------------------------------------------------------------------

    async def _events(self, done: Forgotten) -> None:
        seen: set[str] = set()
        while new := [name for name in await erasures.event_partitions(self.connection) if name not in seen]:
            for number, partition in enumerate(new, 1):
                self.show(f"events: partition {number:,} of {len(new):,}")
                if done.erasure is None:
                    done.events += await erasures.count_events(self.connection, self.persons, partition)
                else:
                    done.events += await erasures.empty_events(self.connection, self.persons, partition, done.erasure)
            seen.update(new)

    async def _letters(self, done: Forgotten) -> None:
        looked_at = 0
        async for page in erasures.letters(self.connection, self.persons):
            looked_at += len(page)
            self.show(f"dead letters: {looked_at:,} looked at")
            theirs = []
            for letter in page:
                trace = self.persons.trace(letter)
                if trace is Trace.USER or (trace is Trace.MENTION and self.options.with_mentions):
                    theirs.append(letter.id)
                elif trace is Trace.MENTION:
                    done.mentions.add(letter.id)
            if done.erasure is None:
                done.dead_letters += len(theirs)
            elif theirs:
                done.dead_letters += await erasures.drop_letters(self.connection, theirs, done.erasure)
