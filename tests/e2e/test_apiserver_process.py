"""The operator as a process with the real chart, against a real API server without a kubelet.

It runs with the rights that its own chart grants, so a right that is missing fails here.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from apiserver import api_server, install_crd
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import DEPLOYMENT, PIPELINE, RENDERED_KINDS, SECRET, STATEFUL_SET, Key, Kind, Object
from operator_rights import service_account
from servers import free_port

ROOT = Path(__file__).resolve().parents[2]
SERVICE, CONFIG = Kind("v1", "Service"), Kind("v1", "ConfigMap")
RESYNC_SECONDS = 3.0


@dataclass
class Running:
    cluster: Cluster
    process: subprocess.Popen[bytes]
    port: int
    log: Path

    async def until(self, condition: Callable[[], Awaitable[object]], what: str, seconds: float = 30.0) -> None:
        try:
            async with asyncio.timeout(seconds):
                while not await condition():
                    assert self.process.poll() is None, self.log.read_text()
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{what}: not within {seconds} s\n{self.log.read_text()[-3000:]}") from None

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> Object | None:
        return await self.cluster.get(Key(kind, namespace, name))

    async def write(self, name: str, spec: Object) -> None:
        metadata = {"name": name, "namespace": "default"}
        await self.cluster.apply(
            {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind, "metadata": metadata, "spec": spec}
        )

    async def converged(self, name: str) -> bool:
        body = await self.get(PIPELINE, name)
        return bool(body and body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])

    async def versions(self) -> dict[Key, str]:
        listings = [await self.cluster.list_all(kind, "default") for kind in (*RENDERED_KINDS, SECRET, PIPELINE)]
        return {key: item["metadata"]["resourceVersion"] for listing in listings for key, item in listing.items()}

    def ask(self, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
            return str(answer.read().decode())


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("apiserver")) as found:
        yield found


@pytest.fixture
async def running(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Running]:
    cluster = Cluster.from_kubeconfig(kubeconfig)
    await install_crd(cluster)
    own = await service_account(cluster, kubeconfig, tmp_path)
    port, log = free_port(), tmp_path / "operator.log"
    environ = {
        **os.environ, "KUBECONFIG": str(own), "PORT": str(port), "HOST": "127.0.0.1",
        "HELM": os.environ["EVENTPIPELINE_HELM"],
        "RESYNC_SECONDS": str(RESYNC_SECONDS), "PYTHONPATH": str(ROOT / "operator"),
    }  # fmt: skip
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "eventpipeline_operator.main"], env=environ, stdout=output, stderr=output
        )
    found = Running(cluster, process, port, log)
    try:
        yield found
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


async def test_the_life_of_a_pipeline(running: Running) -> None:
    await running.write("marketing", {})
    await running.until(lambda: running.converged("marketing"), "a status")
    for kind, name in ((DEPLOYMENT, "gateway"), (DEPLOYMENT, "facebook-collector"), (STATEFUL_SET, "postgres")):
        assert await running.get(kind, f"marketing-{name}")
    body = await running.get(PIPELINE, "marketing")
    assert body
    assert "finalizers" not in body["metadata"]
    assert "annotations" not in body["metadata"]

    # At rest nothing is written: not by watches that tell of our own writes, nor by the resync.
    before = await running.versions()
    resynced = float(_metric(running.ask("/metrics"), 'eventpipeline_operator_reconcile_total{result="success"}'))

    async def two_resyncs() -> bool:
        now = _metric(running.ask("/metrics"), 'eventpipeline_operator_reconcile_total{result="success"}')
        return float(now) >= resynced + 3

    await running.until(two_resyncs, "resyncs")
    assert await running.versions() == before
    assert '"status":"ok"' in running.ask("/livez")

    # What is deleted by hand comes back by the watch, long before a resync would see it.
    for kind, name in ((SERVICE, "marketing-gateway"), (DEPLOYMENT, "marketing-reporter"), (CONFIG, "marketing-nats")):
        item = await running.get(kind, name)
        assert item
        await running.cluster.delete(item)

        async def is_back(kind: Kind = kind, name: str = name, uid: str = item["metadata"]["uid"]) -> bool:
            found = await running.get(kind, name)
            return found is not None and found["metadata"]["uid"] != uid

        await running.until(is_back, f"{name} back", seconds=RESYNC_SECONDS)

    await running.write("marketing", {"sources": [{"name": "facebook"}], "gateway": {"maxBodyBytes": 4096}})

    async def rolled() -> bool:
        found = await running.get(DEPLOYMENT, "marketing-gateway")
        assert found
        environ = found["spec"]["template"]["spec"]["containers"][0]["env"]
        return {"name": "MAX_BODY_BYTES", "value": "4096"} in environ

    await running.until(rolled, "the change")
    await running.cluster.delete(body)

    async def gone() -> bool:
        return await running.get(PIPELINE, "marketing") is None

    await running.until(gone, "deleted at once, without the operator's consent")
    assert "forbidden" not in running.log.read_text().lower()


async def test_sigterm_ends_it_and_the_next_one_takes_up(running: Running) -> None:
    await running.write("second", {})
    await running.until(lambda: running.converged("second"), "a status")
    running.process.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(running.process.wait, 10) == 0
    log = running.log.read_text()
    assert "Traceback" not in log
    assert "forbidden" not in log.lower()


def _metric(text: str, name: str) -> str:
    return next((line.rpartition(" ")[2] for line in text.splitlines() if line.startswith(name)), "0")
