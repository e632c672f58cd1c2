"""What is written to a connection goes out together, in order, and all of it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventpipeline.held_writes import HeldWrites


class _Counted(HeldWrites):
    """Passes on what is written, and keeps how it came."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__(transport)
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))
        self._transport.write(data)


@asynccontextmanager
async def held() -> AsyncIterator[tuple[HeldWrites, _Counted, socket.socket]]:
    """A connection with writes held, the writes that came of them, and the other end."""
    here, there = socket.socketpair()
    there.settimeout(5)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=here)
    below = _Counted(transport)
    try:
        yield HeldWrites(below), below, there
    finally:
        transport.abort()
        there.close()


async def _turn() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_writes_of_one_turn_go_out_together() -> None:
    async with held() as (connection, below, there):
        connection.write(b"head")
        connection.writelines([bytearray(b" and "), memoryview(b"body")])
        assert below.writes == []
        assert connection.get_write_buffer_size() == len(b"head and body")
        await _turn()
        connection.write(b"; the next")
        await _turn()
        assert below.writes == [b"head and body", b"; the next"]
        assert there.recv(100) == b"head and body; the next"
        assert connection.get_write_buffer_size() == 0


async def test_a_buffer_that_changes_later_goes_out_as_it_was() -> None:
    async with held() as (connection, below, _):
        buffer = bytearray(b"as it was")
        connection.write(buffer)
        buffer[:] = b"as it is."
        await _turn()
        assert below.writes == [b"as it was"]


async def test_much_goes_out_at_once_so_that_a_slow_reader_is_noticed() -> None:
    async with held() as (connection, below, _):
        connection.write(b"head")
        connection.write(bytes(20_000))
        assert below.writes == [b"head", bytes(20_000)]
        await _turn()
        assert len(below.writes) == 2


async def test_closing_sends_what_is_held_first() -> None:
    async with held() as (connection, _, there):
        connection.write(b"the last word")
        connection.close()
        assert connection.is_closing()
        await _turn()
        assert there.recv(100) == b"the last word"
        assert there.recv(100) == b""


async def test_the_end_of_writing_comes_after_what_is_held() -> None:
    async with held() as (connection, _, there):
        connection.write(b"the last word")
        connection.write_eof()
        await _turn()
        assert there.recv(100) == b"the last word"
        assert there.recv(100) == b""


async def test_aborting_sends_nothing() -> None:
    async with held() as (connection, _, there):
        connection.write(b"too late")
        connection.abort()
        await _turn()
        assert there.recv(100) == b""
