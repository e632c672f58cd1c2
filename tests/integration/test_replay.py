"""The way back after the database was lost: the stream is read again, and the reports are the same."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest

from eventpipeline.local import Options, Running, running
from eventpipeline.publisher import Observer, judge, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.spec import EventPipeline
from servers import free_offset
from stored import assert_consistent, scalar

PIPELINE = EventPipeline.model_validate(
    {
        "apiVersion": "eventpipeline.dev/v1alpha1",
        "kind": "EventPipeline",
        "metadata": {"name": "test"},
        "spec": {"stream": {"nats": {"storage": "512Mi"}}},
    }
)
TABLES = (
    "events", "rollup_events", "rollup_campaigns", "rollup_dimensions", "rollup_users",
    "rollup_events_batch", "rollup_campaigns_batch", "rollup_dimensions_batch", "rollup_users_batch", "dead_letters",
)  # fmt: skip
REPORTS = (
    "/reports/events?interval=minute",
    "/reports/revenue?interval=minute&groupBy=campaign&limit=1000",
    "/reports/demographics?exact=true",
    "/dead-letters?limit=1000",
)


async def test_an_emptied_database_gets_the_same_reports_from_the_stream(tmp_path: Path) -> None:
    options = Options(tmp_path / "data", port_offset=free_offset())
    async with running(PIPELINE, options) as run, httpx2.AsyncClient(base_url=run.reporter_url, timeout=30) as client:
        await load(run, client, seed=1)
        backup = await reports(client)
        middle = datetime.now(UTC)
        await load(run, client, seed=2)
        full = await reports(client)
        assert full != backup

        # A database that is as it was then gets what was lost since from the time of the backup on.
        empty(run)
        assert (await replayed(run, "--to", middle.isoformat()))["new"] > 0
        assert await reports(client) == backup
        since = await replayed(run, "--from", middle.isoformat())
        assert since["new"] > 0
        assert await reports(client) == full

        # Everything at once, into nothing; and again, which changes nothing.
        empty(run)
        assert (await client.get("/reports/events")).json()["total"] == 0
        first = await replayed(run)
        assert await reports(client) == full
        again = await replayed(run)
        assert (again["events"], again["new"]) == (first["events"] - first["letters"], 0)
        assert await reports(client) == full
        assert_consistent(run.database_url)

        # One source alone.
        empty(run)
        only = await replayed(run, "--source", "tiktok")
        assert only["names"] == ["tiktok"]
        assert scalar(run.database_url, "SELECT count(*) FROM events WHERE source <> 'tiktok'") == 0
        assert scalar(run.database_url, "SELECT count(*) FROM events") == only["new"] > 0


async def load(run: Running, client: httpx2.AsyncClient, *, seed: int) -> None:
    observer = Observer(client)
    before = await observer.observe()
    options = Load(batches=6, rate=10.0, batch=(300, 600), seed=seed, corrupt=0.7, duplicates=0.3)
    ledger = await publish(run.gateway_url, options)
    verdict = judge(ledger, before, await observer.observe_stored(ledger, before))
    assert verdict.ok, verdict.differences


async def reports(client: httpx2.AsyncClient) -> list[str]:
    """Every report of now, to the last digit."""
    return [(await client.get(path)).text for path in REPORTS]


def empty(run: Running) -> None:
    with psycopg.connect(run.database_url) as connection:
        connection.execute(f"TRUNCATE {', '.join(TABLES)}")  # type: ignore[call-overload]


async def replayed(run: Running, *arguments: str) -> dict[str, Any]:
    """What `eventpipeline replay` says it did."""
    addresses = ("--nats-url", run.nats_url, "--database-url", run.database_url)
    argv = [sys.executable, "-m", "eventpipeline", "replay", *arguments, *addresses, "--output", "json"]
    done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    letters = sum(one["new"] for one in told if one["name"] == "dead letters")
    return {
        "names": [one["name"] for one in told],
        "events": sum(one["events"] for one in told),
        "new": sum(one["new"] for one in told),
        "letters": letters,
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--from", "yesterday"), "--from yesterday: write an ISO 8601 time"),
        (("--from", "2024-05-01T12:00:00"), "with an offset"),
        (("--from", "2024-05-02T00:00:00Z", "--to", "2024-05-01T00:00:00Z"), "--to must be later than --from"),
        (("--source", "myspace"), "--source myspace: there are facebook, tiktok"),
        ((), "no pipeline runs from"),
        (
            ("--nats-url", "nats://127.0.0.1:9", "--database-url", "postgresql://x@127.0.0.1:9/x"),
            "NATS does not answer",
        ),
    ],
)
def test_what_cannot_be_replayed_is_said(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    argv = [sys.executable, "-m", "eventpipeline", "replay", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=tmp_path, env={})
    assert done.returncode == 1
    assert message in done.stderr
    assert "Traceback" not in done.stderr
