"""A gateway and two reporters, one of them open, with NATS and Postgres, as processes of this machine."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from brute_force import random_events
from declared import WEBSHOP
from eventpipeline.authentication import variable
from eventpipeline.gateway.openapi import openapi as gateway_document
from eventpipeline.reporter.openapi import openapi as reporter_document
from eventpipeline.settings import GatewaySettings
from eventpipeline.sources import BUILT_IN, load
from eventpipeline.spec import EventPipeline
from fuzz.requests import AUTHENTICATION, KEYS, SOURCES
from gateways import running_gateway
from identity import AUDIENCE, provider
from platforms import FILE
from reader_keys import OPERATE, READ, bearing, closed
from reporter_client import fill, reporter_process
from servers import nats_server, postgres_server


@dataclass(frozen=True)
class Target:
    """A service in one mode. `secrets` are what its log must never hold."""

    name: str
    mode: str
    port: int
    process: subprocess.Popen[bytes]
    log: Path
    document: dict[str, Any]
    headers: Mapping[str, str]
    secrets: tuple[str, ...]

    def resident_bytes(self) -> int:
        found = re.search(r"^VmRSS:\s+(\d+) kB$", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        assert found
        return int(found[1]) * 1024


@contextmanager
def running_targets(folder: Path) -> Iterator[tuple[Target, ...]]:
    for name in ("nats", "postgres", "keys"):
        (folder / name).mkdir()
    with (
        nats_server(folder / "nats", max_file_bytes=2**33) as nats_url,
        postgres_server(folder / "postgres") as database,
        provider() as identity,
        _gateway(folder, nats_url) as gateway,
    ):
        fill(database, random_events(seed=5, count=200))
        oidc = {"issuer": identity.issuer, "audience": AUDIENCE}
        with (
            _reporter("open", database, folder, {}) as first,
            _reporter("closed", database, folder, closed(folder / "keys", oidc=oidc)) as second,
        ):
            yield gateway, first, second


@contextmanager
def _gateway(folder: Path, nats_url: str) -> Iterator[Target]:
    platforms = EventPipeline.model_validate(yaml.safe_load(FILE.read_text())).spec.declarations
    declarations = {name: WEBSHOP for name in SOURCES if name not in BUILT_IN} | {"meta-leads": platforms["meta-leads"]}
    variables = {
        variable(reference): KEYS[f"{reference.name}/{reference.key}"]
        for one in AUTHENTICATION.values()
        for reference in one.references
    }
    settings: dict[str, Any] = {
        "sources": SOURCES, "declarations": declarations, "authentication": AUTHENTICATION, "max_body_bytes": 2**20,
        "max_in_flight_bytes": 2**22, "stream_bytes": 2**26, "dead_bytes": 2**28,
    }  # fmt: skip
    document = gateway_document(load(SOURCES, declarations), GatewaySettings(nats_url=nats_url, **settings))
    with running_gateway(folder, nats_url, environ=variables, **settings) as gateway:
        secrets = tuple(set(KEYS.values()))
        yield Target("gateway", "gateway", gateway.port, gateway.process, gateway.log, document, {}, secrets)


@contextmanager
def _reporter(name: str, database: str, folder: Path, settings: dict[str, Any]) -> Iterator[Target]:
    log = folder / f"reporter-{name}.log"
    document = reporter_document(load(BUILT_IN), is_open=not settings)
    with reporter_process(database, log, **settings) as (process, address):
        headers = bearing(OPERATE) if settings else {}
        port = int(address.rpartition(":")[2])
        yield Target(f"reporter, {name}", "reporter", port, process, log, document, headers, (READ, OPERATE))
