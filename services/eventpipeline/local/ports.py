"""The ports that a pipeline needs, and who has them."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import psutil

from eventpipeline.local.errors import PortsTaken

HOST = "127.0.0.1"
_HIGHEST = 65535


@dataclass(frozen=True)
class Taken:
    port: int
    wanted_by: str
    reason: str


def shifted(ports: Mapping[str, int], offset: int) -> dict[str, int]:
    """The ports with `offset` added to each. Raises PortsTaken where that gives no port."""
    moved = {name: port + offset for name, port in ports.items()}
    if wrong := {name: port for name, port in moved.items() if not 0 < port <= _HIGHEST}:
        listed = ", ".join(f"{port} for {name}" for name, port in wrong.items())
        raise PortsTaken(f"--port-offset {offset} gives ports that do not exist: {listed}")
    return moved


def refuse_taken(ports: Mapping[str, int]) -> None:
    """Raises PortsTaken, naming every port of `ports` (name to port) that cannot be listened on."""
    codes = {name: _bind(port) for name, port in ports.items()}
    failed = {name: code for name, code in codes.items() if code}
    if not failed:
        return
    listeners = _listeners()
    raise PortsTaken(
        message([Taken(ports[name], name, _reason(code, listeners.get(ports[name]))) for name, code in failed.items()])
    )


def message(taken: list[Taken]) -> str:
    lines = [f"  {one.port} for {one.wanted_by}: {one.reason}" for one in sorted(taken, key=lambda one: one.port)]
    subject = "a port is" if len(taken) == 1 else f"{len(taken)} ports are"
    return "\n".join((f"{subject} not free; choose others with --port-offset N, which is added to every port", *lines))


def _bind(port: int) -> int | None:
    """The error with which the port refuses a listener; None where it takes one."""
    with socket.socket() as probe:
        # As servers do: connections of an earlier run that linger are no reason to refuse.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError as error:
            return error.errno
    return None


def _reason(code: int, owner: str | None) -> str:
    if code == errno.EACCES:
        return "ports below 1024 are root's"
    return f"taken by {owner or 'a process of another user'}"


def _listeners() -> dict[int, str]:
    """Who listens on which port, as far as this user may know."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.AccessDenied:
        return {}
    return {
        connection.laddr.port: _describe(connection.pid)
        for connection in connections
        if connection.laddr and connection.status == psutil.CONN_LISTEN and connection.pid
    }


def _describe(pid: int) -> str:
    try:
        return f"{psutil.Process(pid).name()} (pid {pid})"
    except psutil.Error:
        return f"pid {pid}"
