"""The reporter's HTTP application."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp

from eventpipeline.apidocs import docs_routes
from eventpipeline.authentication import ReaderAuthentication
from eventpipeline.files import WholeFile, WholeFiles
from eventpipeline.keys import KEYS_DIR, KeyRing
from eventpipeline.problems import HANDLERS
from eventpipeline.readers import Provider
from eventpipeline.reporter.access import Access, AccessMiddleware
from eventpipeline.reporter.dead_letters import DeadLetterEndpoints
from eventpipeline.reporter.metrics import ReporterMetrics
from eventpipeline.reporter.openapi import openapi
from eventpipeline.reporter.replay import ReplayEndpoints
from eventpipeline.reporter.reports import ReportEndpoints
from eventpipeline.reporter.responses import on_store_unavailable
from eventpipeline.reporter.session import SessionEndpoint
from eventpipeline.reporter.status import StatusEndpoint
from eventpipeline.server import serve
from eventpipeline.settings import ReporterSettings
from eventpipeline.sources import load
from eventpipeline.store import StoreUnavailable, pool
from eventpipeline.store.address import address
from eventpipeline.store.pool import Pool
from eventpipeline.stream import Stream, Tends
from eventpipeline.telemetry import Health, RequestMiddleware, configure_logging, new_registry, routes

PAGE = Path(__file__).parent / "page"
_PAGE_HEADERS = {
    "cache-control": "no-cache",
    "content-security-policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
_CONNECTIONS = 8


def create_app(
    settings: ReporterSettings, store: Pool, stream: Stream, registry: CollectorRegistry, health: Health
) -> ASGIApp:
    """The application over an opened `store` and an already started `stream`."""
    sources = load(settings.sources, settings.declarations)
    metrics = ReporterMetrics(registry)
    keys = KeyRing(Path(settings.keys_dir or KEYS_DIR), os.environ)
    access = Access(settings.authentication, keys, _provider(settings.authentication), metrics, settings.rate_limit)
    session = SessionEndpoint(access)
    reports = ReportEndpoints(sources, store, metrics)
    dead_letters = DeadLetterEndpoints(sources, store)
    resent = ReplayEndpoints(sources, store, settings.gateway_url, health)
    health.require("store", lambda: pool.check(store))
    # Reports are answered without the stream; only the lag is not known then.
    health.show("stream", stream.check)
    if not access.is_open:
        health.show("keys", access.check)
    app = Starlette(
        routes=[
            Route("/reports/events", reports.events),
            Route("/reports/revenue", reports.revenue),
            Route("/reports/demographics", reports.demographics),
            Route("/status", StatusEndpoint(sources, store, stream).status),
            Route("/dead-letters", dead_letters.several, methods=["GET", "DELETE"]),
            Route("/dead-letters/export", resent.export),
            Route("/dead-letters/replay", resent.replay, methods=["POST"]),
            Route("/dead-letters/{id}", dead_letters.one, methods=["GET", "DELETE"]),
            Route("/session", session.any, methods=["GET", "POST", "DELETE"]),
            *_page_routes(),
            *routes(health, registry),
            *docs_routes(openapi(sources, is_open=access.is_open)),
        ],
        middleware=[Middleware(AccessMiddleware, access=access)],
        exception_handlers={**HANDLERS, StoreUnavailable: on_store_unavailable},
    )
    # Outside of all else: the answer to an unexpected error is made outside of Starlette's own middleware.
    return RequestMiddleware(app, health)


def _provider(authentication: ReaderAuthentication | None) -> Provider | None:
    if authentication is None or authentication.oidc is None:
        return None
    # Only where it is used: the cryptography behind it takes 20 MB.
    from eventpipeline.reporter.oidc import OidcProvider

    return OidcProvider(authentication.oidc)


def _page_routes() -> list[BaseRoute]:
    async def page(_request: Request) -> Response:
        return WholeFile(PAGE / "index.html", headers=_PAGE_HEADERS)

    return [Route("/", page), Mount("/assets", _Assets(directory=PAGE, check_dir=False))]


class _Assets(WholeFiles):
    """Files that a browser asks for again after an upgrade: their names do not change with their contents."""

    def file_response(self, *args: object, **kwargs: object) -> Response:
        response = super().file_response(*args, **kwargs)  # type: ignore[arg-type]
        response.headers.update(_PAGE_HEADERS)
        return response


async def run(settings: ReporterSettings) -> None:
    """Runs the reporter until it is told to stop."""
    configure_logging("reporter", level=settings.log_level, environment=settings.environment)
    health = Health()
    store = pool.open_pool(
        address(settings.database_url, settings.database_tls_dir),
        name="reporter", read_only=True, max_size=_CONNECTIONS,
    )  # fmt: skip
    stream = Stream(settings, "reporter", Tends.NOTHING)
    app = create_app(settings, store, stream, new_registry(), health)
    # Neither is waited for: the reporter starts, and says what is missing, while they are away.
    await store.open(wait=False)
    stream.start()
    try:
        await serve(app, settings, health, drain_seconds=settings.drain_seconds)
    finally:
        await stream.close()
        await store.close()
