"""The byte limits of streams on a real nats-server: they follow the plan, and never at the cost of an event."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy, StreamConfig

from collecting import eventually, streaming
from eventpipeline.local import nats as local_nats
from eventpipeline.local.program import Program
from eventpipeline.plan import stream_limits
from eventpipeline.stream import DEAD, Stream, StreamFull, StreamUnavailable, acknowledge
from servers import free_port, nats_server, running_program

MIB = 2**20
STORAGE = 64 * MIB


@contextlib.asynccontextmanager
async def jetstream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


async def put(stream: Stream, count: int, *, size: int = 100_000, source: str = "facebook") -> None:
    for _ in range(count):
        await stream.publish(source, b"." * size, {}, 5.0)


async def fill(stream: Stream, source: str = "facebook") -> int:
    count = 0
    with contextlib.suppress(StreamFull):
        while True:
            await put(stream, 1, source=source)
            count += 1
    return count


async def store(stream: Stream, source: str = "facebook", most: int = 10**9) -> int:
    """Acknowledges up to `most` messages, and waits until the server knows."""
    before = (await stream.lag(source)).pending_messages
    puller, count = await stream.puller(source), 0
    while count < most and (messages := await puller.fetch(min(100, most - count), 8 * MIB, 0.2)):
        await acknowledge(messages)
        count += len(messages)
    await puller.close()

    async def is_known() -> bool:
        # A consumer may count what was put just before a moment later: there were at least those that came.
        return (await stream.lag(source)).pending_messages == max(before, count) - count

    await eventually(is_known, "the acknowledgements")
    return count


async def limit(stream: Stream, source: str = "facebook") -> int:
    return (await stream.lag(source)).max_bytes


async def again(stream: Stream, source: str = "facebook") -> None:
    stream.forget(source)
    await stream.ensure(source)


async def test_a_source_is_added_to_a_full_pipeline_and_removed_again(tmp_path: Path) -> None:
    limits = stream_limits(STORAGE)
    settings = {"stream_bytes": limits.stream_bytes, "dead_bytes": limits.dead_bytes}
    with nats_server(tmp_path, max_file_bytes=int(0.8 * STORAGE)) as url:
        async with streaming(url, "", **settings) as stream:
            await stream.ensure(DEAD)
            full = await fill(stream)
            assert (await stream.lag("facebook")).bytes > 0.98 * limits.stream_bytes
            assert await fill(stream, DEAD) > 10

            added = await stream.ensure("tiktok")
            assert [change.what for change in added.changes] == [
                "stream EVENTS_tiktok", "consumer collector of stream EVENTS_tiktok",
            ]  # fmt: skip
            assert await limit(stream, "tiktok") == await limit(stream) == limits.stream_bytes
            assert await fill(stream, "tiktok") == full
            assert (await stream.lag("facebook")).pending_messages == full

            assert await stream.sources() == {"facebook": full, "tiktok": full}
            assert not await stream.drop("tiktok"), "nothing of it is stored"
            assert await store(stream, "tiktok") == full
            assert await stream.drop("tiktok")
            assert await stream.sources() == {"facebook": full}
            assert not await stream.drop("tiktok"), "it is gone already"
            assert await store(stream) == full


async def test_a_stream_that_is_too_large_makes_room_as_it_drains(tmp_path: Path) -> None:
    """As where a volume, or what a laptop can give, is smaller than it was."""
    with nats_server(tmp_path, max_file_bytes=20 * MIB) as url:
        async with streaming(url, "", stream_bytes=18 * MIB) as before:
            sent = await fill(before)
        async with streaming(url, "", stream_bytes=8 * MIB) as stream:
            ensured = await stream.ensure("facebook")
            assert not ensured.fits
            assert await limit(stream) == 18 * MIB, "it is full of what is not stored"
            # The other one is served all the same, with what is left.
            assert not (await stream.ensure("tiktok")).fits
            assert 1 * MIB <= await limit(stream, "tiktok") <= 2 * MIB
            await put(stream, 5, source="tiktok")

            stored = await store(stream, most=sent // 2)
            await stream.trim("facebook")
            lag = await stream.lag("facebook")
            assert lag.pending_messages == sent - stored
            assert lag.bytes <= 0.9 * lag.max_bytes + 1, "a tenth of it stays free"
            assert 8 * MIB < lag.max_bytes < 12 * MIB
            await put(stream, 5)

            await store(stream)
            await stream.trim("facebook")
            await stream.trim("tiktok")
            assert await limit(stream) == await limit(stream, "tiktok") == 8 * MIB
            assert (await stream.lag("tiktok")).pending_messages == 5


async def test_a_server_that_is_given_less_keeps_its_streams_and_they_shrink(tmp_path: Path) -> None:
    """As on a laptop whose disk is fuller than it was, or with an edited file."""

    def server(storage: int) -> Program:
        return local_nats.server(
            tmp_path / "nats", port=port, monitor_port=free_port(), max_file_bytes=storage, log=tmp_path / "log"
        )

    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    with running_program(server(20 * MIB)):
        async with streaming(url, "", stream_bytes=9 * MIB) as before:
            await put(before, 30)
            await put(before, 30, source="tiktok")
    with running_program(server(10 * MIB)):
        async with streaming(url, "", stream_bytes=4 * MIB) as stream:
            for source in ("facebook", "tiktok"):
                await stream.ensure(source)
                assert await limit(stream, source) == 4 * MIB
                assert (await stream.lag(source)).pending_messages == 30


async def test_what_is_stored_makes_room_before_what_is_not(shared_nats: str, stream_prefix: str) -> None:
    async with streaming(shared_nats, stream_prefix, stream_bytes=8 * MIB) as before:
        await put(before, 60)
        await store(before, most=50)
    async with streaming(shared_nats, stream_prefix, stream_bytes=2 * MIB) as stream:
        assert (await stream.ensure("facebook")).fits
        lag = await stream.lag("facebook")
        assert (lag.max_bytes, lag.pending_messages) == (2 * MIB, 10)
        assert lag.bytes < 2 * MIB


async def test_services_of_two_plans_at_once_lose_nothing_and_refuse_nothing(tmp_path: Path) -> None:
    """As when the volume has grown: old and new replicas ensure the same streams with different limits, for a while."""
    with nats_server(tmp_path, max_file_bytes=40 * MIB) as url:
        async with streaming(url, "", stream_bytes=8 * MIB) as old, streaming(url, "", stream_bytes=18 * MIB) as new:
            done = asyncio.Event()

            async def restarting(stream: Stream, sources: tuple[str, ...]) -> None:
                while not done.is_set():
                    for source in sources:
                        await again(stream, source)

            async def sending(stream: Stream, source: str) -> int:
                await put(stream, 30, source=source)
                return 30

            restarts = [
                asyncio.create_task(restarting(old, ("facebook", "tiktok"))),
                asyncio.create_task(restarting(new, ("facebook", "tiktok"))),
                asyncio.create_task(restarting(new, ("tiktok", "facebook"))),
            ]
            sent = await asyncio.gather(sending(old, "facebook"), sending(new, "facebook"), sending(new, "tiktok"))
            done.set()
            await asyncio.gather(*restarts)
            for source in ("facebook", "tiktok"):
                await again(new, source)
            assert await new.sources() == {"facebook": sent[0] + sent[1], "tiktok": sent[2]}
            assert await limit(new) == await limit(new, "tiktok") == 18 * MIB


async def test_a_stream_that_cannot_grow_takes_events_all_the_same(tmp_path: Path) -> None:
    with nats_server(tmp_path, max_file_bytes=4 * MIB) as url:
        async with streaming(url, "", stream_bytes=2 * MIB) as stream:
            await put(stream, 1)
        async with streaming(url, "", stream_bytes=100 * MIB) as stream:
            await put(stream, 1)
            assert (await stream.lag("facebook")).pending_messages == 2


async def test_a_stream_that_cannot_be_made_is_shown_in_readiness(tmp_path: Path) -> None:
    with nats_server(tmp_path, max_file_bytes=MIB // 2) as url:
        async with streaming(url, "", stream_bytes=100 * MIB) as stream:
            assert await stream.check() is None
            with pytest.raises(StreamUnavailable):
                await stream.ensure("facebook")
            assert "the stream of facebook cannot be made" in (await stream.check() or "")


@pytest.mark.parametrize("given", [-1, 8 * MIB])
async def test_on_a_server_of_others_a_larger_stream_stays_as_it_is(
    shared_nats: str, stream_prefix: str, given: int
) -> None:
    name = f"{stream_prefix}EVENTS_facebook"
    async with jetstream(shared_nats) as context:
        await context.add_stream(
            StreamConfig(
                name=name, subjects=[f"{stream_prefix}events.facebook"], max_bytes=given, discard=DiscardPolicy.NEW
            )
        )
        async with streaming(shared_nats, stream_prefix, stream_bytes=MIB, stream_larger=True) as stream:
            assert (await stream.ensure("facebook")).fits
            assert (await context.stream_info(name)).config.max_bytes == given
            await put(stream, 20)
            await store(stream)
            assert await stream.trim("facebook") > 0 or given > 0
        async with streaming(shared_nats, stream_prefix, stream_bytes=MIB) as ours:
            await ours.ensure("facebook")
            assert (await context.stream_info(name)).config.max_bytes == MIB
