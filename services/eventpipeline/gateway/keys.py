"""The keys of senders: read from files that may change at any time, or from the environment."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from eventpipeline.authentication import KeyRef, variable
from eventpipeline.signatures import Key, Method, read_key
from eventpipeline.telemetry import log

_AGE = 2.0
"""Seconds after which a file is read again: a new key is known so soon after it is there."""
_log = log("keys")


class KeysMissing(Exception):  # noqa: N818 - a state of things, for which a caller is not to blame
    """None of the keys that are needed can be read; the message names them."""


class KeyRing:
    """Reads keys from `folder`/NAME/KEY, or from the environment."""

    def __init__(self, folder: Path, environ: Mapping[str, str], now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._environ = environ
        self._now = now
        self._read: dict[tuple[KeyRef, type[Method]], tuple[float, Key | str]] = {}

    def of(self, method: Method, references: tuple[KeyRef, ...]) -> tuple[Key, ...]:
        """Those of the keys that are there. Raises KeysMissing where none is."""
        found = [self._key(method, reference) for reference in references]
        keys = tuple(key for key in found if isinstance(key, Key))
        if not keys:
            raise KeysMissing("; ".join(fault for fault in found if isinstance(fault, str)))
        return keys

    def fault(self, method: Method, references: tuple[KeyRef, ...]) -> str | None:
        """Which of the keys cannot be read, and why; None where all can."""
        found = (self._key(method, reference) for reference in references)
        return "; ".join(fault for fault in found if isinstance(fault, str)) or None

    def _key(self, method: Method, reference: KeyRef) -> Key | str:
        known = self._read.get((reference, type(method)))
        if known and self._now() - known[0] < _AGE:
            return known[1]
        found = self._fresh(method, reference)
        if isinstance(found, str) and (known is None or isinstance(known[1], Key)):
            _log.error("a key of a sender cannot be read", fault=found)
        self._read[reference, type(method)] = (self._now(), found)
        return found

    def _fresh(self, method: Method, reference: KeyRef) -> Key | str:
        called = f"key {reference.key} of {reference.name}"
        try:
            written = (self._folder / reference.name / reference.key).read_bytes()
        except OSError as error:
            given = self._environ.get(variable(reference))
            if given is None:
                return f"{called}: {error.strerror or error}"
            written = given.encode()
        try:
            return read_key(method, written)
        except ValueError as error:
            return f"{called} {error}"
