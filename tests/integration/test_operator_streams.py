"""How the operator looks at the streams of a pipeline, on a real nats-server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import nats
from nats.js import JetStreamContext
from nats.js.api import DiscardPolicy

from collecting import eventually, streaming
from eventpipeline.settings import StreamSettings
from eventpipeline.stream import acknowledge
from eventpipeline_operator.streams import Streams, StreamsSeen

MIB = 2**20
SOURCES = ("facebook", "tiktok")


@contextlib.asynccontextmanager
async def looking(nats_url: str, prefix: str) -> AsyncIterator[tuple[Streams, JetStreamContext, StreamSettings]]:
    """The operator's connections, an administrator's, and the settings of one pipeline."""
    client, streams = await nats.connect(nats_url), Streams()
    try:
        settings = StreamSettings(nats_url=nats_url, stream_prefix=prefix, stream_bytes=8 * MIB, dead_bytes=MIB)
        yield streams, client.jetstream(), settings
    finally:
        await streams.close_all()
        await client.close()


def quiet(seen: StreamsSeen) -> bool:
    return not (seen.fault or seen.changed or seen.put_back or seen.wrong)


async def test_what_the_plan_makes_and_changes_is_no_drift(shared_nats: str, stream_prefix: str) -> None:
    async with looking(shared_nats, stream_prefix) as (streams, _, settings):
        first = await streams.look("u1", settings, SOURCES)
        assert len(first.changed) == 6, "two streams, the dead letters, and a consumer each"
        assert not first.put_back
        assert first.pending == {"facebook": 0, "tiktok": 0, "DEAD": 0}
        assert quiet(await streams.look("u1", settings, SOURCES))

        grown = await streams.look("u1", settings.model_copy(update={"stream_bytes": 16 * MIB}), SOURCES)
        assert len(grown.changed) == 2
        assert all("max_bytes: 16777216, was 8388608" in text for text in grown.changed)
        assert not grown.put_back


async def test_what_somebody_changed_is_put_back_and_said(shared_nats: str, stream_prefix: str) -> None:
    async with looking(shared_nats, stream_prefix) as (streams, jetstream, settings):
        await streams.look("u1", settings, SOURCES)
        name = f"{stream_prefix}EVENTS_facebook"
        right = (await jetstream.stream_info(name)).config
        await jetstream.update_stream(right.evolve(max_bytes=4 * MIB, discard=DiscardPolicy.OLD))

        seen = await streams.look("u1", settings, SOURCES)

        assert not seen.changed
        assert len(seen.put_back) == 2
        assert all(name in text and "somebody had changed" in text for text in seen.put_back)
        assert (await jetstream.stream_info(name)).config == right
        assert quiet(await streams.look("u1", settings, SOURCES))


async def test_what_somebody_deleted_is_said_whoever_made_it_again(shared_nats: str, stream_prefix: str) -> None:
    async with (
        looking(shared_nats, stream_prefix) as (streams, jetstream, settings),
        streaming(shared_nats, stream_prefix, stream_bytes=8 * MIB, dead_bytes=MIB) as service,
    ):
        await streams.look("u1", settings, SOURCES)
        await jetstream.delete_stream(f"{stream_prefix}EVENTS_facebook")
        await jetstream.delete_consumer(f"{stream_prefix}EVENTS_tiktok", "collector")
        await service.ensure("tiktok")

        seen = await streams.look("u1", settings, SOURCES)

        assert len(seen.put_back) == 3, "a stream with its consumer, and a consumer"
        assert any("EVENTS_facebook" in text and "are lost" in text for text in seen.put_back)
        assert any("EVENTS_tiktok" in text and "are lost" not in text for text in seen.put_back)
        assert quiet(await streams.look("u1", settings, SOURCES))


async def test_a_stream_that_was_not_asked_for_is_found_and_dropped_once_it_is_stored(
    shared_nats: str, stream_prefix: str
) -> None:
    async with (
        looking(shared_nats, stream_prefix) as (streams, _, settings),
        streaming(shared_nats, stream_prefix, stream_bytes=8 * MIB, dead_bytes=MIB) as service,
    ):
        assert not await streams.drop("u1", "tiktok"), "nothing is known of it yet"
        await streams.look("u1", settings, SOURCES)
        await service.publish("tiktok", b"[]", {}, 5.0)

        assert (await streams.look("u1", settings, ("facebook",))).removed == {"tiktok": 1}
        assert not await streams.drop("u1", "tiktok")

        puller = await service.puller("tiktok")
        await acknowledge(await puller.fetch(1, MIB, 1.0))

        async def is_stored() -> bool:
            return (await streams.look("u1", settings, ("facebook",))).removed == {"tiktok": 0}

        await eventually(is_stored, "the acknowledgement")
        assert await streams.drop("u1", "tiktok")
        assert (await streams.look("u1", settings, ("facebook",))).removed == {}

        back = await streams.look("u1", settings, SOURCES)
        assert not back.put_back, "nobody but the operator has deleted it"
        assert len(back.changed) == 2
