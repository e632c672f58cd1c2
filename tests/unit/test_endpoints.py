"""The table of docs/security.md names every endpoint of the applications, and for each a test that is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute, Mount, Route

from eventpipeline.collector.app import create_app as collector
from eventpipeline.gateway.app import create_app as gateway
from eventpipeline.reporter.access import OPEN_FOLDERS, OPEN_PATHS
from eventpipeline.reporter.app import create_app as reporter
from eventpipeline.settings import GatewaySettings, ReporterSettings
from eventpipeline.sources import built_in
from eventpipeline.store.pool import open_pool
from eventpipeline.stream import Stream
from eventpipeline.telemetry import Health

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("facebook", "tiktok")
NATS = "nats://127.0.0.1:9"


class Row(NamedTuple):
    service: str
    method: str
    path: str
    who: str
    proof: str


def table() -> Iterator[Row]:
    """The rows of the table: a service, `METHOD path` once or more, who may call it, the tests."""
    text = (ROOT / "docs" / "security.md").read_text().split("<!-- endpoints -->")[1]
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and "`" in cells[1]:
            for called in re.findall(r"`([A-Z, ]+) (/[^`]*)`", cells[1]):
                for method in called[0].split(", "):
                    yield Row(cells[0], method, called[1], cells[2], cells[3])


def endpoints(service: str, routes: Iterable[BaseRoute]) -> Iterator[tuple[str, str, str]]:
    for route in routes:
        if isinstance(route, Mount):
            yield service, "GET", f"{route.path}/…"
            continue
        assert isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}:
            yield service, method, route.path


async def _routes() -> set[tuple[str, str, str]]:
    sending = GatewaySettings(nats_url=NATS, sources=SOURCES)
    reading = ReporterSettings(nats_url=NATS, sources=SOURCES, database_url="postgresql://127.0.0.1:9/x")
    pool = open_pool(reading.database_url, name="reporter", read_only=True, max_size=1)
    known = tuple(map(built_in, SOURCES))
    read = reporter(reading, pool, Stream(reading, "r"), CollectorRegistry(), Health())
    applications = {
        "gateway": gateway(sending, known, Stream(sending, "g"), CollectorRegistry(), Health()).routes,
        "collector": collector(CollectorRegistry(), Health()).routes,
        "reporter": read.app.app.routes if hasattr(read.app, "app") else read.app.routes,  # type: ignore[attr-defined]
    }
    return {one for service, routes in applications.items() for one in endpoints(service, routes)}


async def test_the_table_names_every_endpoint_and_no_other() -> None:
    named = [(row.service, row.method, row.path) for row in table()]
    assert len(named) == len(set(named))
    assert set(named) == await _routes()


@pytest.mark.parametrize("row", list(table()), ids=lambda row: f"{row.service} {row.method} {row.path}")
def test_each_endpoint_has_a_test_that_is_there(row: Row) -> None:
    named = re.findall(r"`(test_\w+)`", row.proof)
    assert named, f"{row}: name the test that others cannot, or the test that it is open"
    files = {file: file.read_text() for file in (ROOT / "tests").rglob("test_*.py")}
    for name in named:
        assert [file for file, text in files.items() if f"def {name}(" in text], f"{name} is nowhere"


def test_what_the_table_calls_open_is_open_on_the_reporter() -> None:
    rows = [row for row in table() if row.service == "reporter"]
    opened = {row.path for row in rows if row.who.startswith("anyone")}
    folders = {f"{folder}…" for folder in OPEN_FOLDERS}
    assert opened == OPEN_PATHS | folders
    for row in rows:
        if row.path not in opened:
            assert row.who.startswith("operate" if row.method != "GET" else "read"), row
