"""Sends the requests of a seed, several at a time, each over a connection of its own, and judges the answers."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from dataclasses import dataclass, field

from fuzz.judge import faults
from fuzz.requests import Wire, request

_AT_ONCE = 6
_UNFRAMED_SECONDS = 0.3
_KEPT_FAULTS = 20


@dataclass
class Result:
    """What became of the requests."""

    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    @property
    def count(self) -> int:
        return self.statuses.total()


async def hammer(
    port: int, mode: str, seed: int, *, seconds: float, first: int = 0, most: int = 10**9, patience: float = 40.0
) -> Result:
    """At most `most` requests of `seed` from number `first` on, for `seconds`, or until there are faults enough.

    An answer may take `patience` seconds: a body that was announced and does not come is waited for.
    """
    result, deadline, numbers = Result(), time.monotonic() + seconds, iter(range(first, first + most))

    async def send() -> None:
        for number in numbers:
            if time.monotonic() > deadline or len(result.faults) >= _KEPT_FAULTS:
                return
            wire = request(mode, seed, number)
            for fault in await _judged(port, wire, result, patience):
                result.faults.append(f"{mode}, request {number} of seed {seed}: {fault}\n    {wire.raw()[:600]!r}")

    await asyncio.gather(*(send() for _ in range(_AT_ONCE)))
    return result


async def _judged(port: int, wire: Wire, result: Result, patience: float) -> list[str]:
    try:
        answer = await asyncio.wait_for(_exchanged(port, wire), patience)
    except TimeoutError:
        result.statuses["none"] += 1
        return [f"no answer within {patience:g} s"]
    except OSError as error:
        result.statuses["none"] += 1
        # Where nobody reads the body that came, TCP takes the answer back with it.
        lost = isinstance(error, ConnectionResetError) and wire.body and wire.method != "POST"
        return [f"the connection failed: {error!r}"] if wire.framed and not lost else []
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    try:
        status = int(lines[0].split(" ")[1])
    except (IndexError, ValueError):
        result.statuses["none"] += 1
        return [] if not wire.framed and not answer else [f"no answer, but {answer[:100]!r}"]
    result.statuses[str(status)] += 1
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return faults(wire.target.decode("latin-1"), status, headers, body)


async def _exchanged(port: int, wire: Wire) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(wire.raw())
        await writer.drain()
        if wire.framed:
            return await reader.read(-1)
        # The rest of it never comes, and the service would wait: the client leaves.
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(reader.read(-1), _UNFRAMED_SECONDS)
        return b""
    finally:
        writer.close()
