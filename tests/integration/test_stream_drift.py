"""What somebody deletes or changes of streams and consumers on a real nats-server is put back, and said."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import nats
import pytest
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, DiscardPolicy, RetentionPolicy, StorageType

from collecting import collecting, eventually, packed, publish, streaming
from eventpipeline.stream import DEAD, Ensured, Stream, acknowledge
from eventpipeline.stream.config import consumer_config, stream_config
from stored import assert_holds, facebook, parsed, scalar

MIB = 2**20
LIMIT = 8 * MIB


@contextlib.asynccontextmanager
async def opened(nats_url: str, prefix: str) -> AsyncIterator[tuple[Stream, JetStreamContext, str]]:
    """A stream that is as it has to be, and what an administrator has beside it."""
    client = await nats.connect(nats_url)
    try:
        async with streaming(nats_url, prefix, stream_bytes=LIMIT) as stream:
            await stream.ensure("facebook")
            yield stream, client.jetstream(), f"{prefix}EVENTS_facebook"
    finally:
        await client.close()


async def again(stream: Stream) -> Ensured:
    stream.forget("facebook")
    return await stream.ensure("facebook")


async def test_what_is_as_it_has_to_be_is_left_alone(shared_nats: str, stream_prefix: str) -> None:
    async with opened(shared_nats, stream_prefix) as (stream, _, name):
        first = await again(stream)
        second = await again(stream)
        assert first.changes == second.changes == first.faults == ()
        assert set(first.made_at) == {f"stream {name}", f"consumer collector of stream {name}"}
        assert first.made_at == second.made_at
        assert await stream.ensure("facebook") == Ensured(), "it is not even looked at before it is forgotten"
        stream.forget(DEAD)
        assert len((await stream.ensure(DEAD)).changes) == 2
        stream.forget(DEAD)
        assert (await stream.ensure(DEAD)).changes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"max_bytes": 4 * MIB},
        {"max_bytes": 16 * MIB},
        {"max_bytes": -1},
        {"discard": DiscardPolicy.OLD},
        {"max_age": 3600},
        {"max_msgs": 10},
        {"max_msgs_per_subject": 10},
        {"max_msg_size": 100},
        {"no_ack": True},
        {"allow_direct": False},
        {"subjects": ["{prefix}elsewhere"]},
        {"retention": RetentionPolicy.INTEREST},
    ],
    ids=str,
)
async def test_a_changed_stream_is_put_back(shared_nats: str, stream_prefix: str, change: dict[str, Any]) -> None:
    if "subjects" in change:
        change = {"subjects": [f"{stream_prefix}elsewhere"]}
    (field,) = change
    async with opened(shared_nats, stream_prefix) as (stream, jetstream, name):
        await publish(stream, [facebook(1)])
        right = (await jetstream.stream_info(name)).config
        await jetstream.update_stream(right.evolve(**change, description="mine"))

        ensured = await again(stream)

        (said,) = ensured.changes
        assert said.what == f"stream {name}"
        assert not said.made
        (text,) = said.fields
        assert text.startswith(f"{field}: ")
        assert ensured.faults == ()
        after = await jetstream.stream_info(name)
        assert after.config.evolve(description=None) == right
        assert after.config.description == "mine", "what is others' to choose stays"
        assert after.state.messages == 1
        assert (await again(stream)).changes == ()


@pytest.mark.parametrize("change", [{"ack_wait": 30}, {"max_ack_pending": 5}, {"inactive_threshold": 3600}], ids=str)
async def test_a_changed_consumer_is_put_back_in_place(
    shared_nats: str, stream_prefix: str, change: dict[str, Any]
) -> None:
    async with opened(shared_nats, stream_prefix) as (stream, jetstream, name):
        before = await jetstream.consumer_info(name, "collector")
        await jetstream.add_consumer(name, consumer_config().evolve(**change))

        (said,) = (await again(stream)).changes

        assert said.what == f"consumer collector of stream {name}"
        assert said.fields[0].startswith(f"{next(iter(change))}: ")
        after = await jetstream.consumer_info(name, "collector")
        assert after.config == before.config
        assert after.created == before.created
        assert (await again(stream)).changes == ()


@pytest.mark.parametrize(
    "change",
    [
        {"ack_policy": AckPolicy.NONE},
        {"ack_policy": AckPolicy.ALL},
        {"deliver_policy": DeliverPolicy.NEW},
        {"max_deliver": 1},
        {"filter_subject": "{prefix}events.none"},
        {"headers_only": True},
        {"mem_storage": True},
    ],
    ids=str,
)
async def test_a_consumer_that_passed_over_messages_is_made_anew_and_none_is_lost(
    shared_nats: str, stream_prefix: str, database: str, change: dict[str, Any]
) -> None:
    """Somebody made another consumer of that name; messages came, and some were passed over or not given back."""
    if "filter_subject" in change:
        change = {"filter_subject": f"{stream_prefix}events.none"}
    events = [facebook(number) for number in range(6)]
    async with opened(shared_nats, stream_prefix) as (stream, jetstream, name):
        await publish(stream, events[:2])
        puller = await stream.puller("facebook")
        await acknowledge(await puller.fetch(1, MIB, 1.0))  # of which nothing was stored: the worst that can be
        await jetstream.delete_consumer(name, "collector")
        await publish(stream, events[2:4])

        async def is_made() -> bool:
            with contextlib.suppress(
                nats.js.errors.ServerError
            ):  # while the server removes the files of the former one
                await jetstream.add_consumer(name, ConsumerConfig(durable_name="collector").evolve(**change))
                return True
            return False

        await eventually(is_made, "another consumer")
        await publish(stream, events[4:])
        subscription = await jetstream.pull_subscribe_bind("collector", name)
        with contextlib.suppress(TimeoutError, nats.js.errors.APIError):
            await subscription.fetch(2, timeout=0.3)
        assert await stream.trim("facebook") == 0, "what such a consumer says is stored is not believed"

        (said,) = (await again(stream)).changes

        assert said.what == f"consumer collector of stream {name}"
        assert (await again(stream)).changes == ()
        async with collecting(shared_nats, database, stream_prefix, stream_bytes=LIMIT):
            await eventually(lambda: scalar(database, "SELECT count(*) FROM events") == 6, "every event")
    assert_holds(database, parsed(packed(events)))


async def test_a_collector_puts_its_consumer_back_by_itself(
    shared_nats: str, stream_prefix: str, database: str
) -> None:
    """As where no operator looks."""
    async with (
        opened(shared_nats, stream_prefix) as (_, jetstream, name),
        collecting(shared_nats, database, stream_prefix, stream_bytes=LIMIT),
    ):
        await jetstream.add_consumer(name, consumer_config().evolve(filter_subject=f"{stream_prefix}events.none"))

        async def is_right() -> bool:
            with contextlib.suppress(nats.js.errors.NotFoundError):
                return (await jetstream.consumer_info(name, "collector")).config.filter_subject is None
            return False

        await eventually(is_right, "the consumer as it has to be")
        async with streaming(shared_nats, stream_prefix, stream_bytes=LIMIT) as stream:
            await publish(stream, [facebook(1)])
        await eventually(lambda: scalar(database, "SELECT count(*) FROM events") == 1, "the event")


@pytest.mark.parametrize("deleted", ["stream", "consumer"])
async def test_what_was_deleted_is_made_again_and_told_apart(
    shared_nats: str, stream_prefix: str, deleted: str
) -> None:
    async with opened(shared_nats, stream_prefix) as (stream, jetstream, name):
        before = (await again(stream)).made_at
        if deleted == "stream":
            await jetstream.delete_stream(name)
        else:
            await jetstream.delete_consumer(name, "collector")

        ensured = await again(stream)

        assert all(change.made for change in ensured.changes)
        made = {change.what for change in ensured.changes}
        assert made == {what for what in before if before[what] != ensured.made_at[what]}
        assert len(made) == (2 if deleted == "stream" else 1)


@pytest.mark.parametrize(
    ("change", "word"),
    [({"storage": StorageType.MEMORY}, "storage: file, was memory"),
     ({"retention": RetentionPolicy.WORK_QUEUE}, "retention: limits, was workqueue"),
     ({"deny_purge": True}, "deny_purge: False, was True")],
    ids=str,
)  # fmt: skip
async def test_what_cannot_be_changed_in_place_is_said_and_goes_on(
    shared_nats: str, stream_prefix: str, change: dict[str, Any], word: str
) -> None:
    async with opened(shared_nats, stream_prefix) as (stream, jetstream, name):
        await jetstream.delete_stream(name)
        wrong = stream_config(name, f"{stream_prefix}events.facebook", max_bytes=LIMIT, replicas=1).evolve(**change)
        await jetstream.add_stream(wrong.evolve(max_age=60))

        ensured = await again(stream)

        (fault,) = ensured.faults
        assert f"stream {name}" in fault
        assert word in fault
        assert "delete the stream" in fault
        assert any("max_age" in field for change in ensured.changes for field in change.fields), "the rest is put back"
        await publish(stream, [facebook(1)])
        assert (await again(stream)).changes == ()
