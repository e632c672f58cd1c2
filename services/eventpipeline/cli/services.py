"""The services. Each reads its settings from the environment."""

from __future__ import annotations

import os
from importlib import import_module

import uvloop

from eventpipeline.cli.output import fail
from eventpipeline.settings import CollectorSettings, Environment, GatewaySettings, ReporterSettings, SettingsError


def gateway() -> int:
    """Take events over HTTP and put them on the stream.

    Settings come from the environment: NATS_URL, SOURCES (comma-separated), PORT, LOG_LEVEL, MAX_BODY_BYTES, … —
    docs/configuration.md lists all. SIGTERM drains; a second one ends it at once.
    """
    return _run("gateway", GatewaySettings)


def collector() -> int:
    """Take the events of one source from the stream into Postgres.

    Settings come from the environment: NATS_URL, DATABASE_URL, SOURCE, PORT, LOG_LEVEL, … — docs/configuration.md
    lists all. SIGTERM lets the batch in hand be stored first; a second one ends it at once.
    """
    return _run("collector", CollectorSettings)


def reporter() -> int:
    """Answer reports over HTTP.

    Settings come from the environment: DATABASE_URL, NATS_URL, SOURCES, PORT, LOG_LEVEL, … — docs/configuration.md
    lists all. SIGTERM drains; a second one ends it at once.
    """
    return _run("reporter", ReporterSettings)


def _run(service: str, settings: type[Environment]) -> int:
    try:
        read = settings.read(os.environ)
    except SettingsError as error:
        return fail(str(error))
    # Imported only now, so that a mistake in the settings is told at once.
    uvloop.run(import_module(f"eventpipeline.{service}.app").run(read))
    return 0
