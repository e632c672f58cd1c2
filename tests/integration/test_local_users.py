"""`up` with the real services: each is a user of its own at NATS and at Postgres, in a data folder of before too."""

from __future__ import annotations

import json
import urllib.request
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import psycopg

from collecting import eventually, publish
from eventpipeline.local import Options, running
from eventpipeline.local import nats as local_nats
from eventpipeline.local import postgres as local_postgres
from eventpipeline.local.runner import Running
from eventpipeline.resource import minimal
from eventpipeline.settings import StreamSettings
from eventpipeline.store.partitions import maintain
from eventpipeline.store.schema import migrate
from eventpipeline.stream import DEAD, Stream
from servers import free_offset, free_port, running_program
from stored import facebook


async def left_by_the_last_release(folder: Path) -> None:
    """Servers without users, tables of the superuser, and an event that no collector has stored."""
    folder.mkdir(mode=0o700)
    cluster = local_postgres.open_cluster(folder / "postgres")
    cluster.initialise()
    port = free_port()
    with running_program(cluster.server(port=port, log=folder / "postgres.log")):
        migrate(cluster.url(port))
        maintain(cluster.url(port), datetime.now(UTC).date(), None)
    server = local_nats.server(
        folder / "nats", port=port, monitor_port=free_port(), max_file_bytes=2**30, log=folder / "nats.log"
    )
    with running_program(server):
        stream = Stream(StreamSettings(nats_url=f"nats://127.0.0.1:{port}", stream_bytes=2**25), "gateway")
        stream.start()
        try:
            await stream.connected()
            await stream.ensure(DEAD)
            await publish(stream, [facebook(1)])
        finally:
            await stream.close()


async def reported(run: Running) -> int:
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{run.reporter_url}/reports/events")
        return int(answer.json()["total"]) if answer.status_code == 200 else -1


async def test_a_data_folder_of_the_last_release_goes_on_with_users(tmp_path: Path) -> None:
    folder, offset = tmp_path / "data", free_offset()
    await left_by_the_last_release(folder)
    async with running(minimal(), Options(folder, port_offset=offset)) as run:
        async with httpx2.AsyncClient(trust_env=False) as client:
            sent = await client.post(f"{run.gateway_url}/webhook/events", json=[facebook(2), {"bad": True}])
            assert sent.status_code == 202

        async def all_there() -> bool:
            return await reported(run) == 2

        await eventually(all_there, "both events, the one of before too")
        async with httpx2.AsyncClient(trust_env=False) as client:
            status = (await client.get(f"{run.reporter_url}/status")).json()
        assert status["stream"] == "ok"
        assert logins_at_nats(8222 + offset) >= {"gateway", "collector", "reporter"}
        with psycopg.connect(run.database_url) as connection:
            rows = connection.execute(
                "SELECT DISTINCT application_name, usename FROM pg_stat_activity WHERE application_name LIKE 'event%'"
            ).fetchall()
        assert set(rows) == {
            ("eventpipeline-facebook-collector", "eventpipeline_service"),
            ("eventpipeline-tiktok-collector", "eventpipeline_service"),
            ("eventpipeline-reporter", "eventpipeline_reporter"),
        }
    for log in (folder / "logs").glob("*.log"):
        text = log.read_text().lower()
        assert "permission" not in text, log
        assert "violation" not in text, log


def logins_at_nats(monitor_port: int) -> set[str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{monitor_port}/connz?auth=1", timeout=5) as answer:
        return {one["authorized_user"] for one in json.load(answer)["connections"]}
