"""Many pipelines under one operator, on a real API server without a kubelet.

    python -m full.many_pipelines [--pipelines 200] [--settle-seconds 90] [--rest-seconds 90]

Without a kubelet no pipeline becomes ready, and one that is not is looked at more often, less and less so the longer it
takes, at last once a minute as any other. So the operator is let settle before it is called at rest.

Prints a table and, on its last line, one JSON object. The exit code is 1 where a bar is missed: not every pipeline
converged, something is written at rest, or the operator's memory exceeds what its chart allows.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
import yaml

from apiserver import api_server, install_crd
from apiserver_proxy import Proxy, apiserver_proxy
from cluster import host, parts
from cluster.layout import PROJECT, Layout
from eventpipeline.spec import quantity_bytes
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import PIPELINE, RENDERED_KINDS, SECRET
from operator_process import OperatorProcess, operator_process

_NAMESPACES = 20
_MIB = 2**20


@dataclass(frozen=True)
class Figures:
    pipelines: int
    objects: int
    """What they own, secrets included."""
    converge_seconds: float
    """From the first kubectl apply until each has a status for its present generation."""
    converge_cpu_seconds: float
    """Of the operator and the helm processes that it started."""
    peak_memory_mib: float
    """Resident set of the operator itself, at its greatest; helm runs for a moment beside it."""
    rest_memory_mib: float
    rest_cpu_cores: float
    rest_passes_per_second: float
    rest_writes: int
    rest_seconds: float
    restart_seconds: float
    """From the start of a new operator until it has made a pass over each, all of them unchanged."""
    restart_writes: int

    def faults(self, wanted: int, limit_mib: float) -> list[str]:
        found = []
        if self.rest_writes or self.restart_writes:
            found.append(f"{self.rest_writes} writes at rest and {self.restart_writes} at a restart, not 0")
        if self.peak_memory_mib > limit_mib:
            found.append(f"{self.peak_memory_mib:.0f} MiB, more than the {limit_mib:.0f} MiB that the chart allows")
        if self.pipelines != wanted:
            found.append(f"{self.pipelines} of {wanted} pipelines")
        return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m full.many_pipelines", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pipelines", type=int, default=200)
    parser.add_argument("--settle-seconds", type=float, default=90.0)
    parser.add_argument("--rest-seconds", type=float, default=90.0)
    arguments = parser.parse_args()
    layout = Layout.of_user()
    host.require()
    parts.ensure(layout)
    os.environ.setdefault("EVENTPIPELINE_HELM", str(layout.parts / "helm"))
    figures = asyncio.run(_measure(arguments.pipelines, arguments.settle_seconds, arguments.rest_seconds))
    faults = figures.faults(arguments.pipelines, _memory_limit())
    for name, value in asdict(figures).items():
        print(
            f"{name.replace('_', ' '):26} {value:>10,.2f}"
            if isinstance(value, float)
            else f"{name.replace('_', ' '):26} {value:>10,}"
        )
    for fault in faults:
        print(f"missed: {fault}")
    print(json.dumps({**asdict(figures), "faults": faults}))
    return 1 if faults else 0


def _memory_limit() -> float:
    values = yaml.safe_load((PROJECT / "charts" / "eventpipeline-operator" / "values.yaml").read_text())
    return quantity_bytes(values["resources"]["limits"]["memory"]) / _MIB


async def _measure(pipelines: int, settle_seconds: float, rest_seconds: float) -> Figures:
    with tempfile.TemporaryDirectory(prefix="many-pipelines-") as name, api_server(Path(name)) as kubeconfig:
        folder, cluster = Path(name), Cluster.from_kubeconfig(kubeconfig)
        await install_crd(cluster)
        for number in range(_NAMESPACES):
            await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"team-{number}"}})
        async with apiserver_proxy(kubeconfig, folder) as proxy:
            async with _operator(proxy, folder) as operator:
                started = time.monotonic()
                await asyncio.gather(*(_make(cluster, number) for number in range(pipelines)))
                await _until_observed(cluster, operator, pipelines)
                converged, cpu = time.monotonic() - started, _cpu(operator)
                await asyncio.sleep(settle_seconds)
                rest = await _rest(operator, proxy, rest_seconds)
                peak = _peak_mib(operator)
            before, started = proxy.writes, time.monotonic()
            async with _operator(proxy, folder) as operator:
                await operator.until(lambda: _passed(operator, pipelines), "a pass over each", seconds=600)
                restarted = time.monotonic() - started
            restart_writes = proxy.writes - before
        objects = [await cluster.list_all(kind) for kind in (*RENDERED_KINDS, SECRET)]
        memory, cores, passes, writes = rest
        return Figures(
            pipelines=len(await cluster.list_all(PIPELINE)),
            objects=sum("marketing" in key.name for found in objects for key in found),
            converge_seconds=converged, converge_cpu_seconds=cpu, peak_memory_mib=peak, rest_memory_mib=memory,
            rest_cpu_cores=cores, rest_passes_per_second=passes, rest_writes=writes, rest_seconds=rest_seconds,
            restart_seconds=restarted, restart_writes=restart_writes,
        )  # fmt: skip


@asynccontextmanager
async def _operator(proxy: Proxy, folder: Path) -> AsyncIterator[OperatorProcess]:
    with operator_process(proxy.kubeconfig, folder / "operator.log") as running:
        await running.until(lambda: asyncio.to_thread(lambda: running.ask("/livez")[0] == 200), "an answer")
        yield running


async def _make(cluster: Cluster, number: int) -> None:
    metadata = {"name": f"marketing-{number}", "namespace": f"team-{number % _NAMESPACES}"}
    await cluster.apply({"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind, "metadata": metadata, "spec": {}})


async def _until_observed(cluster: Cluster, operator: OperatorProcess, pipelines: int) -> None:
    async def all_observed() -> bool:
        await asyncio.sleep(0.5)
        bodies = (await cluster.list_all(PIPELINE)).values()
        return sum("observedGeneration" in body.get("status", {}) for body in bodies) == pipelines

    await operator.until(all_observed, "a status of each", seconds=1200)


async def _rest(operator: OperatorProcess, proxy: Proxy, seconds: float) -> tuple[float, float, float, int]:
    """Memory in MiB, CPU in cores, passes a second, and writes."""
    writes, cpu, passes, started = proxy.writes, _cpu(operator), operator.passes, time.monotonic()
    await asyncio.sleep(seconds)
    took = time.monotonic() - started
    memory = psutil.Process(operator.process.pid).memory_info().rss / _MIB
    return memory, (_cpu(operator) - cpu) / took, (operator.passes - passes) / took, proxy.writes - writes


async def _passed(operator: OperatorProcess, pipelines: int) -> bool:
    return await asyncio.to_thread(lambda: operator.passes) >= pipelines


def _cpu(operator: OperatorProcess) -> float:
    """CPU seconds of the operator and of what it started and has reaped."""
    times = psutil.Process(operator.process.pid).cpu_times()
    return float(times.user + times.system + times.children_user + times.children_system)


def _peak_mib(operator: OperatorProcess) -> float:
    lines = Path(f"/proc/{operator.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


if __name__ == "__main__":
    sys.exit(main())
