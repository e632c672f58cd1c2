"""Log lines, of which those of one turn of the event loop are written at once.

The requests of a group are answered in the same turn; to write a line is a question to the kernel, and would be
one for each of them.
"""

from __future__ import annotations

import asyncio
import atexit
import threading
from typing import TextIO


class LineLogger:
    """What structlog has its lines written by; threads may share one."""

    def __init__(self, file: TextIO) -> None:
        self._file = file
        self._held: list[str] = []
        self._flushed_by: asyncio.AbstractEventLoop | None = None
        """The event loop that is about to write what is held."""
        self._lock = threading.RLock()
        atexit.register(self.flush)

    def msg(self, message: str) -> None:
        """Writes a line: in a moment where there is an event loop, or else now."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        with self._lock:
            self._held.append(f"{message}\n")
            if loop is None:
                self.flush()
            elif loop is not self._flushed_by:  # one that has ended before it could has left its lines here
                loop.call_soon(self.flush)
                self._flushed_by = loop

    debug = info = warning = warn = error = critical = exception = fatal = failure = log = msg

    def flush(self) -> None:
        with self._lock:
            lines, self._held, self._flushed_by = "".join(self._held), [], None
            if lines:
                self._file.write(lines)
                self._file.flush()


class LineLoggerFactory:
    """Makes loggers that share one file, and its order."""

    def __init__(self, file: TextIO) -> None:
        self._logger = LineLogger(file)

    def __call__(self, *_: object) -> LineLogger:
        return self._logger
