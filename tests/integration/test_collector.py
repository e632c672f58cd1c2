"""Collectors as processes, while Postgres, NATS and they themselves are killed: stored exactly once, all of it."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry

from collecting import collecting, eventually, packed, publish, streaming
from eventpipeline.collector.batches import BatchStore
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.local import nats as local_nats
from eventpipeline.local import postgres as local_postgres
from eventpipeline.local.program import Program
from eventpipeline.sources import built_in
from eventpipeline.store.pool import open_pool
from eventpipeline.store.schema import migrate
from eventpipeline.stream import Stream
from eventpipeline.telemetry import Health
from servers import free_port, running_program
from services import Service, service
from stored import assert_holds, facebook, parsed, scalar, tiktok

LIMITS = {"stream_bytes": 64 * 2**20, "dead_bytes": 16 * 2**20}


@contextmanager
def collector(
    tmp_path: Path, nats_url: str, database: str, prefix: str = "", source: str = "facebook"
) -> Iterator[Service]:
    settings: dict[str, Any] = LIMITS | {"nats_url": nats_url, "database_url": database, "stream_prefix": prefix}
    with service(tmp_path, "collector", source=source, **settings) as started:
        yield started


@pytest_asyncio.fixture
async def stream(shared_nats: str, stream_prefix: str) -> AsyncIterator[Stream]:
    async with streaming(shared_nats, stream_prefix) as opened:
        yield opened


def count(database: str) -> int:
    return scalar(database, "SELECT count(*) FROM events")


async def is_empty(stream: Stream, source: str = "facebook") -> bool:
    return (await stream.lag(source)).pending_messages == 0


async def all_acknowledged(stream: Stream, source: str = "facebook", seconds: float = 20.0) -> None:
    await eventually(lambda: is_empty(stream, source), "everything to be stored and acknowledged", seconds)


def events_of(*numbers: int) -> list[dict[str, Any]]:
    return [facebook(number) for number in numbers]


def exact(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return parsed(packed(events))


# --- one batch -------------------------------------------------------------------------------------------------------


async def test_a_batch_is_stored_and_shown(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    with collector(tmp_path, shared_nats, database, stream_prefix) as running:
        await eventually(lambda: running.answers("/readyz"), "the collector to be ready")
        await publish(stream, events_of(1, 2, 3), correlation_id="first-request")
        await all_acknowledged(stream)
        await publish(stream, events_of(3, 4), correlation_id="second-request")
        await all_acknowledged(stream)

        assert running.metric("fb_collector_events_accepted_total") == 5
        assert running.metric("fb_collector_events_processed_total") == 5
        assert running.metric("fb_collector_events_duplicate_total") == 1
        assert running.metric("fb_collector_events_failed_total") == 0
        assert running.metric("fb_collector_batch_events_count") >= 2
        assert running.answers("/livez")
        await eventually(lambda: running.metric("fb_collector_stream_bytes") > 0, "the lag to be looked at")
        assert running.metric("fb_collector_lag_messages") == 0
        assert running.metric("fb_collector_oldest_unprocessed_seconds") == 0
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0

    assert_holds(database, exact(events_of(1, 2, 3, 4)))
    stored = [line for line in running.lines if line["event"] == "stored"]
    assert [(line["events"], line["new"], line["correlationIds"]) for line in stored] == [
        (3, 3, ["first-request"]), (2, 1, ["second-request"]),
    ]  # fmt: skip
    assert {line["service"] for line in running.lines} == {"facebook-collector"}
    text = running.output.read_text()
    assert not [word for word in ("Ann", "Lyon", "u1", "u3", "France") if f'"{word}"' in text or f" {word} " in text]


async def test_the_metrics_of_tiktok_have_their_own_names(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    with collector(tmp_path, shared_nats, database, stream_prefix, source="tiktok") as running:
        await publish(stream, [tiktok(1)], source="tiktok")
        await eventually(lambda: count(database) == 1, "the event")
        await all_acknowledged(stream, "tiktok")
        assert running.metric("ttk_collector_events_processed_total") == 1


async def test_one_poisoned_event_becomes_one_dead_letter_and_its_neighbours_are_stored(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    good = [facebook(number) for number in range(301)]
    poison = facebook(999, amount="NaN")
    await publish(stream, good[:100], correlation_id="before")
    await publish(stream, [*good[100:150], poison, *good[150:200]], correlation_id="poisoned")
    await publish(stream, good[200:300], correlation_id="after")
    with collector(tmp_path, shared_nats, database, stream_prefix) as running:
        await all_acknowledged(stream)
        await publish(stream, [good[300], poison], correlation_id="poisoned")  # a retry of the sender
        await all_acknowledged(stream)
        assert running.metric("fb_collector_events_accepted_total") == 303
        assert running.metric("fb_collector_events_failed_total") == 1
        assert running.metric("fb_collector_events_processed_total") == 301

    assert_holds(database, exact(good))
    assert scalar(database, "SELECT count(*) FROM events WHERE correlation_id = 'poisoned'") == 101
    with psycopg.connect(database) as connection:
        letters = connection.execute(
            "SELECT event_id, source, funnel_stage, event_type, reason, correlation_id, payload, detail "
            "FROM dead_letters"
        ).fetchall()
    (letter,) = letters
    assert letter[:6] == ("e999", "facebook", "bottom", "checkout.complete", "invalid_value", "poisoned")
    assert json.loads(letter[6]) == poison
    assert "events_amount_check" in letter[7][0]["msg"]


# --- kill ------------------------------------------------------------------------------------------------------------


@contextmanager
def locked(database: str) -> Iterator[psycopg.Connection[Any]]:
    """Nobody reads or writes events until the end of the block, or a rollback in it."""
    with psycopg.connect(database) as holder:
        holder.execute("LOCK TABLE events IN ACCESS EXCLUSIVE MODE")
        yield holder
        holder.rollback()


async def in_hand(stream: Stream, prefix: str) -> int:
    """How many messages a collector has that it has not acknowledged."""
    info = await stream._connection.jetstream().consumer_info(f"{prefix}EVENTS_facebook", "collector")
    return info.num_ack_pending or 0


async def delivered(stream: Stream, prefix: str, messages: int) -> bool:
    """Whether a collector has so many messages in hand."""
    return await in_hand(stream, prefix) == messages


WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def test_a_collector_that_is_killed_before_the_commit_loses_and_doubles_nothing(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    await publish(stream, events_of(*range(50)))
    with ExitStack() as stack:
        first = stack.enter_context(collector(tmp_path, shared_nats, database, stream_prefix))
        with locked(database):
            await eventually(lambda: scalar(database, WAITING) == 1, "the append to wait")
            await publish(stream, events_of(*range(50, 60)))
            first.process.kill()
            first.process.wait()
        # It may have been committed all the same: nobody was there to acknowledge it.
        with collector(tmp_path, shared_nats, database, stream_prefix):
            await all_acknowledged(stream)

    assert_holds(database, exact(events_of(*range(60))))


async def test_a_batch_that_takes_longer_than_the_ack_wait_is_not_delivered_again(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    with (
        collector(tmp_path, shared_nats, database, stream_prefix) as one,
        collector(tmp_path, shared_nats, database, stream_prefix) as other,
    ):
        for running in (one, other):
            await eventually(lambda: running.answers("/readyz"), "the collectors to be ready")  # noqa: B023
        with locked(database) as holder:
            await publish(stream, events_of(*range(50)))
            since = "SELECT extract(epoch FROM clock_timestamp() - transaction_timestamp()) > 9"
            await eventually(lambda: holder.execute(since).fetchone() == (True,), "more than ack_wait to pass")
            assert scalar(database, WAITING) == 1
            assert one.answers("/livez")
            assert other.answers("/livez")
        await all_acknowledged(stream)
        names = ("fb_collector_events_processed_total", "fb_collector_events_duplicate_total")
        assert [sum(running.metric(name) for running in (one, other)) for name in names] == [50, 0]

    assert_holds(database, exact(events_of(*range(50))))


async def test_two_full_batches_are_stored_at_a_time_and_no_more(
    shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    """Postgres computes one while it waits for the disk to have the other; the third is fetched ahead."""
    for number in range(24):  # four batches of 4 MiB, six messages each
        await publish(stream, [facebook(number, data=facebook(number)["data"] | {"note": "x" * 600_000})])

    with ExitStack() as held:
        held.enter_context(locked(database))
        async with collecting(shared_nats, database, stream_prefix):
            await eventually(lambda: scalar(database, WAITING) == 2, "two appends to wait")

            async def is_third_fetched() -> bool:
                return await in_hand(stream, stream_prefix) > 12  # a batch has up to six

            await eventually(is_third_fetched, "the third batch to be fetched ahead")
            for _ in range(20):
                assert scalar(database, WAITING) == 2
                await asyncio.sleep(0.1)
            held.close()
            await all_acknowledged(stream)
    assert count(database) == 24


async def test_sigterm_stores_what_is_in_hand_and_gives_back_the_rest(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream
) -> None:
    with collector(tmp_path, shared_nats, database, stream_prefix) as running:
        with locked(database):
            await publish(stream, events_of(*range(5)))
            await eventually(lambda: scalar(database, WAITING) == 1, "the append to wait")
            await publish(stream, events_of(*range(5, 10)))  # is fetched ahead
            await eventually(lambda: delivered(stream, stream_prefix, 2), "the second message to be fetched ahead")
            running.process.send_signal(signal.SIGTERM)
            await eventually(lambda: running.answers("/readyz", 503), "not to be ready")
            assert running.get("/readyz").json()["status"] == "draining"
        assert running.process.wait(10) == 0

    assert count(database) == 5
    puller = await stream.puller("facebook")
    (rest,) = await puller.fetch(10, 2**20, 0.5)  # at once, and not after the ack wait
    assert [event["eventId"] for event in json.loads(rest.data)] == ["e5", "e6", "e7", "e8", "e9"]


@pytest.mark.parametrize("collectors", [2, 4])
async def test_several_collectors_of_a_source_share_the_work(
    tmp_path: Path, shared_nats: str, stream_prefix: str, database: str, stream: Stream, collectors: int
) -> None:
    with ExitStack() as stack:
        running = [
            stack.enter_context(collector(tmp_path, shared_nats, database, stream_prefix)) for _ in range(collectors)
        ]
        for one in running:
            await eventually(lambda: one.answers("/readyz"), "the collectors to be ready")  # noqa: B023
        for first in range(0, 3000, 50):
            await publish(stream, events_of(*range(first, first + 50)))
            await publish(stream, events_of(*range(first, first + 50)))
        await all_acknowledged(stream)
        shares = [one.metric("fb_collector_events_processed_total") for one in running]
        assert sum(shares) == 6000

    assert_holds(database, exact(events_of(*range(3000))))
    assert scalar(database, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0


# --- outages ---------------------------------------------------------------------------------------------------------


@dataclass
class Server:
    """A server of this test alone, to be killed and started again on the same data and port."""

    program: Program
    url: str
    _stack: ExitStack = field(default_factory=ExitStack)
    _process: Any = None

    def start(self) -> None:
        self._process = self._stack.enter_context(running_program(self.program))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        self._stack.close()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Server]:
    cluster = local_postgres.open_cluster(tmp_path / "postgres")
    cluster.initialise()
    port = free_port()
    server = Server(cluster.server(port=port, log=tmp_path / "postgres.log"), cluster.url(port))
    server.start()
    migrate(server.url)
    yield server
    server.stop()


@pytest.fixture
def own_nats(tmp_path: Path) -> Iterator[Server]:
    port = free_port()
    folder, log = tmp_path / "nats", tmp_path / "nats.log"
    program = local_nats.server(folder, port=port, monitor_port=free_port(), max_file_bytes=2**30, log=log)
    server = Server(program, f"nats://127.0.0.1:{port}")
    server.start()
    yield server
    server.stop()


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_nothing_is_lost_while_postgres_is_away(
    tmp_path: Path, shared_nats: str, stream_prefix: str, own_postgres: Server, stream: Stream, how: str
) -> None:
    with collector(tmp_path, shared_nats, own_postgres.url, stream_prefix) as running:
        await publish(stream, events_of(*range(10)))
        await all_acknowledged(stream)
        getattr(own_postgres, how)()
        await publish(stream, events_of(*range(5, 20)))

        await eventually(lambda: running.answers("/readyz", 503), "not to be ready")
        checks = running.get("/readyz").json()["checks"]
        assert checks["stream"] == "ok"
        assert checks["store"] != "ok"
        await eventually(lambda: running.metric("fb_collector_store_outages_total") >= 2, "two attempts")
        assert running.answers("/livez")
        assert running.process.poll() is None

        own_postgres.start()
        await all_acknowledged(stream)
        await eventually(lambda: running.answers("/readyz"), "to be ready again")
        assert running.metric("fb_collector_events_failed_total") == 0

    assert_holds(own_postgres.url, exact(events_of(*range(20))))
    assert scalar(own_postgres.url, "SELECT count(*) FROM dead_letters") == 0


async def test_a_collector_without_events_meets_the_outage_too() -> None:
    registry, source = CollectorRegistry(), built_in("facebook")
    pool = open_pool(f"postgresql://nobody@127.0.0.1:{free_port()}/none", name="test", read_only=False, max_size=1)
    await pool.open(wait=False)
    try:
        store = BatchStore(source, pool, CollectorMetrics(registry, source), Health())
        assert await store.fold() == 0
    finally:
        await pool.close()
    assert registry.get_sample_value("fb_collector_store_outages_total") == 1


async def test_sigterm_while_postgres_is_away_gives_everything_back(
    tmp_path: Path, shared_nats: str, stream_prefix: str, own_postgres: Server, stream: Stream
) -> None:
    with collector(tmp_path, shared_nats, own_postgres.url, stream_prefix) as running:
        await eventually(lambda: running.answers("/readyz"), "to be ready")
        own_postgres.kill()
        await publish(stream, events_of(1))
        await eventually(lambda: running.metric("fb_collector_store_outages_total") >= 1, "an attempt")
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0

    puller = await stream.puller("facebook")
    assert len(await puller.fetch(10, 2**20, 0.5)) == 1


async def test_nothing_is_lost_while_nats_is_away(tmp_path: Path, database: str, own_nats: Server) -> None:
    async with streaming(own_nats.url, "") as stream:
        await publish(stream, events_of(*range(10)))
    own_nats.kill()
    # It starts while NATS is away.
    with collector(tmp_path, own_nats.url, database) as running:
        for end in (20, 30):
            await eventually(lambda: running.answers("/readyz", 503), "not to be ready")
            checks = running.get("/readyz").json()["checks"]
            assert checks == {"store": "ok", "stream": "NATS is not connected"}
            assert running.answers("/livez")
            own_nats.start()
            async with streaming(own_nats.url, "") as stream:
                await publish(stream, events_of(*range(end)))
                await all_acknowledged(stream)
            await eventually(lambda: running.answers("/readyz"), "to be ready again")
            own_nats.kill()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(10) == 0

    assert_holds(database, exact(events_of(*range(30))))
