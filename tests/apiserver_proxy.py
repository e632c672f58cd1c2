"""Stands between one client and an API server: counts what is written, and can make watches deaf.

async with apiserver_proxy(kubeconfig, folder) as proxy:
    ... a client that uses proxy.kubeconfig ...
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import yaml

_WRITES = (b"POST", b"PATCH", b"PUT", b"DELETE")


@dataclass
class Proxy:
    """`writes` were answered so far. `written` is called with their number before the client hears the answer."""

    kubeconfig: Path
    writes: int = 0
    written: Callable[[int], None] = lambda number: None
    hearing: asyncio.Event = field(default_factory=asyncio.Event)
    """Unset, nothing that a watch tells goes through: its connections stay open and silent."""

    def __post_init__(self) -> None:
        self.hearing.set()

    async def carry(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        server: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """One connection, request by request, until one side ends it."""
        connection = _Connection(self)
        back = asyncio.create_task(connection.answers(server[0], client[1]))
        try:
            await connection.requests(client[0], server[1])
        finally:
            back.cancel()
            await asyncio.gather(back, return_exceptions=True)


@dataclass
class _Connection:
    proxy: Proxy
    writing: bool = False
    watching: bool = False

    async def requests(self, client: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while head := await _head(client):
            line, *headers = head.split(b"\r\n")
            length = next((int(h.split(b":")[1]) for h in headers if h.lower().startswith(b"content-length:")), 0)
            body = await client.readexactly(length)
            self.writing = line.split(b" ")[0] in _WRITES
            self.watching = b"watch=true" in line
            server.write(head + body)
            await server.drain()

    async def answers(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while part := await server.read(65536):
            if self.writing:
                self.writing = False
                self.proxy.writes += 1
                self.proxy.written(self.proxy.writes)
            if self.watching:
                await self.proxy.hearing.wait()
            client.write(part)
            await client.drain()
        client.close()


async def _head(client: asyncio.StreamReader) -> bytes:
    """Empty where the client has ended the connection."""
    try:
        return await client.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@asynccontextmanager
async def apiserver_proxy(kubeconfig: Path, folder: Path) -> AsyncIterator[Proxy]:
    """`kubeconfig` must name its server and its authority by file, as `api_server` writes it."""
    content = yaml.safe_load(kubeconfig.read_text())
    cluster = content["clusters"][0]["cluster"]
    upstream = urlsplit(cluster["server"])
    tls = ssl.create_default_context(cafile=cluster["certificate-authority"])
    proxy = Proxy(folder / "proxied.kubeconfig")

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server = await asyncio.open_connection(upstream.hostname, upstream.port, ssl=tls)
        try:
            await proxy.carry((reader, writer), server)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            server[1].close()
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    content["clusters"][0]["cluster"] = {"server": f"http://127.0.0.1:{port}"}
    proxy.kubeconfig.write_text(yaml.safe_dump(content))
    try:
        yield proxy
    finally:
        listener.close()
