"""The services. Each reads its settings from the environment."""

from __future__ import annotations

import os
from collections.abc import Coroutine
from typing import Any

import uvloop

from eventpipeline.cli.output import fail
from eventpipeline.settings import CollectorSettings, GatewaySettings, ReporterSettings, SettingsError


def _run(service: Coroutine[Any, Any, None]) -> int:
    uvloop.run(service)
    return 0


def gateway() -> int:
    """Take events over HTTP and put them on the stream.

    Settings come from the environment: NATS_URL, SOURCES (comma-separated), PORT, LOG_LEVEL, MAX_BODY_BYTES, … —
    docs/configuration.md lists all. SIGTERM drains; a second one ends it at once.
    """
    from eventpipeline.gateway.app import run

    try:
        settings = GatewaySettings.read(os.environ)
    except SettingsError as error:
        return fail(str(error))
    return _run(run(settings))


def collector() -> int:
    """Take the events of one source from the stream into Postgres.

    Settings come from the environment: NATS_URL, DATABASE_URL, SOURCE, PORT, LOG_LEVEL, … — docs/configuration.md
    lists all. SIGTERM lets the batch in hand be stored first; a second one ends it at once.
    """
    from eventpipeline.collector.app import run

    try:
        settings = CollectorSettings.read(os.environ)
    except SettingsError as error:
        return fail(str(error))
    return _run(run(settings))


def reporter() -> int:
    """Answer reports over HTTP.

    Settings come from the environment: DATABASE_URL, NATS_URL, SOURCES, PORT, LOG_LEVEL, … — docs/configuration.md
    lists all. SIGTERM drains; a second one ends it at once.
    """
    from eventpipeline.reporter.app import run

    try:
        settings = ReporterSettings.read(os.environ)
    except SettingsError as error:
        return fail(str(error))
    return _run(run(settings))
