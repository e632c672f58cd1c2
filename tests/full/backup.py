"""A backup by the chart's CronJob under load, an emptied database, the documented way back, and the same reports.

    python -m full.backup

Everything runs in a namespace that enforces the restricted Pod Security Standard. Prints what took how long; the last
line is one JSON object. It fails with an AssertionError where something is not as it must be.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time

import httpx2
import psycopg
import started
from pipelines import Pipeline

from cluster import host, parts
from cluster.layout import Layout
from eventpipeline.publisher import Observer, Options, judge, publish
from full.pod_state import PodWatch

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
REPORTS = (
    "/reports/events?interval=minute",
    "/reports/revenue?interval=minute",
    "/reports/demographics?exact=true",  # what is kept of many values depends on when they were folded
    "/dead-letters?limit=1000",
)
_FIXED = {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}, "resources": {"requests": {"cpu": "20m"}}}
SPEC = {
    "gateway": _FIXED,
    "collector": _FIXED,
    "reporter": _FIXED,
    "stream": {"nats": {"storage": "1Gi"}},
    "store": {"postgres": {"storage": "1Gi", "backup": {"claimName": "backups", "schedule": "17 3 * * *", "keep": 2}}},
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "backups"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
LOAD = Options(rate=4.0, seconds=300.0, batch=(300, 1500), seed=11, corrupt=0.5)
_SECONDS_AROUND_BACKUP = 4.0
"""How long events come before the backup, and after it."""


def main() -> int:
    layout = Layout.of_user()
    host.require()
    parts.ensure(layout)
    os.environ.setdefault("EVENTPIPELINE_HELM", str(layout.parts / "helm"))
    with started.bare_cluster() as cluster:
        started.load_images(cluster)
        with started.operator(cluster), cluster.namespace("backup", RESTRICTED) as namespace:
            cluster.apply(CLAIM, namespace=namespace)
            pipeline = Pipeline(cluster, namespace)
            pipeline.create(SPEC)
            print(f"Ready after {pipeline.until_ready(300):.1f} s", flush=True)
            print(json.dumps(asyncio.run(_there_and_back(pipeline))))
            cluster.kubectl("delete", pipeline.resource, "--wait=true", "--timeout=30s", namespace=namespace)
    return 0


async def _there_and_back(pipeline: Pipeline) -> dict[str, float]:
    """Returns what took how long, in seconds, and how many events there were."""
    took: dict[str, float] = {}
    async with pipeline.reporter() as reporter, httpx2.AsyncClient(trust_env=False) as client:
        observer = Observer(reporter)
        before = await observer.observe()
        stop = asyncio.Event()
        publishing = asyncio.create_task(publish(pipeline.url("gateway"), LOAD, stop=stop))
        await asyncio.sleep(_SECONDS_AROUND_BACKUP)
        told, took["backup"] = await _job(pipeline, "backup")
        assert re.search(r"wrote \S+\.dump; 1 are kept", told), told
        await asyncio.sleep(_SECONDS_AROUND_BACKUP)
        stop.set()
        ledger = await publishing
        verdict = judge(ledger, before, await observer.observe_stored(ledger, before, quiet=60.0))
        assert verdict.ok, verdict.differences
        reports = await _reports(reporter)

        url = await PodWatch(pipeline, client).database_url()
        with psycopg.connect(url) as connection:
            connection.execute("DROP TABLE events, rollup_events, dead_letters CASCADE")
        assert (await reporter.get(REPORTS[0])).status_code != 200, "nothing is left to report"

        told, took["restore"] = await _job(pipeline, "restore")
        found = re.search(r"eventpipeline replay (--from \S+)", told)
        assert found, told
        restored = await _reports(reporter)
        assert restored != reports, "the backup is of a time before the last events"
        began = time.monotonic()
        command = ("exec", f"deploy/{pipeline.name}-facebook-collector", "--", "eventpipeline", "replay")
        told = await _kubectl(pipeline, *command, *found[1].split(), "--output=json")
        took["replay"] = time.monotonic() - began
        again = sum(one["new"] for one in json.loads(told))
        assert again > 0, told
        assert await _reports(reporter) == reports
    accepted = ledger.totals().accepted
    print(f"{accepted:,} events; {again:,} came back from the stream; the reports are the same to the last digit")
    return {"accepted": accepted, "replayed": again} | {name: round(seconds, 1) for name, seconds in took.items()}


async def _job(pipeline: Pipeline, name: str) -> tuple[str, float]:
    """Runs the CronJob's job now; returns what it printed, and how long it took in seconds."""
    began, job = time.monotonic(), f"job/{name}-1"
    await _kubectl(pipeline, "create", "job", f"--from=cronjob/{pipeline.name}-{name}", f"{name}-1")
    await asyncio.to_thread(pipeline.cluster.wait, job, "condition=Complete", namespace=pipeline.namespace, seconds=120)
    return await _kubectl(pipeline, "logs", job), time.monotonic() - began


async def _kubectl(pipeline: Pipeline, *arguments: str) -> str:
    return await asyncio.to_thread(pipeline.cluster.kubectl, *arguments, namespace=pipeline.namespace)


async def _reports(reporter: httpx2.AsyncClient) -> list[str]:
    """The bytes of every report. Asked until each is answered: its connections to a table that went are old."""
    found = []
    async with asyncio.timeout(60):
        for path in REPORTS:
            while (answer := await reporter.get(path)).status_code != 200:
                await asyncio.sleep(0.2)
            found.append(answer.text)
    return found


if __name__ == "__main__":
    sys.exit(main())
