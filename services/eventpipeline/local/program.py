"""A program that is run as a child: what it is, before anything runs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

Check = Callable[[int], Awaitable[bool]]
"""Whether the program with this pid is ready (or still well)."""

_CHILD = Path(__file__).with_name("child.py")
_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "SSL_CERT_FILE")


async def always(_pid: int) -> bool:
    return True


async def never(_pid: int) -> bool:
    return False


def nothing() -> None:
    pass


@dataclass(frozen=True)
class Program:
    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    """Beside the few variables that every program inherits."""
    cwd: Path | None = None
    identity: str = "-"
    """Who runs it, as `child.py` reads it."""
    stop_signal: signal.Signals = signal.SIGTERM
    """Asks it to finish; also what it gets when this process is killed."""
    ready: Check = always
    live: Check = always
    """Asked from time to time once it was ready; one that says no for a minute is stopped and started again."""
    stuck: Check = never
    """Asked every second once it was ready: whether it says itself that only a new start helps, and one would now."""
    prepare: Callable[[], None] = nothing
    """Called before each start."""

    def command(self) -> list[str]:
        """The argument list that runs it as a child of this process."""
        return child_command(self.argv, stop_signal=self.stop_signal, identity=self.identity)

    def environ(self) -> dict[str, str]:
        inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        return inherited | dict(self.env)


def child_command(argv: tuple[str, ...], *, stop_signal: signal.Signals, identity: str = "-") -> list[str]:
    wrapper = [sys.executable, "-I", "-S", str(_CHILD)]
    return [*wrapper, str(os.getpid()), str(stop_signal.value), identity, *argv]


def python(*arguments: str) -> tuple[str, ...]:
    """A Python command; -P because a module of the current folder must not stand in for one of ours."""
    return (sys.executable, "-P", *arguments)
