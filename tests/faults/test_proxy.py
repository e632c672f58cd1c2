"""The proxy goes wrong as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from faults.proxy import Mode, Proxy
from servers import free_port

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Proxy, list[asyncio.StreamWriter]]]:
    """A proxy before a server that says back what it hears, and the server's ends of its connections."""
    ends: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends.append(writer)
        try:
            while data := await reader.read(1000):
                writer.write(data)
        except OSError:
            pass
        writer.close()

    port = free_port()
    async with await asyncio.start_server(echo, "127.0.0.1", port):
        nobody = free_port()
        async with Proxy(free_port(), lambda: (nobody, port), delay=0.3) as proxy:
            yield proxy, ends


async def connect(proxy: Proxy) -> Connection:
    return await asyncio.open_connection("127.0.0.1", proxy.port)


async def said(connection: Connection, word: bytes, within: float = 5.0) -> bytes:
    connection[1].write(word)
    return await asyncio.wait_for(connection[0].read(1000), within)


async def ends(connection: Connection) -> None:
    """Returns when the connection has been ended by the other side."""
    with suppress(OSError):
        while await said(connection, b"?"):
            pass


async def test_it_passes_on_to_the_one_that_listens_and_passes_on_the_end() -> None:
    async with proxied() as (proxy, _):
        for _ in range(3):
            connection = await connect(proxy)
            assert await said(connection, b"hello") == b"hello"
            connection[1].write_eof()
            assert await asyncio.wait_for(connection[0].read(), 5) == b""


async def test_what_is_cut_is_reset_until_it_is_mended() -> None:
    async with proxied() as (proxy, _):
        connection = await connect(proxy)
        assert await said(connection, b"a") == b"a"
        proxy.set(Mode.CUT)
        await ends(connection)
        proxy.set(Mode.OPEN)
        assert await said(await connect(proxy), b"c") == b"c"


async def test_a_stall_holds_everything_back_and_loses_nothing() -> None:
    async with proxied() as (proxy, _):
        connection = await connect(proxy)
        assert await said(connection, b"a") == b"a"
        proxy.set(Mode.STALL)
        with pytest.raises(TimeoutError):
            await said(connection, b"b", within=0.3)
        proxy.set(Mode.OPEN)
        assert await said(connection, b"c") in (b"b", b"bc")


async def test_latency_comes_on_both_ways() -> None:
    async with proxied() as (proxy, _):
        connection = await connect(proxy)
        proxy.set(Mode.LATENCY)
        started = asyncio.get_running_loop().time()
        assert await said(connection, b"a") == b"a"
        assert asyncio.get_running_loop().time() - started >= 0.5


async def test_a_half_open_connection_has_lost_its_server_and_does_not_know() -> None:
    async with proxied() as (proxy, servers):
        connection = await connect(proxy)
        assert await said(connection, b"a") == b"a"
        proxy.set(Mode.HALF_OPEN)
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(servers[0].wait_closed(), 5)
        late = await connect(proxy)
        for one in (connection, late):
            with pytest.raises(TimeoutError):
                await said(one, b"b", within=0.3)
        proxy.set(Mode.OPEN)
        await ends(connection)
        assert await said(await connect(proxy), b"d") == b"d"
