"""How many requests are taken for a source: a token bucket each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from eventpipeline.authentication import RateLimit


class Buckets:
    """A bucket for each source that has a limit."""

    def __init__(self, limits: Mapping[str, RateLimit], now: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._now = now
        self._tokens = {name: float(limit.burst) for name, limit in limits.items()}
        self._filled = dict.fromkeys(limits, now())

    def limited(self, sources: Iterable[str]) -> set[str]:
        """Those of `sources` that have a limit."""
        return self._limits.keys() & set(sources)

    def take(self, sources: Iterable[str]) -> float:
        """Takes a token of each of `sources` and returns 0, or none and returns the seconds until there is one."""
        limited = self.limited(sources)
        wait = max((self._wait(name) for name in limited), default=0.0)
        if not wait:
            for name in limited:
                self._tokens[name] -= 1
        return wait

    def _wait(self, name: str) -> float:
        limit, now = self._limits[name], self._now()
        gained = (now - self._filled[name]) * limit.requests_per_second
        self._tokens[name] = min(float(limit.burst), self._tokens[name] + gained)
        self._filled[name] = now
        return max(0.0, (1 - self._tokens[name]) / limit.requests_per_second)
