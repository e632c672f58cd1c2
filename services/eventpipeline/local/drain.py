"""Sources that are no longer in the file, but of which events wait in the stream: stored first, then forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Container

from eventpipeline.local.supervisor import Event, OnEvent
from eventpipeline.sources import BUILT_IN
from eventpipeline.stream import Stream, StreamUnavailable

_LOOK_SECONDS = 1.0
Collect = Callable[[str], Awaitable[None]]
"""Starts, or stops, the collector of a source."""


async def drain(stream: Stream, kept: Container[str], start: Collect, stop: Collect, on_event: OnEvent) -> None:
    """Runs a collector for each source beside `kept` that has something pending; drops its stream when nothing is.

    Of a source whose declaration is gone with it nothing can be stored: that is said. Returns when nothing more can be
    done; goes on through outages. What it does it tells `on_event`.
    """
    told: set[str] = set()
    await stream.connected()
    while True:
        try:
            removed = {name: count for name, count in (await stream.sources()).items() if name not in kept}
            for name, pending in removed.items():
                if pending and name not in told:
                    told.add(name)
                    await _begin(name, pending, start, on_event)
                if not pending:
                    if name in told and name in BUILT_IN:
                        await stop(name)  # or it would make the stream again
                    told.discard(name)
                    if await stream.drop(name):
                        on_event(_note(name, "is no longer in the file, and everything of it is stored"))
        except StreamUnavailable:
            pass
        else:
            if all(pending and name not in BUILT_IN for name, pending in removed.items()):
                return
        await asyncio.sleep(_LOOK_SECONDS)


async def _begin(name: str, pending: int, start: Collect, on_event: OnEvent) -> None:
    if name in BUILT_IN:
        on_event(_note(name, "is no longer in the file; what was accepted of it is stored first"))
        await start(name)
    else:
        left = f"{_messages(pending)} of it cannot be stored"
        on_event(_note(name, f"and its declaration are no longer in the file, so {left}; put it back"))


async def say_what_is_left(stream: Stream, kept: Container[str], on_event: OnEvent) -> None:
    """The same on a NATS of others, where nothing is dropped and no collector is started: says what is pending."""
    await stream.connected()
    try:
        removed = {name: count for name, count in (await stream.sources()).items() if name in BUILT_IN}
    except StreamUnavailable:
        return
    for name, pending in removed.items():
        if pending and name not in kept:
            text = (
                f"is not in the file, and {_messages(pending)} of it in the stream are not stored; add it to store them"
            )
            on_event(_note(name, text))


def _messages(pending: int) -> str:
    return "1 message" if pending == 1 else f"{pending} messages"


def _note(source: str, text: str) -> Event:
    return Event("note", source, detail=text)
