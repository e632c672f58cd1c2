"""One small HTTP request to a program on this machine."""

from __future__ import annotations

import asyncio

from eventpipeline.local.program import Check

_MOST_BYTES = 4096


async def http_status(port: int, path: str, *, timeout: float = 2.0) -> int | None:
    """The status with which 127.0.0.1 answers a GET; None where it does not answer."""
    try:
        return int((await http_answer(port, path, timeout=timeout)).split()[1])
    except (IndexError, ValueError):
        return None


async def http_answer(port: int, path: str, *, timeout: float = 2.0) -> bytes:
    """The beginning of the answer of 127.0.0.1 to a GET, as it is on the wire; empty where it does not answer."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                return await _beginning(reader)
            finally:
                writer.close()
    except (OSError, TimeoutError, ValueError):
        return b""


async def _beginning(reader: asyncio.StreamReader) -> bytes:
    answer = b""
    while len(answer) < _MOST_BYTES and (more := await reader.read(_MOST_BYTES)):
        answer += more
    return answer


def answers_200(port: int, path: str) -> Check:
    async def check(_pid: int) -> bool:
        return await http_status(port, path) == 200

    return check
