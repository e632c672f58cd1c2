"""A backup as the chart makes it, its restore, and the replay of what came since: the reports are the same."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from pathlib import Path

import httpx2
import psycopg

from eventpipeline.local import Options, Running, binaries, running
from eventpipeline.publisher import Observer, judge, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.spec import EventPipeline
from servers import free_offset, stopped
from stored import assert_consistent

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "charts/eventpipeline/charts/postgres/templates/_config.tpl"
PIPELINE = EventPipeline.model_validate(
    {
        "apiVersion": "eventpipeline.dev/v1alpha1",
        "kind": "EventPipeline",
        "metadata": {"name": "test"},
        "spec": {"stream": {"nats": {"storage": "512Mi"}}},
    }
)
REPORTS = (
    "/reports/events?interval=minute",
    "/reports/revenue?interval=minute",
    "/reports/demographics?exact=true",  # what is kept of many values depends on when they were folded
    "/dead-letters",
)


async def test_what_was_backed_up_and_what_came_since_are_there_again(tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    backups.mkdir()
    options = Options(tmp_path / "data", port_offset=free_offset())
    async with running(PIPELINE, options) as run, httpx2.AsyncClient(base_url=run.reporter_url, timeout=30) as client:
        await load(run, client, seed=1)
        then, before = await reports(client), await Observer(client).observe()
        # What the stream has taken by then and nobody has stored is in no backup.
        with collectors_stopped(run):
            late = await publish(run.gateway_url, Load(batches=2, rate=10.0, batch=(300, 600), seed=3))
            for _ in range(3):
                assert (await script(run, "backup", backups, KEEP="2"))[0] == 0
                await asyncio.sleep(1.1)  # they are named after the second at which they begin
        await Observer(client).observe_stored(late, before)
        kept = sorted(path.name for path in backups.iterdir())
        assert len(kept) == 2
        await load(run, client, seed=2)
        now = await reports(client)
        assert now != then

        status, told = await script(run, "restore", backups, BACKUP="yesterday")
        assert (status, "there is no backup yesterday.dump" in told, kept[0] in told) == (1, True, True)
        assert await reports(client) == now

        with psycopg.connect(run.database_url) as connection:
            connection.execute("DROP TABLE events, rollup_events, dead_letters CASCADE")
        status, told = await script(run, "restore", backups, BACKUP="latest")
        assert status == 0, told
        assert await reports(client) == then
        since = told.split("eventpipeline replay ")[1].splitlines()[0].split()
        began = datetime.fromisoformat(kept[-1].removesuffix(".dump"))
        assert since == ["--from", f"{began - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"]

        addresses = ("--nats-url", run.nats_url, "--database-url", run.database_url, "--output", "json")
        argv = [sys.executable, "-m", "eventpipeline", "replay", *since, *addresses]
        done = await asyncio.to_thread(subprocess.run, argv, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        assert sum(one["new"] for one in json.loads(done.stdout)) > 0
        assert await reports(client) == now
        assert_consistent(run.database_url)


def collectors_stopped(run: Running) -> AbstractContextManager[None]:
    return stopped(*(pid for name, pid in run.pids().items() if name.endswith("-collector")))


async def load(run: Running, client: httpx2.AsyncClient, *, seed: int) -> None:
    observer = Observer(client)
    before = await observer.observe()
    ledger = await publish(run.gateway_url, Load(batches=4, rate=10.0, batch=(300, 600), seed=seed, corrupt=0.7))
    verdict = judge(ledger, before, await observer.observe_stored(ledger, before))
    assert verdict.ok, verdict.differences


async def reports(client: httpx2.AsyncClient) -> list[str]:
    return [(await client.get(path)).text for path in REPORTS]


async def script(run: Running, name: str, backups: Path, **environment: str) -> tuple[int, str]:
    """The exit code and the output of a script of the chart, with the programs of this Postgres."""
    found = re.search(rf'define "postgres.{name}" -}}}}\n(.*?){{{{ end }}}}', SCRIPTS.read_text(), re.DOTALL)
    assert found
    assert "{{" not in found[1]
    path = f"{binaries.find()}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "DATABASE_URL": run.database_url, "BACKUPS": str(backups), **environment}
    done = await asyncio.to_thread(
        subprocess.run, ["/bin/sh", "-c", found[1]], env=env, capture_output=True, text=True, timeout=60
    )
    return done.returncode, done.stdout + done.stderr
