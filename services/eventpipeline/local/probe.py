"""One small HTTP request to a program on this machine."""

from __future__ import annotations

import asyncio

from eventpipeline.local.program import Check


async def http_status(port: int, path: str, *, timeout: float = 2.0) -> int | None:
    """The status with which 127.0.0.1 answers a GET; None where it does not answer."""
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
                line = await reader.readline()
                return int(line.split()[1])
            finally:
                writer.close()
    except (OSError, TimeoutError, IndexError, ValueError):
        return None


def answers_200(port: int, path: str) -> Check:
    async def check(_pid: int) -> bool:
        return await http_status(port, path) == 200

    return check
