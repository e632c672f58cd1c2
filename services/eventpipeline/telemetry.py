"""What every service shows of itself: JSON logs, metrics, liveness and readiness.

Each process has a registry of its own, passed down from its entry point: two services in one process would otherwise
count into each other.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import orjson
import structlog
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventpipeline.log_lines import LineLoggerFactory

CORRELATION_HEADER = "x-correlation-id"
_CORRELATION_ID = re.compile(r"[\x21-\x7e]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_PATH = re.compile(r"[A-Za-z0-9._~/-]{0,256}")
PROBES = frozenset({"/livez", "/readyz", "/metrics", "/health/liveness", "/health/readiness"})
"""What the cluster and monitoring ask: open to whoever is inside, and not worth a log line."""

SECURITY_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
"""What every answer has, errors too, where it says nothing else: it is kept nowhere, shown in no frame, and is what its
content type says. There are no CORS headers: no page of another origin may read anything."""
_SECURITY = tuple((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
_CORRELATION = CORRELATION_HEADER.encode()
_OWN_NAMES = frozenset({_CORRELATION, *(name for name, _ in _SECURITY)})

correlation_id: ContextVar[str | None] = ContextVar("correlation_id", default=None)


def configure_logging(service: str, *, level: str, environment: str) -> None:
    """Sends all log lines of this process to stdout: JSON, or readable text where stdout is a terminal."""
    shared: list[structlog.types.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _add_context(service, environment),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.dev.ConsoleRenderer()
        if sys.stdout.isatty()
        else structlog.processors.JSONRenderer(serializer=lambda event, **_: orjson.dumps(event, default=str).decode())
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=LineLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module; their lines look the same.
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)


def silence_logging() -> None:
    """Nothing is logged by this process: a command tells people what happens in words of its own."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _add_context(service: str, environment: str) -> structlog.types.Processor:
    def add(_logger: object, _method: str, event: structlog.types.EventDict) -> structlog.types.EventDict:
        event["service"] = service
        event["environment"] = environment
        if current := correlation_id.get():
            event.setdefault("correlationId", current)
        return event

    return add


def log(name: str) -> Any:
    """The logger of one module."""
    return structlog.get_logger(module=name)


def new_registry() -> CollectorRegistry:
    """A registry with the metrics of the process itself."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def _header(scope: Scope, name: bytes) -> str:
    """The first header of that name; empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1")
    return ""


def correlation_id_of(given: str) -> str:
    """The correlation id that a request brings, or a new one where it brings none that is fit to be passed on."""
    return given if _CORRELATION_ID.fullmatch(given) else _new_id()


_ids = random.Random()  # noqa: S311 - names requests, and proves nothing


def _new_id() -> str:
    """A random UUID (RFC 9562, version 4), without a question to the kernel for each."""
    return str(uuid.UUID(int=_ids.getrandbits(128), version=4))


def traceparent_of(headers: Mapping[str, str]) -> str | None:
    """The W3C trace context that a request brings, if it is well-formed."""
    given = headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else None


Check = Callable[[], Awaitable[str | None]]
"""Says what is wrong with a dependency, or None where it answers."""


class Health:
    """Whether this service lives, and whether it is ready.

    It lives while `beat` was called within the last `stale_after` seconds. It is ready when it does not drain and each
    required check says None; checks that are not required are only shown.
    """

    def __init__(self, *, stale_after: float = 60.0) -> None:
        self._stale_after = stale_after
        self._last_beat = time.monotonic()
        self._required: dict[str, Check] = {}
        self._shown: dict[str, Check] = {}
        self.draining = False

    def beat(self) -> None:
        self._last_beat = time.monotonic()

    def require(self, name: str, check: Check) -> None:
        self._required[name] = check

    def show(self, name: str, check: Check) -> None:
        self._shown[name] = check

    async def liveness(self, _request: Request) -> Response:
        age = time.monotonic() - self._last_beat
        alive = age < self._stale_after
        body = {"status": "ok" if alive else "stale", "lastLoopSecondsAgo": round(age, 1)}
        return JSONResponse(body, 200 if alive else 503)

    async def readiness(self, _request: Request) -> Response:
        checks = self._required | self._shown
        # At the same time, or whoever asks would have given up when each of them takes its time.
        faults = dict(zip(checks, await asyncio.gather(*map(_run, checks.values())), strict=True))
        ready = not self.draining and not any(faults[name] for name in self._required)
        body = {
            "status": "draining" if self.draining else "ok" if ready else "not ready",
            "checks": {name: fault or "ok" for name, fault in faults.items()},
        }
        return JSONResponse(body, 200 if ready else 503)


async def _run(check: Check) -> str | None:
    try:
        return await asyncio.wait_for(check(), timeout=2.0)
    except TimeoutError:
        return "no answer within 2 s"


def routes(health: Health, registry: CollectorRegistry) -> list[Route]:
    """The routes that every service has."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return [
        Route("/livez", health.liveness),
        Route("/readyz", health.readiness),
        Route("/health/liveness", health.liveness),
        Route("/health/readiness", health.readiness),
        Route("/metrics", metrics),
    ]


def _logged(path: str) -> str:
    """As much of a path as any of ours could be. What follows may be a query that was encoded wrongly, with a token."""
    found = _PATH.match(path)
    known = found[0] if found else ""
    return known if len(known) == len(path) else f"{known}…"


class RequestMiddleware:
    """Gives each request its correlation id and one log line, and each answer its headers; closes connections while the
    service drains.

    Plain ASGI: the framework's own middleware form costs two thirds of the requests a second.
    """

    def __init__(self, app: ASGIApp, health: Health) -> None:
        self.app = app
        self._health = health
        self._log = log("http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        identity = correlation_id_of(_header(scope, _CORRELATION))
        # Never reset: the server runs each request in a context of its own, and the handler of unexpected errors, which
        # stands outside of this, names it too.
        correlation_id.set(identity)
        status = 500

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = (*_SECURITY, (_CORRELATION, identity.encode()))
                headers = list(message.get("headers", ()))
                names = [name for name, _ in headers]
                # Said of all at once, which of nearly all answers is so.
                headers += own if _OWN_NAMES.isdisjoint(names) else (one for one in own if one[0] not in names)
                if self._health.draining:
                    headers.append((b"connection", b"close"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        finally:
            level = "debug" if scope["path"] in PROBES else "info"
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            getattr(self._log, level)(
                "request", method=scope["method"], path=_logged(scope["path"]), status=status,
                milliseconds=milliseconds, **scope.get("state", {}).get("log", {}),
            )  # fmt: skip
