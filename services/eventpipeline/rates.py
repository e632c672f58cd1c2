"""How many requests are taken: token buckets, of the sources of a gateway and of the callers of a reporter. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping

from eventpipeline.authentication import RateLimit

Now = Callable[[], float]
_MOST_CALLERS = 10_000
"""A caller that is forgotten begins with a full bucket: with so many of them, that is no way around a limit."""


class Bucket:
    """Full at first: `burst` tokens, and `requests_per_second` more each second."""

    def __init__(self, limit: RateLimit, now: Now) -> None:
        self._limit = limit
        self._now = now
        self._tokens, self._filled = float(limit.burst), now()

    def wait(self) -> float:
        """Seconds until there is a token; 0 where there is one."""
        now = self._now()
        gained = (now - self._filled) * self._limit.requests_per_second
        self._tokens, self._filled = min(float(self._limit.burst), self._tokens + gained), now
        return max(0.0, (1 - self._tokens) / self._limit.requests_per_second)

    def take(self) -> None:
        """Takes the token that there is."""
        self._tokens -= 1


class Buckets:
    """A bucket for each source that has a limit."""

    def __init__(self, limits: Mapping[str, RateLimit], now: Now = time.monotonic) -> None:
        self._buckets = {name: Bucket(limit, now) for name, limit in limits.items()}

    def limited(self, sources: Iterable[str]) -> set[str]:
        """Those of `sources` that have a limit."""
        return self._buckets.keys() & set(sources)

    def take(self, sources: Iterable[str]) -> float:
        """Takes a token of each of `sources` and returns 0, or none and returns the seconds until there is one."""
        limited = self.limited(sources)
        wait = max((self._buckets[name].wait() for name in limited), default=0.0)
        if not wait:
            for name in limited:
                self._buckets[name].take()
        return wait


class Callers:
    """A bucket for each caller, all with one limit. Who has not called for longest is forgotten first."""

    def __init__(self, limit: RateLimit, now: Now = time.monotonic, most: int = _MOST_CALLERS) -> None:
        self._limit, self._now, self._most = limit, now, most
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, caller: str) -> float:
        """Takes a token of `caller` and returns 0, or none and returns the seconds until there is one."""
        bucket = self._buckets.setdefault(caller, Bucket(self._limit, self._now))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        if wait := bucket.wait():
            return wait
        bucket.take()
        return 0.0
