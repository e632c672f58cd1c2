"""`running` inside a process: as the demo, the benchmarks and other tests use it."""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg
import pytest

from eventpipeline.local import LocalError, Options, running
from eventpipeline.local.probe import http_status
from eventpipeline.local.supervisor import Event
from eventpipeline.spec import EventPipeline
from servers import free_offset, nats_server, postgres_server

ENTRY = (sys.executable, str(Path(__file__).parents[1] / "local_stub.py"))
SERVICES = {"gateway", "reporter", "facebook-collector", "tiktok-collector"}


def pipeline(storage: str = "1Gi") -> EventPipeline:
    return EventPipeline.model_validate(
        {
            "apiVersion": "eventpipeline.dev/v1alpha1",
            "kind": "EventPipeline",
            "metadata": {"name": "test"},
            "spec": {"stream": {"nats": {"storage": storage}}},
        }
    )


async def test_everything_is_ready_inside_and_gone_after(tmp_path: Path) -> None:
    offset = free_offset()
    async with running(pipeline(), Options(tmp_path / "data", port_offset=offset, entry=ENTRY)) as run:
        assert set(run.pids()) == SERVICES | {"nats", "postgres"}
        assert run.gateway_url == f"http://127.0.0.1:{3000 + offset}"
        assert run.reporter_url == f"http://127.0.0.1:{3003 + offset}"
        assert await http_status(3000 + offset, "/readyz") == 200
        with psycopg.connect(run.database_url) as connection:
            assert connection.execute("show fsync").fetchone() == ("on",)

    assert run.pids() == {}
    assert await http_status(3000 + offset, "/readyz") is None
    assert not (tmp_path / "data" / "run.json").exists()


async def test_servers_that_run_already_are_used(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as database_url, nats_server(tmp_path) as nats_url:
        options = Options(
            tmp_path / "data",
            port_offset=free_offset(),
            nats_url=nats_url,
            database_url=database_url,
            entry=ENTRY,
        )
        async with running(pipeline(), options) as run:
            assert set(run.pids()) == SERVICES
            assert (run.nats_url, run.database_url) == (nats_url, database_url)


async def test_what_fails_inside_stops_everything(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="mine"):
        async with running(pipeline(), Options(tmp_path / "data", port_offset=free_offset(), entry=ENTRY)) as run:
            raise RuntimeError("mine")

    assert run.pids() == {}


async def test_a_schema_that_is_too_new_stops_everything_and_shows_why(tmp_path: Path) -> None:
    options = Options(tmp_path / "data", port_offset=free_offset(), entry=ENTRY)
    async with running(pipeline(), options) as run:
        with psycopg.connect(run.database_url, autocommit=True) as connection:
            connection.execute(
                "INSERT INTO schema_versions (version, name, checksum, min_compatible) VALUES (999, 'later', '', 999)"
            )
    with pytest.raises(LocalError, match=r"brought to the schema of this release: .*999"):
        async with running(pipeline(), options):
            pass

    assert not (tmp_path / "data" / "run.json").exists()


async def test_more_storage_than_the_disk_has_is_cut_and_said(tmp_path: Path) -> None:
    events: list[Event] = []
    options = Options(tmp_path / "data", port_offset=free_offset(), entry=ENTRY)
    async with running(pipeline("900Ti"), options, events.append) as run:
        assert run.plan.nats is not None
        assert run.plan.nats.storage_bytes < 900 * 2**40

    assert any("instead of 900Ti" in str(event) for event in events)
