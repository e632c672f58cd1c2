"""The gateway's HTTP application."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from collections.abc import Mapping, Sequence
from functools import cached_property
from operator import itemgetter
from pathlib import Path
from typing import Any

import orjson
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eventpipeline.apidocs import docs_routes
from eventpipeline.gateway import cloudevents
from eventpipeline.gateway.bodies import JSON, Body, InFlight, body_was_read, check_document, events_of
from eventpipeline.gateway.cloudevents import Fault, Translator
from eventpipeline.gateway.door import Door, Visitor
from eventpipeline.gateway.ingest import NO_FAULTS, Ingest, Outcome
from eventpipeline.gateway.mapped import Mapper
from eventpipeline.gateway.metrics import GatewayMetrics
from eventpipeline.gateway.openapi import openapi
from eventpipeline.keys import KEYS_DIR, KeyRing
from eventpipeline.problems import HANDLERS, Problem
from eventpipeline.server import serve
from eventpipeline.settings import GatewaySettings
from eventpipeline.sources import Source, load
from eventpipeline.stream import DEAD, Stream, StreamFull, StreamUnavailable, Tends
from eventpipeline.telemetry import (
    Health,
    RequestMiddleware,
    configure_logging,
    correlation_id,
    log,
    new_registry,
    routes,
    traceparent_of,
)

EVENTS_PATH = "/webhook/events"
SOURCE_PATH = "/webhook/{source}"
_RETRY_AFTER_FULL = 30
_RETRY_AFTER_AWAY = 2
_START_SECONDS, _OTHERS_SECONDS = 3.0, 60.0


def create_app(
    settings: GatewaySettings, sources: tuple[Source, ...], stream: Stream, registry: CollectorRegistry, health: Health
) -> Starlette:
    """The application over an already started `stream`."""
    metrics = GatewayMetrics(registry, settings.sources)
    # A body of the size that is taken must have room at least when it is alone.
    in_flight = InFlight(max(settings.max_in_flight_bytes, settings.max_body_bytes))
    metrics.in_flight_bytes.set_function(lambda: in_flight.bytes)
    ingest = Ingest(
        sources, stream, metrics, ack_timeout=settings.ack_timeout_seconds, retention_days=settings.retention_days
    )
    door = Door(
        settings.sources,
        settings.authentication or {},
        settings.rate_limits or {},
        KeyRing(Path(settings.keys_dir or KEYS_DIR), os.environ),
        metrics,
    )
    if settings.authentication:
        health.show("keys", door.check)
    mappers = {source.name: Mapper(source, source.mapping) for source in sources if source.mapping}
    endpoint = _EventsEndpoint(settings, ingest, in_flight, metrics, door, Translator(sources), mappers)
    # It answers while JetStream is away: callers must get the 503, not a refused connection.
    health.show("stream", stream.check)
    return Starlette(
        routes=[
            Route(EVENTS_PATH, endpoint.post, methods=["POST"]),
            Route(EVENTS_PATH, endpoint.options, methods=["OPTIONS"]),
            Route(SOURCE_PATH, endpoint.options, methods=["OPTIONS"]),
            Route(SOURCE_PATH, endpoint.post, methods=["POST"]),
            Route(SOURCE_PATH, endpoint.get, methods=["GET"]),
            *routes(health, registry),
            *docs_routes(openapi(sources, settings)),
        ],
        middleware=[Middleware(RequestMiddleware, health=health), Middleware(_Front, endpoint=endpoint)],
        exception_handlers=HANDLERS,
    )


class _Front:
    """Takes what nearly all requests are past the routing, which of a small one would cost as much as its event."""

    def __init__(self, app: ASGIApp, endpoint: _EventsEndpoint) -> None:
        self._app = app
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] == EVENTS_PATH:
            response = await self._endpoint.post(_Request(scope, receive, send))
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)


class _Request(Request):
    @cached_property
    def headers(self) -> Headers:
        return _Headers(raw=self.scope["headers"])


class _Headers(Headers):
    """Headers that are looked up; Starlette's are searched each time, and raise where there is none."""

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        super().__init__(raw=raw)
        # Of several of a name the first counts.
        self._first = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(raw)}

    def get(self, key: str, default: Any = None) -> Any:
        return self._first.get(key.lower(), default)

    def __contains__(self, key: Any) -> bool:
        return key.lower() in self._first


