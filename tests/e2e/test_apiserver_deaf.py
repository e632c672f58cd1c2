"""Watches that hear nothing any more: the operator says so, is found dead by its probe, and still converges."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from apiserver import api_server, install_crd
from apiserver_proxy import apiserver_proxy
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import DEPLOYMENT, PIPELINE, Key, Object
from operator_process import OperatorProcess, operator_process

_DEAF = "eventpipeline_operator_watch_deaf"


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("apiserver")) as found:
        asyncio.run(install_crd(Cluster.from_kubeconfig(found)))
        yield found


async def write(cluster: Cluster, spec: Object) -> None:
    about = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind}
    await cluster.apply({**about, "metadata": {"name": "marketing", "namespace": "default"}, "spec": spec})


async def body_limit(cluster: Cluster) -> str:
    found = await cluster.get(Key(DEPLOYMENT, "default", "marketing-gateway"))
    environ = found["spec"]["template"]["spec"]["containers"][0]["env"] if found else []
    return next((entry["value"] for entry in environ if entry["name"] == "MAX_BODY_BYTES"), "")


def answers(operator: OperatorProcess, status: int) -> bool:
    return operator.ask("/livez")[0] == status


async def test_an_operator_whose_watches_are_deaf_is_not_alive(kubeconfig: Path, tmp_path: Path) -> None:
    cluster = Cluster.from_kubeconfig(kubeconfig)
    async with apiserver_proxy(kubeconfig, tmp_path) as proxy:
        with operator_process(proxy.kubeconfig, tmp_path / "operator.log", RESYNC_SECONDS="1") as operator:

            async def has_limit(limit: str) -> bool:
                return await body_limit(cluster) == limit

            async def livez(status: int) -> bool:
                return await asyncio.to_thread(answers, operator, status)

            await write(cluster, {"gateway": {"maxBodyBytes": 1024}})
            await operator.until(lambda: has_limit("1024"), "what the watch told of")
            await operator.until(lambda: livez(200), "alive")

            proxy.hearing.clear()
            await write(cluster, {"gateway": {"maxBodyBytes": 2048}})
            await operator.until(lambda: has_limit("2048"), "what no watch told of, by the slow look")
            await operator.until(lambda: livez(503), "no longer alive")
            assert await asyncio.to_thread(operator.metric, _DEAF) == 1
            assert "the watches are deaf" in operator.log.read_text()

            proxy.hearing.set()
            await operator.until(lambda: livez(200), "alive again, once the watches hear")
            assert await asyncio.to_thread(operator.metric, _DEAF) == 0
