"""The door: which sources a request may send events of.

    sources = door.knock(...)      by the headers alone; the body is not read for nothing
    await door.admit(...)          by the bytes of the body as they came

What is wrong with a request is counted, and never told.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, QueryParams

from eventpipeline.authentication import Authentication, Bearer, Meta, RateLimit, TikTok
from eventpipeline.events import UNREADABLE, source_of
from eventpipeline.gateway.metrics import GatewayMetrics
from eventpipeline.keys import KeyRing, KeysMissing
from eventpipeline.problems import Problem
from eventpipeline.rates import Buckets
from eventpipeline.signatures import Claim, Method, Reason, Unauthenticated, claimed, key_reader

EVERY = "events"
"""The label of requests to the path of all sources."""
_RETRY_AFTER_KEYS = 30
_LARGE = 256 * 1024
"""Bytes of a body above which its signature is made in a thread: others get their turn meanwhile."""
_MAX_CHALLENGE = 1024


@dataclass(frozen=True)
class Visitor:
    """A request before its body was read."""

    label: str
    open: tuple[str, ...]
    """Sources that anyone may send."""
    claims: tuple[tuple[Method, Claim, tuple[str, ...]], ...] = ()
    """What it claims, and of which sources that lets it send events."""

    @property
    def platform(self) -> bool:
        """Whether it is Meta or TikTok, at the path of their own source."""
        return self.label != EVERY and any(isinstance(method, Meta | TikTok) for method, _, _ in self.claims)

    @property
    def needs_bytes(self) -> bool:
        """Whether the bytes of the body, as they came, have to be known."""
        return any(claim.token is None for _, claim, _ in self.claims)


def _sources_in(events: Iterable[Any]) -> set[str]:
    found = set()
    for event in events:
        with contextlib.suppress(*UNREADABLE):
            found.add(source_of(event).source)
    return found


class Door:
    def __init__(
        self,
        sources: Sequence[str],
        authentication: Mapping[str, Authentication],
        limits: Mapping[str, RateLimit],
        keys: KeyRing,
        metrics: GatewayMetrics,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._sources = tuple(sources)
        self._methods = {
            name: method for name, one in authentication.items() if name in sources and (method := one.method)
        }
        self._keys = keys
        self._buckets = Buckets(limits)
        self._metrics = metrics
        self._now = now

    async def check(self) -> str | None:
        """What is wrong with the keys, for the readiness of the gateway; None where all can be read."""
        faults = (self._keys.fault(key_reader(method), method.keys) for method in self._methods.values())
        return "; ".join(dict.fromkeys(filter(None, faults))) or None

    def knock(self, source: str | None, headers: Headers) -> Visitor:
        """Who knocks with these headers, to send events of `source`, or of any. Raises Problem 401 or 404."""
        if source is not None and source not in self._sources:
            raise Problem(404, "there is no such source here")
        asked = self._sources if source is None else (source,)
        label = source or EVERY
        open_ = tuple(name for name in asked if name not in self._methods)
        by_method: dict[Method, list[str]] = {}
        for name in asked:
            if method := self._methods.get(name):
                by_method.setdefault(method, []).append(name)
        claims, reasons = [], []
        for method, names in by_method.items():
            try:
                claims.append((method, claimed(method, headers.getlist, self._now()), tuple(names)))
            except Unauthenticated as error:
                reasons.append(error.reason)
        if not claims and not open_:
            # What was tried says more than what was not there.
            raise self._refused(label, next((one for one in reasons if one != "missing"), "missing"), asked)
        return Visitor(label, open_, tuple(claims))

    async def admit(self, visitor: Visitor, body: bytes) -> tuple[str, ...]:
        """The sources of which events are taken from `visitor`, whose body is `body`, as its bytes came.

        Raises Problem 401; 429 above the rate limit of the path's source; 503 where no key can be read.
        """
        proven: list[str] = []
        for method, claim, names in visitor.claims:
            try:
                keys = self._keys.of(key_reader(method), method.keys)
            except KeysMissing:
                if not visitor.open and len(visitor.claims) == 1:
                    detail = "the keys of this source cannot be read here; try again later"
                    raise Problem(503, detail, retry_after=_RETRY_AFTER_KEYS) from None
                continue
            holds = asyncio.to_thread(claim.holds, keys, body) if len(body) > _LARGE else None
            if await holds if holds else claim.holds(keys, body):
                proven += names
        allowed = (*visitor.open, *proven)
        if not allowed:
            raise self._refused(visitor.label, "mismatch", tuple(self._methods))
        if visitor.label != EVERY:
            self._limit(visitor.label, allowed)
        return allowed

    def limit(self, visitor: Visitor, allowed: Sequence[str], events: Iterable[Any]) -> None:
        """Counts a request to the path of all sources against the limits of those that are in it.

        Raises Problem 429 above one of them.
        """
        if visitor.label == EVERY and (limited := self._buckets.limited(allowed)):
            self._limit(EVERY, limited & _sources_in(events))

    def _limit(self, label: str, sources: Iterable[str]) -> None:
        if wait := self._buckets.take(sources):
            self._metrics.limited.labels(label).inc()
            raise Problem(429, "too many requests for this source; send fewer", retry_after=math.ceil(wait))

    def verified(self, source: str, query: QueryParams) -> str:
        """What to answer to Meta's verification of the endpoint. Raises Problem 401, 404 or 405."""
        if source not in (*self._sources, EVERY):
            raise Problem(404, "there is no such source here")
        method = self._methods.get(source)
        tokens = method.verify_tokens if isinstance(method, Meta) else ()
        if not method or not tokens:
            raise Problem(
                405, "Method Not Allowed: post events; only Meta verifies by a GET", headers={"allow": "POST"}
            )
        challenge, token = query.get("hub.challenge", ""), query.get("hub.verify_token", "")
        if query.get("hub.mode") != "subscribe" or not 0 < len(challenge) <= _MAX_CHALLENGE or not token:
            raise self._refused(source, "malformed", (source,))
        try:
            keys = self._keys.of(key_reader(method), tokens)
        except KeysMissing:
            detail = "the verify token of this source cannot be read here; try again later"
            raise Problem(503, detail, retry_after=_RETRY_AFTER_KEYS) from None
        if not sum(key.equals(token.encode()) for key in keys):
            raise self._refused(source, "mismatch", (source,))
        return challenge

    def _refused(self, label: str, reason: Reason, asked: Sequence[str]) -> Problem:
        self._metrics.unauthenticated.labels(label, reason).inc()
        # RFC 9110 wants a challenge with a 401; it says the same whatever was wrong.
        bearer = any(isinstance(self._methods.get(name), Bearer) for name in asked)
        challenge = "Bearer" if bearer else "Signature"
        return Problem(401, "the request does not prove that it may send this", headers={"www-authenticate": challenge})