class _EventsEndpoint:
    def __init__(
        self,
        settings: GatewaySettings,
        ingest: Ingest,
        in_flight: InFlight,
        metrics: GatewayMetrics,
        door: Door,
        translator: Translator,
        mappers: Mapping[str, Mapper],
    ) -> None:
        self._settings = settings
        self._ingest = ingest
        self._in_flight = in_flight
        self._metrics = metrics
        self._door = door
        self._translator = translator
        self._mappers = mappers

    async def get(self, request: Request) -> Response:
        """Meta's verification of the endpoint."""
        challenge = self._door.verified(request.path_params["source"], request.query_params)
        return PlainTextResponse(challenge)

    async def post(self, request: Request) -> Response:
        started = time.perf_counter()
        try:
            response = await self._take(request)
        except Problem as problem:
            response = _Unread(request, problem.response())
        self._metrics.answered(response.status_code, time.perf_counter() - started)
        return response

    async def _take(self, request: Request) -> Response:
        identity = correlation_id.get() or ""
        visitor = self._door.knock(request.path_params.get("source"), request.headers)
        with Body(request, self._in_flight, self._settings.max_body_bytes) as body:
            allowed, text = await self._admitted(visitor, body)
            events, faults = await self._events(request, body, text)
            self._door.limit(visitor, allowed, events)
            taking = self._ingest.take(events, identity, traceparent_of(request.headers), allowed, faults)
            # Without a name here it is gone once it is packed: its messages take as much again.
            del text, events
            try:
                outcome = await taking
            except StreamFull as error:
                raise Problem(503, str(error), retry_after=_RETRY_AFTER_FULL) from error
            except StreamUnavailable as error:
                raise Problem(503, str(error), retry_after=_RETRY_AFTER_AWAY) from error
        request.state.log = {"accepted": outcome.accepted, "rejected": outcome.rejected}
        return _answer(outcome, identity, as_platforms_want=visitor.platform)

    async def _events(self, request: Request, body: Body, text: bytes) -> tuple[Sequence[Any], Mapping[int, Fault]]:
        """The events of a body, CloudEvents translated, and what is wrong with those that could not be."""
        binary, source = cloudevents.is_binary(request.headers), request.path_params.get("source")
        if binary and body.media_type == JSON:
            check_document(text := text.strip())
            one = (cloudevents.from_binary(request.headers, text),)
            return self._translator.translated(one, source)
        if body.media_type in (cloudevents.STRUCTURED, cloudevents.BATCHED):
            cloudevents.check_form(body.media_type, text)
            # Made one by one in Python: in a thread, so that others get their turn.
            several = await events_of(text, JSON)
            return await asyncio.to_thread(self._translator.translated, several, source)
        events = await events_of(text, body.media_type)
        if mapper := self._mappers.get(source or ""):
            return await asyncio.to_thread(mapper.events, events)
        return events, NO_FAULTS

    async def options(self, request: Request) -> Response:
        """The handshake of CloudEvents, before a sender delivers."""
        source = request.path_params.get("source")
        if source is not None and source not in self._settings.sources:
            raise Problem(404, "there is no such source here")
        limit = (self._settings.rate_limits or {}).get(source or "")
        rate = limit.requests_per_second if limit else None
        return Response(headers=cloudevents.handshake(request.headers, rate))

    async def _admitted(self, visitor: Visitor, body: Body) -> tuple[tuple[str, ...], bytes]:
        """The sources that may be sent, and the body, which is not decompressed before it is known whose it is."""
        if not visitor.needs_bytes:
            return await self._door.admit(visitor, b""), await body.read()
        raw = await body.read_raw()
        return await self._door.admit(visitor, raw), await body.decoded(raw)


def _answer(outcome: Outcome, identity: str, *, as_platforms_want: bool) -> Response:
    """What became of the events.

    Meta and TikTok take anything but 200 for a failure, and send the whole again for hours, or give up for good; what
    was wrong with an event is kept as a dead letter, and no other try would mend it.
    """
    counts: dict[str, Any] = {
        "accepted": outcome.accepted,
        "rejected": outcome.rejected,
        "errors": sorted(outcome.errors, key=itemgetter("index")),
    }
    if outcome.rejected and not outcome.accepted and not as_platforms_want:
        return Problem(422, "every event is invalid; see errors", **counts).response()
    status = 200 if as_platforms_want else 202
    return Response(orjson.dumps({**counts, "correlationId": identity}), status, media_type="application/json")


class _Unread(Response):
    """A refusal that may come before the body was read.

    The answer goes out first. Then what the client still sends is thrown away for a while: a connection that is
    closed under a client that sends would cost it the answer.
    """

    _SECONDS = 10.0

    def __init__(self, request: Request, response: Response) -> None:
        super().__init__(response.body, response.status_code, dict(response.headers))
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*self.raw_headers, (b"connection", b"close")]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": bytes(self.body), "more_body": True})
        if not body_was_read(self._request):
            try:
                async with asyncio.timeout(self._SECONDS):
                    while _goes_on(await receive()):
                        pass
            except TimeoutError:
                pass
        await send({"type": "http.response.body", "body": b""})


def _goes_on(message: Message) -> bool:
    return message["type"] == "http.request" and bool(message.get("more_body"))


async def run(settings: GatewaySettings) -> None:
    """Runs the gateway until it is told to stop."""
    configure_logging("gateway", level=settings.log_level, environment=settings.environment)
    sources = load(settings.sources, settings.declarations)
    health = Health()
    stream = Stream(settings, "gateway", Tends.MISSING_STREAMS if settings.makes_streams else Tends.NOTHING)
    stream.start()
    app = create_app(settings, sources, stream, new_registry(), health)
    ensuring = asyncio.create_task(_ensure(stream, settings))
    # What lives now lives for ever; the collector need not look at it again.
    gc.collect()
    gc.freeze()
    # A body is 50,000 small values that are gone a moment later; looking for cycles among them finds none.
    gc.set_threshold(50_000, 20, 50)
    try:
        # Nobody is sent here before it can take events; but where JetStream is away, callers must get the 503.
        await asyncio.wait((ensuring,), timeout=_START_SECONDS)
        # A login that is refused may be known in a moment, and others may be about to make the streams; meanwhile those
        # serve who can.
        if not ensuring.done() and (stream.is_refused or (stream.is_connected and not settings.makes_streams)):
            await asyncio.wait((ensuring,), timeout=_OTHERS_SECONDS)
        await serve(app, settings, health, drain_seconds=settings.drain_seconds)
    finally:
        ensuring.cancel()
        await stream.close()


async def _ensure(stream: Stream, settings: GatewaySettings) -> None:
    """Makes the streams before the first event comes, or waits until others have, as soon as NATS is there."""
    await stream.connected()
    for name in (*settings.sources, DEAD):
        while True:
            try:
                await stream.ensure(name)
                if settings.makes_streams or await stream.is_there(name):
                    break
                await asyncio.sleep(0.2)
            except StreamUnavailable as error:
                log("gateway").debug("streams are not there yet", error=str(error))
                await asyncio.sleep(1)
