"""Every file of manifests/ becomes Ready, and counts what is posted to it exactly once and nothing else."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from installing import Overlay, installed
from outside import Outside
from pipelines import ROOT, Pipeline

from cluster.access import Cluster, wait_for
from eventpipeline.publisher import Observer, Options, judge, publish
from eventpipeline.readers import hashed, new_key
from tls_servers import files as tls_files

FOLDER = ROOT / "manifests"
PRODUCTION = "production.yaml"
TOGETHER = (("minimal.yaml", "second-namespace.yaml"), ("two-pipelines.yaml",), ("external.yaml", "webshop.yaml"))
"""What is applied at one time; a second namespace is one only beside a first."""
SIGNED = ("senders.yaml", "platforms.yaml")
"""What only senders with a key may post to; test_signed.py is of these."""
CERTIFIED = {"caSecretRef": {"name": "marketing-nats"}, "clientSecretName": "marketing-nats"}
SMALL = {"resources": {"requests": {"cpu": "20m", "memory": "96Mi"}}}
SMALLER: Overlay = {
    # The one node of the tests has two cores; what is left of the file is what it says of itself.
    ("EventPipeline", "marketing"): {
        "spec": {
            "sources": [{"name": "facebook"}, {"name": "tiktok", "collector": SMALL}],
            "gateway": SMALL,
            "collector": SMALL,
            "reporter": SMALL,
            "stream": {"nats": {"storage": "2Gi"}},
            "store": {"postgres": {"storage": "2Gi"}},
        }
    }
}


def test_no_manifest_is_forgotten() -> None:
    assert {file for files in (*TOGETHER, SIGNED, (PRODUCTION,)) for file in files} == {
        file.name for file in FOLDER.glob("*.yaml")
    }


@pytest.mark.parametrize("files", TOGETHER, ids="+".join)
async def test_each_pipeline_becomes_ready_and_counts_its_own_events(
    operator: Cluster, outside: Outside, files: tuple[str, ...]
) -> None:
    addresses: Overlay = {
        # What cert-manager makes has all of this in one Secret.
        ("Secret", "marketing-nats"): {"stringData": {"url": outside.secured_url, **_certificates(outside)}},
        ("Secret", "marketing-postgres"): {"stringData": {"url": outside.database_url()}},
    }
    if "external.yaml" in files:
        addresses |= {("EventPipeline", "marketing"): {"spec": {"stream": {"external": {"tls": CERTIFIED}}}}}
    with installed(operator, [FOLDER / file for file in files], addresses) as pipelines:
        print(f"{' and '.join(files)}: Ready after {_until_all_ready(pipelines):.1f} s")
        posted = dict.fromkeys(pipelines, 0)
        for index, pipeline in enumerate(pipelines):
            posted[pipeline] = await _post_and_judge(pipeline, Options(batches=3, batch=(200, 300), seed=index, rate=5))
            for other, total in posted.items():
                assert await _total(other) == total, f"{other.name}, after posting to {pipeline.name}"
        assert all(posted.values())


@pytest.fixture(scope="module")
def production(operator: Cluster) -> Iterator[Pipeline]:
    """Three NATS servers, closed to whoever has no key; with the key of a reader."""
    read, operate = new_key(), new_key()
    with installed(operator, [FOLDER / PRODUCTION], SMALLER) as (pipeline,):
        hashes = {"read": hashed(read), "operate": hashed(operate)}
        metadata = {"name": "marketing-readers", "namespace": pipeline.namespace}
        operator.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": hashes})
        print(f"{PRODUCTION}: Ready after {_until_all_ready([pipeline]):.1f} s")
        yield replace(pipeline, reader_key=read)


async def test_production_is_closed(production: Pipeline) -> None:
    async with replace(production, reader_key=None).reporter() as stranger:
        assert {(await stranger.get(path)).status_code for path in ("/reports/events", "/dead-letters")} == {401}
    assert "read reports" not in production.condition("Open")["message"]


async def test_the_passwords_of_nats_are_rotated_without_a_refused_request(production: Pipeline) -> None:
    """Before the load of the next test: every pod that the autoscaler adds for it would be replaced one by one too."""
    pipeline, cluster = production, production.cluster
    servers = {f"{pipeline.name}-nats-{ordinal}" for ordinal in range(3)}
    uids, before = {_pod_uid(pipeline, server) for server in servers}, _hashes(pipeline)
    assert len(before) == 3, "gateway, collectors and reporter each have a login of their own"
    async with nothing_refused_meanwhile(pipeline, seed=5):
        annotation = "eventpipeline.dev/rotate-nats-password=1"
        cluster.kubectl("annotate", f"evp/{pipeline.name}", annotation, namespace=pipeline.namespace)
        began = time.monotonic()
        await asyncio.to_thread(
            wait_for, lambda: _login(pipeline) == "gateway_b", what=lambda: "the other logins", seconds=180
        )
        print(f"three servers have learnt their passwords after {time.monotonic() - began:.1f} s")
        await _until_replaced(pipeline, before)
    assert {_pod_uid(pipeline, server) for server in servers} == uids, "no server was started anew"
    assert any("rotated the passwords of NATS" in message for message in pipeline.events())


async def test_production_survives_the_loss_of_a_nats_server(production: Pipeline) -> None:
    pipeline = production
    leader = _leader_of_a_cluster_of_three(pipeline)
    before = _pod_uid(pipeline, leader)
    async with pipeline.reporter() as client:
        observer = Observer(client)
        start = await observer.observe()
        gone = asyncio.create_task(_delete_once_events_come(pipeline, client, leader))
        options = Options(seconds=20, rate=4, batch=(200, 2_000), seed=3)
        ledger = await publish(pipeline.url("gateway"), options)
        await gone
        end = await observer.observe_stored(ledger, start, quiet=60.0)
    verdict = judge(ledger, start, end)
    totals = ledger.totals()
    again = [
        f"{request.status} at {request.sent_at:.1f} s after {request.latency:.1f} s"
        for request in ledger.requests
        if not request.fate.settled
    ]
    print(f"{verdict.summary} {len(again)} of {totals.requests} requests were told to come again: {again}")
    assert verdict.ok, verdict.differences
    assert totals.accepted > 10_000
    assert totals.unanswered_requests == totals.failed_connections == 0
    pipeline.until_ready()
    assert _pod_uid(pipeline, leader) != before
    _leader_of_a_cluster_of_three(pipeline)


def _login(pipeline: Pipeline) -> str:
    """As whom the gateway logs in to NATS from its next start on."""
    found: Any = pipeline.cluster.get(f"secret/{pipeline.name}-auth", namespace=pipeline.namespace)
    return base64.b64decode(found["data"]["nats-gateway-user"]).decode()


async def test_certificates_are_renewed_without_a_refused_request(operator: Cluster, outside: Outside) -> None:
    overlay: Overlay = {
        ("Secret", "marketing-nats"): {"stringData": {"url": outside.secured_url, **_certificates(outside)}},
        ("Secret", "marketing-postgres"): {"stringData": {"url": outside.database_url()}},
        ("EventPipeline", "marketing"): {"spec": {"stream": {"external": {"tls": CERTIFIED}}}},
    }
    with installed(operator, [FOLDER / "external.yaml"], overlay) as (pipeline,):
        pipeline.until_ready()
        before = _hashes(pipeline)
        async with nothing_refused_meanwhile(pipeline, seed=4):
            metadata = {"name": "marketing-nats", "namespace": pipeline.namespace}
            renewed = {"url": outside.secured_url, **_certificates(outside)}
            operator.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": renewed})
            operator.kubectl("annotate", f"evp/{pipeline.name}", "looked-at=now", namespace=pipeline.namespace)
            await _until_replaced(pipeline, before)


@asynccontextmanager
async def nothing_refused_meanwhile(pipeline: Pipeline, seed: int) -> AsyncIterator[None]:
    """Posts all the while; at the end every request was taken, and the reports are exact."""
    stop = asyncio.Event()
    async with pipeline.reporter() as client:
        start = await Observer(client).observe()
    options = Options(seconds=600, rate=2, batch=(50, 100), seed=seed)
    posting = asyncio.create_task(publish(pipeline.url("gateway"), options, stop=stop))
    try:
        yield
    finally:
        stop.set()
        ledger = await posting
    async with pipeline.reporter() as client:  # another one, since that pod may be gone
        end = await Observer(client).observe_stored(ledger, start, quiet=60.0)
    verdict, totals = judge(ledger, start, end), ledger.totals()
    print(verdict.summary)
    assert verdict.ok, verdict.differences
    assert totals.accepted > 100
    assert totals.refused_requests == totals.unanswered_requests == totals.failed_connections == 0


async def _until_replaced(pipeline: Pipeline, before: set[str]) -> None:
    """Ready with pods that were made with another Secret than those of `before`.

    A minute where the cores are fast; each pod goes only after the next one has started, under load.
    """
    await asyncio.to_thread(
        wait_for, lambda: not before & _hashes(pipeline), what=lambda: "pods with the new ones", seconds=480
    )
    await asyncio.to_thread(pipeline.until_ready)


def _certificates(outside: Outside) -> dict[str, str]:
    return tls_files(outside.authority, outside.authority.issue("marketing"))


def _hashes(pipeline: Pipeline) -> set[str]:
    """What the pods of the services that speak to NATS say of the Secret they were made with."""
    services = "app.kubernetes.io/component in (gateway,collector,reporter)"
    pods = pipeline.cluster.get_all("pods", namespace=pipeline.namespace, selector=services)
    notes = (pod["metadata"].get("annotations", {}) for pod in pods)
    return {
        note["eventpipeline.dev/nats-secret-hash"] for note in notes if "eventpipeline.dev/nats-secret-hash" in note
    }


def _until_all_ready(pipelines: Sequence[Pipeline]) -> float:
    return sum(pipeline.until_ready() for pipeline in pipelines)


async def _post_and_judge(pipeline: Pipeline, options: Options) -> int:
    """Posts, waits until all is stored and counted exactly; returns how many events that are."""
    async with pipeline.reporter() as client:
        observer = Observer(client)
        before = await observer.observe()
        ledger = await publish(pipeline.url("gateway"), options)
        after = await observer.observe_stored(ledger, before, quiet=60.0)
    verdict = judge(ledger, before, after)
    assert verdict.ok, verdict.differences
    return ledger.totals().accepted


async def _total(pipeline: Pipeline) -> int:
    async with pipeline.reporter() as client:
        return int((await client.get("/reports/events")).json()["total"])


def _pod_uid(pipeline: Pipeline, name: str) -> str:
    found: Any = pipeline.cluster.get(f"pod/{name}", namespace=pipeline.namespace)
    return str(found["metadata"]["uid"])


def _leader_of_a_cluster_of_three(pipeline: Pipeline) -> str:
    """The server that leads the stream of facebook, once every stream has its three replicas."""

    def streams() -> dict[str, Any]:
        # Only its leader knows how far the replicas of a stream are.
        servers = [f"{pipeline.name}-nats-{ordinal}" for ordinal in range(3)]
        seen = [(server, stream) for server in servers for stream in _streams(pipeline, server)]
        return {stream["name"]: stream for server, stream in seen if stream["cluster"].get("leader") == server}

    def all_current() -> dict[str, Any]:
        found = streams()
        assert sorted(found) == ["DEAD", "EVENTS_facebook", "EVENTS_tiktok"]
        for stream in found.values():
            assert stream["config"]["num_replicas"] == 3
            assert [other["current"] for other in stream["cluster"]["replicas"]] == [True, True]
        return found

    return str(
        wait_for(all_current, what=lambda: f"three replicas: {streams()}")["EVENTS_facebook"]["cluster"]["leader"]
    )


def _streams(pipeline: Pipeline, server: str) -> list[dict[str, Any]]:
    """What a server says of the streams that it has."""
    with (
        pipeline.cluster.port_forward(f"pod/{server}", 8222, namespace=pipeline.namespace) as address,
        urllib.request.urlopen(f"http://{address}/jsz?streams=true&config=true", timeout=5) as answer,
    ):
        accounts = json.load(answer)["account_details"]
    return [stream for account in accounts for stream in account["stream_detail"]]


async def _delete_once_events_come(pipeline: Pipeline, client: httpx2.AsyncClient, pod: str) -> None:
    async with asyncio.timeout(20):
        while not (await client.get("/reports/events")).json()["total"]:
            await asyncio.sleep(0.2)
    await asyncio.to_thread(
        pipeline.cluster.kubectl, "delete", f"pod/{pod}", "--wait=false", namespace=pipeline.namespace
    )
