"""Doing a fault to the rig, and undoing it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Collection
from enum import StrEnum

import psutil

from faults.proxy import Mode
from faults.rig import NATS, POSTGRES, Rig
from faults.schedule import BACKEND, Fault, Kind, Targets
from faults.watch import Watch

_ROOM_FOR_OWN_DATA = {NATS: 4 * 2**20, POSTGRES: 24 * 2**20}
"""What is left on a disk that own data is to fill."""
_MOST_SECONDS_TO_FILL = 60.0
_LOOPBACK = "127.0.0.1"
"""Stands in the title of a process of Postgres that serves a connection."""
_MODES: dict[StrEnum, Mode] = {
    Kind.CUT: Mode.CUT,
    Kind.LATENCY: Mode.LATENCY,
    Kind.STALL: Mode.STALL,
    Kind.HALF_OPEN: Mode.HALF_OPEN,
}


def targets(rig: Rig) -> Targets:
    return Targets(
        programs=tuple(name for name in rig.ports if name != "nats-monitor"),
        joints=tuple(rig.proxies),
        sources=rig.sources,
        volumes=tuple(rig.volumes),
        clocks=tuple(rig.clocks),
    )


async def inject(fault: Fault, rig: Rig, watch: Watch) -> Collection[str]:
    """Does it, lets it last, and undoes it. Of programs nothing has to be gone: see `Inject`."""
    match fault.kind:
        case Kind.KILL:
            _kill(rig, fault.target)
        case Kind.RESTART:
            process = rig.process(fault.target)
            if process:
                process.send_signal(signal.SIGINT if fault.target == POSTGRES else signal.SIGTERM)
        case Kind.PAUSE:
            await _pause(rig, (fault.target,), asyncio.sleep(fault.seconds))
        case Kind.CUT | Kind.LATENCY | Kind.STALL | Kind.HALF_OPEN:
            rig.proxies[fault.target].set(_MODES[fault.kind])
            await asyncio.sleep(fault.seconds)
            rig.proxies[fault.target].set(Mode.OPEN)
        case Kind.STREAM_FULL:
            await _pause(rig, rig.of(f"{fault.target}-collector"), _until_refused(watch, fault.seconds))
        case Kind.DISK_FULL:
            await _fill(rig, fault, watch, leave=0)
        case Kind.DISK_FULL_OWN:
            await _fill(rig, fault, watch, leave=_ROOM_FOR_OWN_DATA[fault.target])
        case Kind.CLOCK:
            # A day ahead or a day back.
            rig.clocks[fault.target].write_text("+86400\n" if int(fault.seconds * 10) % 2 else "-86400\n")
            await asyncio.sleep(fault.seconds)
            rig.clocks[fault.target].write_text("+0\n")
    return ()


def _kill(rig: Rig, target: str) -> None:
    process = rig.process(POSTGRES if target == BACKEND else target)
    with contextlib.suppress(psutil.NoSuchProcess, StopIteration):
        if process and target == BACKEND:
            process = next(one for one in process.children() if _LOOPBACK in " ".join(one.cmdline()))
        if process:
            process.kill()


async def _pause(rig: Rig, names: tuple[str, ...], meanwhile: object) -> None:
    for name in names:
        rig.send(name, signal.SIGSTOP)
    try:
        await meanwhile  # type: ignore[misc]
    finally:
        for name in names:
            rig.send(name, signal.SIGCONT)


async def _until_refused(watch: Watch, seconds: float) -> None:
    """Waits until a request is refused, and `seconds` more."""
    since = time.monotonic()
    while not watch.failed_since(since) and time.monotonic() < since + _MOST_SECONDS_TO_FILL:
        await asyncio.sleep(0.1)
    await asyncio.sleep(seconds)


async def _fill(rig: Rig, fault: Fault, watch: Watch, *, leave: int) -> None:
    volume = rig.volumes[fault.target]
    await asyncio.to_thread(volume.fill, leave=leave)
    try:
        if leave:
            since = time.monotonic()
            while volume.free_bytes > 2**16 and time.monotonic() < since + _MOST_SECONDS_TO_FILL:
                if watch.failed_since(since):
                    break
                await asyncio.sleep(0.1)
        await asyncio.sleep(fault.seconds)
    finally:
        await asyncio.to_thread(volume.free)
