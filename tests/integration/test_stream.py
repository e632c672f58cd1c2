"""The streams on a real nats-server: nothing is lost, whatever becomes full, old, deleted or disconnected."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import nats
import psycopg
import pytest
from nats.js import JetStreamContext

from collecting import collecting, eventually, packed, publish, streaming
from eventpipeline.envelope import REQUESTS_HEADER
from eventpipeline.local import nats as local_nats
from eventpipeline.local.program import Program
from eventpipeline.stream import DEAD, Stream, StreamFull, StreamUnavailable, acknowledge, give_back
from faults.proxy import Mode, Proxy
from servers import free_port, running_program
from stored import assert_holds, facebook, parsed, scalar

MIB = 2**20
PLAIN = {REQUESTS_HEADER: "[]"}


@contextlib.asynccontextmanager
async def jetstream(nats_url: str) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(nats_url)
    try:
        yield client.jetstream()
    finally:
        await client.close()


def events_stream(prefix: str) -> str:
    return f"{prefix}EVENTS_facebook"


async def put(stream: Stream, count: int, size: int = 1000, source: str = "facebook") -> None:
    for number in range(count):
        await stream.publish(source, str(number).encode().ljust(size, b"."), {}, 5.0)


# --- streams and consumers -------------------------------------------------------------------------------------------


async def test_streams_are_made_once_by_any_number_at_once(shared_nats: str, stream_prefix: str) -> None:
    async def ensure(limit: int) -> None:
        async with streaming(shared_nats, stream_prefix, stream_bytes=limit) as stream:
            for source in ("facebook", DEAD):
                await stream.ensure(source)

    await asyncio.gather(*(ensure(limit * MIB) for limit in (1, 2, 3, 4)))
    async with streaming(shared_nats, stream_prefix, stream_bytes=2 * MIB) as stream:
        await put(stream, 3)
    async with jetstream(shared_nats) as context:
        info = await context.stream_info(events_stream(stream_prefix))
        assert (info.config.max_bytes, info.state.messages) == (2 * MIB, 3)


@pytest.mark.parametrize("what", ["consumer", "stream"])
async def test_what_somebody_deletes_comes_back_while_a_collector_runs(
    shared_nats: str, stream_prefix: str, database: str, what: str
) -> None:
    async with (
        jetstream(shared_nats) as context,
        streaming(shared_nats, stream_prefix) as stream,
        collecting(shared_nats, database, stream_prefix),
    ):
        for number in range(3):
            await publish(stream, [facebook(number)])
            await eventually(lambda: scalar(database, "SELECT count(*) FROM events") == number + 1, "the event")  # noqa: B023
            if what == "consumer":
                await context.delete_consumer(events_stream(stream_prefix), "collector")
            else:
                await context.delete_stream(events_stream(stream_prefix))
                with pytest.raises(StreamUnavailable):
                    await publish(stream, [facebook(9)])  # nobody takes it; the next one makes the stream anew


# --- publish ---------------------------------------------------------------------------------------------------------


async def test_a_full_stream_says_so_and_takes_again_once_it_is_trimmed(shared_nats: str, stream_prefix: str) -> None:
    async with streaming(shared_nats, stream_prefix, stream_bytes=MIB) as stream:
        with pytest.raises(StreamFull, match="the stream of facebook is at its byte limit"):
            await put(stream, 40, size=50_000)
        assert await stream.trim("facebook") == 0
        await store_all(stream)

        assert await stream.trim("facebook") > 0
        await put(stream, 1)


async def store_all(stream: Stream, source: str = "facebook") -> int:
    """Acknowledges everything that is in the stream, and waits until the server has it."""
    puller = await stream.puller(source)
    count = 0
    while messages := await puller.fetch(1000, 4 * MIB, 0.2):
        await acknowledge(messages)
        count += len(messages)
    await puller.close()

    async def is_done() -> bool:
        return (await stream.lag(source)).pending_messages == 0

    await eventually(is_done, "the acknowledgements")
    return count


async def test_nats_may_be_away_at_the_start_and_at_any_time(tmp_path: Path) -> None:
    program = server(tmp_path, free_port())
    async with streaming(program_url(program), "", wait=False) as stream:
        assert await stream.check() == "NATS is not connected"
        for call in (stream.lag, stream.trim, stream.puller, stream.ensure):
            with pytest.raises(StreamUnavailable):
                await call("facebook")
        for number in range(3):
            with pytest.raises(StreamUnavailable):
                await stream.publish("facebook", b"away", PLAIN, 0.3)
            with running_program(program) as process:
                await takes(stream)
                assert await stream.check() is None
                assert (await stream.lag("facebook")).pending_messages >= number + 1  # what was taken is there still
                process.kill()
                process.wait()
            await eventually(lambda: not stream._connection.client.is_connected, "the connection to break")


async def takes(stream: Stream) -> None:
    async def taken() -> bool:
        with contextlib.suppress(StreamUnavailable):
            await stream.publish("facebook", b"there", PLAIN, 1.0)
            return True
        return False

    await eventually(taken, "NATS to take a message")


def server(tmp_path: Path, port: int) -> Program:
    return local_nats.server(
        tmp_path / "nats", port=port, monitor_port=free_port(), max_file_bytes=2**30, log=tmp_path / "nats.log"
    )


def program_url(program: Program) -> str:
    (line,) = [line for line in Path(program.argv[-1]).read_text().splitlines() if line.startswith("port: ")]
    return f"nats://127.0.0.1:{line.removeprefix('port: ')}"


async def test_an_error_after_which_the_client_gives_up_is_not_the_end(shared_nats: str, stream_prefix: str) -> None:
    """A server that cuts off a slow consumer says -ERR first, and then nats-py closes for ever."""
    host, port = shared_nats.removeprefix("nats://").split(":")
    downstream: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(host, int(port))
        downstream.append(writer)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                while data := await source.read(65536):
                    target.write(data)
            target.close()

        await asyncio.gather(copy(reader, away), copy(there, writer))

    proxy = await asyncio.start_server(relay, "127.0.0.1", 0)
    address = f"nats://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
    async with proxy, streaming(address, stream_prefix) as stream:
        puller = await stream.puller("facebook")
        first = stream._connection.client
        downstream[0].write(b"-ERR 'Slow Consumer'\r\n")
        with pytest.raises(StreamUnavailable):
            await puller.fetch(1, MIB, 5.0)
        await eventually(lambda: stream._connection.client is not first, "a new connection")
        await takes(stream)
        puller = await stream.puller("facebook")
        assert len(await puller.fetch(1, MIB, 5.0)) == 1


# --- pull ------------------------------------------------------------------------------------------------------------


async def test_a_server_that_stands_still_is_not_handed_more_and_more(shared_nats: str, stream_prefix: str) -> None:
    """What the client was handed it keeps until the server takes it, also where the publisher has given up."""
    server = httpx2.URL(shared_nats).port
    assert server
    async with Proxy(free_port(), lambda: [server]) as proxy:
        url = f"nats://127.0.0.1:{proxy.port}"
        async with streaming(url, stream_prefix, stream_bytes=256 * MIB) as stream:
            await put(stream, 1)
            proxy.set(Mode.STALL)
            tries = (stream.publish("facebook", bytes(MIB // 2), {}, 1.0) for _ in range(128))
            answers = await asyncio.gather(*tries, return_exceptions=True)
            assert {type(answer) for answer in answers} == {StreamUnavailable}
            message = bytes(MIB)
            references = sys.getrefcount(message)
            task = asyncio.create_task(stream.publish("facebook", message, {}, 0.1))
            await asyncio.wait((task,))
            assert isinstance(task.exception(), StreamUnavailable)
            del task
            assert sys.getrefcount(message) == references, "it is gone with its task, and waits for no collection"
            proxy.set(Mode.OPEN)
            await takes(stream)
            async with jetstream(shared_nats) as context:
                taken = (await context.stream_info(events_stream(stream_prefix))).state.bytes
            assert taken < 16 * MIB, "of 64 MiB; the rest was never handed over"


async def test_a_fetch_is_bounded_by_count_and_by_bytes(shared_nats: str, stream_prefix: str) -> None:
    async with streaming(shared_nats, stream_prefix) as stream:
        await put(stream, 250, size=100)
        await put(stream, 20, size=100_000)
        puller = await stream.puller("facebook")
        small = await puller.fetch(100, MIB, 1.0)
        assert [message.data.strip(b".") for message in small] == [str(number).encode() for number in range(100)]
        assert len(await puller.fetch(150, MIB, 1.0)) == 150
        large = await puller.fetch(1000, MIB, 1.0)
        assert 8 <= len(large) <= 10
        assert sum(len(message.data) for message in large) <= MIB
        # A message that is larger than the bound comes alone.
        assert [len(message.data) for message in await puller.fetch(1000, 50_000, 1.0)] == [100_000]
        assert len(await puller.fetch(1000, 10 * MIB, 1.0)) == 20 - len(large) - 1
        await puller.close()


async def test_a_fetch_whose_bytes_are_filled_exactly_ends_too(shared_nats: str, stream_prefix: str) -> None:
    """Of such a request nats-server says with no word that it is done."""
    async with streaming(shared_nats, stream_prefix) as stream:
        await put(stream, 150)
        puller = await stream.puller("facebook")
        await acknowledge(await puller.fetch(120, MIB, 1.0))  # so that numbers keep their length from here on
        two = await puller.fetch(2, MIB, 1.0)
        headers = b"NATS/1.0\r\n\r\n"
        size = sum(len(message._msg.subject + message._msg.reply) + len(headers + message.data) for message in two)
        started = time.monotonic()
        assert [message.sequence for message in await puller.fetch(1000, size, 1.0)] == [123, 124]
        assert time.monotonic() - started < 1
        assert len(await puller.fetch(1000, MIB, 1.0)) == 26
        await puller.close()


async def test_a_fetch_waits_for_the_first_message_and_no_longer(shared_nats: str, stream_prefix: str) -> None:
    async with streaming(shared_nats, stream_prefix) as stream:
        puller = await stream.puller("facebook")
        started = time.monotonic()
        assert await puller.fetch(10, MIB, 0.5) == []
        assert 0.4 < time.monotonic() - started < 2

        waiting = asyncio.create_task(puller.fetch(10, MIB, 30.0))
        await asyncio.sleep(0)
        await put(stream, 1)
        assert len(await asyncio.wait_for(waiting, 2)) == 1


async def test_a_fetch_that_waits_learns_that_its_consumer_is_gone(shared_nats: str, stream_prefix: str) -> None:
    async with jetstream(shared_nats) as context, streaming(shared_nats, stream_prefix) as stream:
        puller = await stream.puller("facebook")
        waiting = asyncio.create_task(puller.fetch(10, MIB, 30.0))
        await asyncio.sleep(0.2)
        await context.delete_consumer(events_stream(stream_prefix), "collector")

        with pytest.raises(StreamUnavailable, match="Consumer Deleted"):
            await asyncio.wait_for(waiting, 2)
        with pytest.raises(StreamUnavailable, match="there is no consumer"):
            await puller.fetch(10, MIB, 1.0)


async def test_what_is_given_back_comes_again_at_once(shared_nats: str, stream_prefix: str) -> None:
    async with streaming(shared_nats, stream_prefix) as stream:
        await put(stream, 2)
        puller = await stream.puller("facebook")
        await give_back(await puller.fetch(10, MIB, 1.0))

        again = await asyncio.wait_for(puller.fetch(10, MIB, 5.0), 1)
        assert again[0].data.startswith(b"0")


async def test_a_header_that_looks_like_the_servers_word_is_a_header(shared_nats: str, stream_prefix: str) -> None:
    async with streaming(shared_nats, stream_prefix) as stream:
        await stream.publish("facebook", b"[]", {"Status": "409", "Description": "Consumer Deleted"}, 5.0)
        puller = await stream.puller("facebook")
        assert [message.data for message in await puller.fetch(10, MIB, 1.0)] == [b"[]"]


# --- trim ------------------------------------------------------------------------------------------------------------


async def test_a_stream_above_70_percent_is_trimmed_to_60_and_only_of_what_is_stored(
    shared_nats: str, stream_prefix: str
) -> None:
    async with streaming(shared_nats, stream_prefix, stream_bytes=MIB) as stream:

        async def share() -> float:
            return (await stream.lag("facebook")).bytes / MIB

        await put(stream, 75, size=10_000)
        assert await share() > 0.70
        assert await stream.trim("facebook") == 0

        puller = await stream.puller("facebook")
        first = await puller.fetch(5, MIB, 1.0)
        await acknowledge(first[:2] + first[3:])  # the third is still on its way

        async def two_are_stored() -> bool:
            return await stream.trim("facebook") == 2

        await eventually(two_are_stored, "the two stored ones to go")
        assert await stream.trim("facebook") == 0

        await acknowledge(first[2:3])
        await store_all(stream)
        await put(stream, 8, size=10_000)
        await stream.trim("facebook")
        assert 0.57 < await share() <= 0.60
        assert await stream.trim("facebook") == 0
        assert (await stream.lag("facebook")).pending_messages == 8


@pytest.mark.parametrize("source", ["facebook", DEAD])
async def test_what_is_older_than_the_retention_goes_once_it_is_stored(
    shared_nats: str, stream_prefix: str, source: str
) -> None:
    async with streaming(shared_nats, stream_prefix, stream_retention_seconds=1) as stream:
        await put(stream, 20, source=source)

        async def is_old() -> bool:
            return (await stream.lag(source)).oldest_age > 1.2

        await eventually(is_old, "the messages to grow old")
        assert await stream.trim(source) == 0
        assert (await stream.lag(source)).pending_messages == 20

        assert await store_all(stream, source) == 20
        await put(stream, 3, source=source)
        assert await stream.trim(source) == 20
        assert (await stream.lag(source)).pending_messages == 3


# --- with a collector ------------------------------------------------------------------------------------------------


async def test_twice_the_byte_limit_flows_through(shared_nats: str, stream_prefix: str, database: str) -> None:
    limit = 12 * MIB  # in the real proportion, the trimmer comes long before what is left above 70 % is full
    async with (
        streaming(shared_nats, stream_prefix, stream_bytes=limit) as stream,
        collecting(shared_nats, database, stream_prefix, stream_bytes=limit) as metrics,
    ):
        sent = number = 0

        async def keeps_up() -> bool:
            return (await stream.lag("facebook")).pending_messages < 6

        async def is_trimmed() -> bool:
            return (await stream.lag("facebook")).bytes < 0.7 * limit

        while sent < 2 * limit:
            events = [facebook(number + offset, pad="." * 3000) for offset in range(60)]
            await publish(stream, events)
            await eventually(keeps_up, "the collector to keep up")
            number, sent = number + 60, sent + len(packed(events))
        await eventually(lambda: scalar(database, "SELECT count(*) FROM events") == number, "every event")
        await eventually(is_trimmed, "the trimmer")
        assert metrics.duplicates._value.get() == 0


async def test_collectors_that_stand_still_longer_than_the_retention_lose_nothing(
    shared_nats: str, stream_prefix: str, database: str
) -> None:
    settings: dict[str, Any] = {"stream_retention_seconds": 1}
    events = [facebook(number) for number in range(50)]
    async with streaming(shared_nats, stream_prefix, **settings) as stream:
        for event in events:
            await publish(stream, [event])
        letter = {"id": "0" * 32, "receivedAt": "2025-03-01T12:00:00Z", "reason": "wrong_type", "detail": [],
                  "payload": "", "payloadBytes": 0, "payloadSha256": ""}  # fmt: skip
        await stream.publish(DEAD, packed([letter]), {}, 5.0)

        async def is_old() -> bool:
            return min((await stream.lag("facebook")).oldest_age, (await stream.lag(DEAD)).oldest_age) > 1.5

        await eventually(is_old, "the messages to grow old")
        async with collecting(shared_nats, database, stream_prefix, **settings):
            for source in ("facebook", DEAD):

                async def is_empty(source: str = source) -> bool:
                    return (await stream.lag(source)).bytes == 0

                await eventually(is_empty, "everything to be stored, and then trimmed")

    assert_holds(database, parsed(packed(events)))
    assert scalar(database, "SELECT count(*) FROM dead_letters") == 1


RUBBISH = [
    b"", b"x", b"hello", b'"text"', b"null", b"17", b"{", b"[", b"[1,2", b"[{]", b"[1],[2]", b'{"a":1}', b"\xff\xfe\0",
    b"[" * 50_000, b"[" * 20_000 + b"]" * 20_000, b"x" * (MIB - 1024), b"[" + b"[]," * 5000 + b"[]]",
]  # fmt: skip
BAD_EVENTS: list[Any] = [1, "two", True, [], {}, {"eventId": 5}, facebook(901, eventType=None),
                         facebook(902, eventId="x" * 1_000_000), facebook(903, timestamp=["noon"]),
                         facebook(904, data="none")]  # fmt: skip


async def test_rubbish_becomes_dead_letters_and_harms_no_neighbour(
    shared_nats: str, stream_prefix: str, database: str
) -> None:
    good = [facebook(number) for number in range(60)]
    ours = iter(good)
    async with streaming(shared_nats, stream_prefix) as stream:
        for rubbish in RUBBISH:
            await publish(stream, [next(ours), next(ours)], correlation_id="ours")
            await stream.publish("facebook", rubbish, {}, 5.0)
        # Claims to be a gateway's, so that it is not looked at before Postgres refuses it.
        await stream.publish("facebook", b"[{", {REQUESTS_HEADER: '[["liar",null,3]]'}, 5.0)
        for bad in BAD_EVENTS:
            await stream.publish("facebook", packed([next(ours), bad]), {}, 5.0)
        await stream.publish(
            "facebook", packed(ours), {REQUESTS_HEADER: '[["\\u0000",null,99999999999999999999]]'}, 5.0
        )
        async with collecting(shared_nats, database, stream_prefix):

            async def is_done() -> bool:
                return (await stream.lag("facebook")).pending_messages == 0

            await eventually(is_done, "all of it to be stored or refused", seconds=30)

    assert_holds(database, parsed(packed(good)))
    messages = [(len(rubbish), "invalid_json") for rubbish in [*RUBBISH[:-1], b"[{"]]
    # The elements of the last rubbish are alike, and one of the bad events is too: one letter.
    elements = [
        (len(json.dumps(bad)), "invalid_value" if isinstance(bad, dict) else "not_an_object") for bad in BAD_EVENTS
    ]
    letters = select(database, "SELECT payload_bytes, reason FROM dead_letters")
    assert sorted(letters) == sorted([*messages, *elements])
    assert scalar(database, "SELECT count(*) FROM events WHERE correlation_id = 'ours'") == 2 * len(RUBBISH)


async def test_rubbish_among_the_dead_letters_harms_no_other(
    shared_nats: str, stream_prefix: str, database: str
) -> None:
    def letter(number: int) -> dict[str, Any]:
        return {"id": f"{number:032}", "receivedAt": "2025-03-01T12:00:00Z", "reason": "wrong_type", "detail": [],
                "payload": "", "payloadBytes": 0, "payloadSha256": ""}  # fmt: skip

    rubbish = [b"hello", b"[1]", b"[{}]", b'[{"id":"x"}]', b"[" * 1000]
    async with streaming(shared_nats, stream_prefix) as stream:
        for number, text in enumerate(rubbish):
            await stream.publish(DEAD, packed([letter(2 * number), letter(2 * number + 1)]), {}, 5.0)
            await stream.publish(DEAD, text, {}, 5.0)
        async with collecting(shared_nats, database, stream_prefix):

            async def is_done() -> bool:
                return (await stream.lag(DEAD)).pending_messages == 0

            await eventually(is_done, "all of it to be landed")

    assert scalar(database, "SELECT count(*) FROM dead_letters WHERE reason = 'wrong_type'") == 2 * len(rubbish)
    found = select(database, "SELECT payload FROM dead_letters WHERE reason = 'invalid_json'")
    assert sorted(bytes(payload) for (payload,) in found) == sorted(rubbish)


def select(database: str, query: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(database) as connection:
        return connection.execute(query).fetchall()
