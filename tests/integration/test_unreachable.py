"""A server that does not let a service in, or is not there: what is said names the reason, soon, and no password."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from collecting import eventually
from eventpipeline.local import nats as local_nats
from eventpipeline.local.probe import answers_200
from eventpipeline.local.program import Program
from eventpipeline.settings import StreamSettings
from eventpipeline.store.pool import check, open_pool
from eventpipeline.stream import Stream
from eventpipeline_operator.streams import Streams
from servers import free_port, running_program

READINESS_SECONDS = 2.0
"""What /readyz gives a check."""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("postgres:", "postgres:wrong-"), "password authentication failed for user"),
        (lambda url: url.rsplit("@", 1)[0] + "@nowhere.invalid/x", "nowhere.invalid"),
        (lambda url: url.rsplit("@", 1)[0] + f"@127.0.0.1:{free_port()}/x", "Connection refused"),
        (lambda url: url.replace("postgres:", "postgres:%zz"), "no URL that Postgres understands"),
        (lambda url: url.rsplit("/", 1)[0] + "/nothing", 'database "nothing" does not exist'),
    ],
    ids=["password", "host", "port", "form", "database"],
)
async def test_postgres_says_why(shared_postgres: str, change: object, said: str) -> None:
    assert callable(change)
    url = change(shared_postgres)
    pool = open_pool(url, name="test", read_only=True, max_size=2)
    await pool.open(wait=False)
    try:
        started = time.monotonic()
        fault = await check(pool)
        assert time.monotonic() - started < READINESS_SECONDS
    finally:
        await pool.close()
    assert fault
    assert said in fault
    assert "%zz" not in fault


async def test_a_pool_that_found_its_server_says_so(shared_postgres: str) -> None:
    pool = open_pool(shared_postgres, name="test", read_only=True, max_size=2)
    await pool.open(wait=False)
    try:
        assert await check(pool) is None
    finally:
        await pool.close()


@pytest.fixture(scope="module")
def plain_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address, without user and password, of a NATS with one user and without JetStream."""
    folder, port, monitor = tmp_path_factory.mktemp("nats"), free_port(), free_port()
    config = folder / "nats.conf"
    config.write_text(
        f'host: 127.0.0.1\nport: {port}\nhttp: "127.0.0.1:{monitor}"\n'
        'authorization { users: [{user: marketing, password: "secret"}] }\n'
    )
    argv = (str(local_nats.find_server()), "--config", str(config))
    program = Program(name="nats", argv=argv, log=folder / "log", ready=answers_200(monitor, "/healthz"))
    with running_program(program):
        yield f"127.0.0.1:{port}"


@asynccontextmanager
async def connecting(url: str) -> AsyncIterator[Stream]:
    stream = Stream(StreamSettings(nats_url=url), "test")
    stream.start()
    yield stream
    await stream.close()


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("nats://marketing:wrong@{}", "Authorization Violation"),
        ("nats://nowhere.invalid:4222", "not known"),
        ("nats://127.0.0.1:1", "Connect call failed"),
    ],
    ids=["password", "host", "port"],
)
async def test_nats_says_why(plain_nats: str, address: str, said: str) -> None:
    async with connecting(address.format(plain_nats)) as stream:

        async def is_said() -> bool:
            return said in (stream.connection_fault or "")

        await eventually(is_said, said)


async def test_a_nats_without_jetstream_says_so_and_what_was_wrong_before_is_forgotten(plain_nats: str) -> None:
    async with connecting(f"nats://marketing:secret@{plain_nats}") as stream:
        await asyncio.wait_for(stream.connected(), 10)
        assert stream.connection_fault is None
        assert "JetStream is off" in (await stream.check() or "")


async def test_the_operator_says_why_it_cannot_look_at_the_streams(plain_nats: str) -> None:
    streams = Streams()
    try:
        settings = StreamSettings(nats_url=f"nats://marketing:wrong@{plain_nats}")
        seen = await streams.look("uid", settings, ["facebook"])
    finally:
        await streams.close_all()
    assert seen.fault == "NATS cannot be reached: nats: 'Authorization Violation'"
    assert not seen.pending
