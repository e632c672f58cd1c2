"""One connection that posts and waits for the answer: an HTTP library would cost more than what it measures."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Self, cast
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes


class Connection(asyncio.Protocol):
    """Use `open`; one request at a time."""

    def __init__(self) -> None:
        self._answered: asyncio.Future[Answer] | None = None
        self._transport: asyncio.Transport | None = None
        self._received = b""

    @classmethod
    async def open(cls, url: str) -> Self:
        address = urlsplit(url)
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(cls, address.hostname, address.port))[1]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, request: bytes) -> asyncio.Future[Answer]:
        """The answer, when it has come whole. Its error is that of the connection."""
        assert self._transport
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answered

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        if b"transfer-encoding: chunked" in lines:
            whole = body.endswith(b"0\r\n\r\n")
        else:
            whole = len(body) >= next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        if whole and self._answered and not self._answered.done():
            self._received = b""
            self._answered.set_result(Answer(int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, error: Exception | None) -> None:
        if self._answered and not self._answered.done():
            self._answered.set_exception(error or ConnectionResetError("the server closed the connection"))

    def close(self) -> None:
        if self._transport:
            self._transport.close()


def post(url: str, body: bytes) -> bytes:
    """A request that posts `body` to /webhook/events."""
    head = (
        f"POST /webhook/events HTTP/1.1\r\nhost: {urlsplit(url).netloc}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
