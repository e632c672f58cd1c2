"""The keys of senders and readers: read from files that may change at any time, or from the environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from eventpipeline.authentication import KeyRef, variable
from eventpipeline.telemetry import log

KEYS_DIR = "/etc/eventpipeline/keys"
"""Where the chart mounts the Secrets with keys."""

_AGE = 2.0
"""Seconds after which a file is read again: a new key is known so soon after it is there."""
_log = log("keys")
T = TypeVar("T")
Read = Callable[[bytes], T]


class Fault(str):
    """Why a key cannot be read."""

    __slots__ = ()


class KeysMissing(Exception):  # noqa: N818 - a state of things, for which a caller is not to blame
    """None of the keys that are needed can be read; the message names them."""


class KeyRing:
    """Reads keys from `folder`/NAME/KEY, or from the environment.

    What is written there becomes a key by a function that raises ValueError where it is none.
    """

    def __init__(self, folder: Path, environ: Mapping[str, str], now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._environ = environ
        self._now = now
        self._read: dict[tuple[KeyRef, Read[Any]], tuple[float, Any]] = {}

    def of(self, read: Read[T], references: Sequence[KeyRef]) -> tuple[T, ...]:
        """Those of the keys that are there. Raises KeysMissing where none is."""
        found = [self._key(read, reference) for reference in references]
        keys = tuple(key for key in found if not isinstance(key, Fault))
        if not keys:
            raise KeysMissing("; ".join(str(fault) for fault in found))
        return keys

    def fault(self, read: Read[T], references: Sequence[KeyRef]) -> str | None:
        """Which of the keys cannot be read, and why; None where all can."""
        found = (self._key(read, reference) for reference in references)
        return "; ".join(str(fault) for fault in found if isinstance(fault, Fault)) or None

    def _key(self, read: Read[T], reference: KeyRef) -> T | Fault:
        known = self._read.get((reference, read))
        if known and self._now() - known[0] < _AGE:
            kept: T | Fault = known[1]
            return kept
        found = self._fresh(read, reference)
        if isinstance(found, Fault) and (known is None or not isinstance(known[1], Fault)):
            _log.error("a key cannot be read", fault=str(found))
        self._read[reference, read] = (self._now(), found)
        return found

    def _fresh(self, read: Read[T], reference: KeyRef) -> T | Fault:
        called = f"key {reference.key} of {reference.name}"
        try:
            written = (self._folder / reference.name / reference.key).read_bytes()
        except OSError as error:
            given = self._environ.get(variable(reference))
            if given is None:
                return Fault(f"{called}: {error.strerror or error}")
            written = given.encode()
        try:
            return read(written)
        except ValueError as error:
            return Fault(f"{called} {error}")
