"""A TCP proxy between two programs of this machine, which can go wrong in the ways that a network does.

toxiproxy does the same and more; it would have to be built with Go on every machine that runs these tests.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from enum import StrEnum

_CHUNK = 256 * 1024


class Mode(StrEnum):
    OPEN = "open"
    CUT = "cut"
    """Connections are reset, and new ones too."""
    LATENCY = "latency"
    """Everything arrives later by `Proxy.delay` seconds."""
    STALL = "stall"
    """Nothing arrives, and nobody is told; later it goes on, as after a partition."""
    HALF_OPEN = "half-open"
    """The server has lost its connections, the clients' stay; new ones are accepted and never answered."""


class Proxy:
    """Listens on `port` and passes each connection on to one of the ports that `upstreams` names now, in turn."""

    def __init__(self, port: int, upstreams: Callable[[], Sequence[int]], *, delay: float = 0.2) -> None:
        self.port = port
        self.delay = delay
        self._upstreams = upstreams
        self._mode = Mode.OPEN
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._connections: set[_Connection] = set()
        self._server: asyncio.Server | None = None
        self._turn = 0

    async def __aenter__(self) -> Proxy:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, limit=_CHUNK, backlog=512)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            self._server.close()
        self.set(Mode.CUT)
        while self._connections:
            await asyncio.sleep(0.01)

    @property
    def mode(self) -> Mode:
        return self._mode

    def set(self, mode: Mode) -> None:
        """From now on the network behaves like this."""
        was, self._mode = self._mode, mode
        if mode is Mode.CUT or was is Mode.HALF_OPEN:
            for connection in tuple(self._connections):
                connection.reset()
        if mode is Mode.HALF_OPEN:
            for connection in tuple(self._connections):
                connection.lose_server()
        if mode in (Mode.STALL, Mode.HALF_OPEN):
            self._flowing.clear()
        else:
            self._flowing.set()

    async def passage(self) -> None:
        """Waits as long as the network makes data wait now."""
        if self._mode is Mode.LATENCY:
            await asyncio.sleep(self.delay)
        await self._flowing.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = _Connection(self, reader, writer)
        self._connections.add(connection)
        try:
            if self._mode is not Mode.CUT:
                await connection.serve(self._in_turn())
        finally:
            connection.reset()
            self._connections.discard(connection)

    def _in_turn(self) -> list[int]:
        """All upstream ports, beginning with another one each time."""
        ports = list(self._upstreams())
        self._turn += 1
        start = self._turn % max(1, len(ports))
        return ports[start:] + ports[:start]


class _Connection:
    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = (reader, writer)
        self._server_writer: asyncio.StreamWriter | None = None
        self._over = asyncio.Event()
        self._lost_server = False

    async def serve(self, ports: Sequence[int]) -> None:
        ends = asyncio.create_task(self._over.wait())
        work = asyncio.create_task(self._serve(ports))
        try:
            await asyncio.wait((ends, work), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (ends, work):
                task.cancel()
            await asyncio.gather(ends, work, return_exceptions=True)

    async def _serve(self, ports: Sequence[int]) -> None:
        await self._proxy.passage()
        opened = await _first_open(ports)
        if opened is None:
            return
        reader, self._server_writer = opened
        await asyncio.gather(self._copy(self._client[0], self._server_writer), self._copy(reader, self._client[1]))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_CHUNK):
                await self._proxy.passage()
                writer.write(data)
                await writer.drain()
            if not self._lost_server:
                # The other direction may go on after the end of this one.
                writer.write_eof()
        except OSError:
            if not self._lost_server:
                self._over.set()
        if self._lost_server:
            await self._over.wait()

    def lose_server(self) -> None:
        """The server's side is reset; the client is not told."""
        self._lost_server = True
        if self._server_writer:
            _reset(self._server_writer)

    def reset(self) -> None:
        """Both sides are reset."""
        _reset(self._client[1])
        if self._server_writer:
            _reset(self._server_writer)
        self._over.set()


async def _first_open(ports: Sequence[int]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    for port in ports:
        with contextlib.suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
    return None


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
