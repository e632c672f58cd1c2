"""The whole pipeline while each of its processes is killed: what was answered 202 is counted exactly once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx2

from collecting import eventually
from eventpipeline.local import Options, Running, running
from eventpipeline.publisher import Ledger, Observer, judge, publish
from eventpipeline.publisher import Options as Load
from eventpipeline.spec import EventPipeline
from servers import free_offset
from stored import assert_consistent, assert_holds, facebook, parsed, scalar, tiktok

PIPELINE = EventPipeline.model_validate(
    {
        "apiVersion": "eventpipeline.dev/v1alpha1",
        "kind": "EventPipeline",
        "metadata": {"name": "test"},
        "spec": {"stream": {"nats": {"storage": "1Gi"}}},
    }
)
SERVICES = ("gateway", "facebook-collector", "tiktok-collector", "reporter")
VICTIMS = (*SERVICES, "nats", "postgres")
MOST_SECONDS = {"postgres": 25.0}


async def are_ready(run: Running, client: httpx2.AsyncClient) -> bool:
    """Whether every service answers that all it depends on is there."""
    if set(run.pids()) != set(VICTIMS):
        return False
    for name in SERVICES:
        try:
            answer = await client.get(f"http://127.0.0.1:{run.info.ports[name]}/readyz", timeout=2.0)
        except httpx2.TransportError:
            return False
        if answer.status_code != 200 or any(check != "ok" for check in answer.json()["checks"].values()):
            return False
    return True


async def test_every_process_is_killed_under_load(tmp_path: Path) -> None:
    recovered: dict[str, float] = {}
    ledgers: list[Ledger] = []
    stop = asyncio.Event()
    load = Load(seconds=600, rate=2.0, batch=(1000, 2500), seed=11, corrupt=0.5, duplicates=0.2, timeout=30.0)
    options = Options(tmp_path / "data", port_offset=free_offset())
    async with running(PIPELINE, options) as run, httpx2.AsyncClient(base_url=run.reporter_url, timeout=30) as client:
        observer = Observer(client)
        before = await observer.observe()
        publishing = asyncio.create_task(publish(run.gateway_url, load, ledgers.append, stop))
        try:
            for name in VICTIMS:
                answered = accepted(ledgers)
                await eventually(lambda: accepted(ledgers) >= answered + 2, "events to flow", 30)  # noqa: B023
                pid = run.pids()[name]
                started = time.monotonic()
                os.kill(pid, signal.SIGKILL)
                await eventually(lambda: run.pids().get(name) not in (None, pid), f"another {name}")  # noqa: B023
                await eventually(lambda: are_ready(run, client), f"all after {name}", MOST_SECONDS.get(name, 10.0))
                recovered[name] = time.monotonic() - started
        finally:
            stop.set()
            ledger = await publishing
        after = await observer.observe_stored(ledger, before, quiet=20.0)
        verdict = judge(ledger, before, after)
        print(verdict.summary)
        print("ready again after:", ", ".join(f"{name} {seconds:.1f} s" for name, seconds in recovered.items()))
        assert verdict.ok, "\n".join(verdict.differences[:20])
        assert ledger.expected().kept.valid > 0
        assert_consistent(run.database_url)


def accepted(ledgers: list[Ledger]) -> int:
    """How many requests were answered 202 so far."""
    return sum(request.status == 202 for request in ledgers[-1].requests) if ledgers else 0


async def test_an_event_is_counted_once_however_often_it_is_sent(tmp_path: Path) -> None:
    events = [facebook(1), facebook(2), tiktok(1), tiktok(2)]
    often = facebook(3)

    def options() -> Options:
        return Options(tmp_path / "data", port_offset=free_offset())

    async with running(PIPELINE, options()) as run, httpx2.AsyncClient(timeout=30) as client:
        await post(client, run, [*events, *events])
        await post(client, run, events)
        await asyncio.gather(*(post(client, run, [often]) for _ in range(100)))
        await all_stored(client, run, 112)
        assert await total(client, run) == 5

    # The same data, everything else anew.
    async with running(PIPELINE, options()) as run, httpx2.AsyncClient(timeout=30) as client:
        await post(client, run, [*events, often])
        await all_stored(client, run, 5)
        assert await total(client, run) == 5
        assert_holds(run.database_url, parsed(json.dumps([*events, often]).encode()))
        assert scalar(run.database_url, "SELECT count(*) FROM dead_letters") == 0


async def post(client: httpx2.AsyncClient, run: Running, events: list[dict[str, Any]]) -> None:
    answer = await client.post(f"{run.gateway_url}/webhook/events", json=events)
    assert (answer.status_code, answer.json()["accepted"]) == (202, len(events)), answer.text


async def all_stored(client: httpx2.AsyncClient, run: Running, events: int) -> None:
    """Until the collectors of this run have stored so many events, copies included."""

    async def are_stored() -> bool:
        stored = 0.0
        for name, prefix in (("facebook-collector", "fb"), ("tiktok-collector", "ttk")):
            metrics = (await client.get(f"http://127.0.0.1:{run.info.ports[name]}/metrics")).text
            counter = f"{prefix}_collector_events_processed_total "
            stored += float(next(line for line in metrics.splitlines() if line.startswith(counter)).split()[1])
        return stored == events

    await eventually(are_stored, f"{events} events to be stored")


async def total(client: httpx2.AsyncClient, run: Running) -> int:
    return (await client.get(f"{run.reporter_url}/reports/events")).json()["total"]
