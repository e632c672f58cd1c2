"""The operator's process is killed after each of its writes in turn: the next one ends where an undisturbed one does.

Against a real API server without a kubelet, where dozens of kills are cheap; `test_operator_faults.py` has some on a
cluster. Each case has a namespace of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from apiserver import api_server, install_crd
from apiserver_proxy import Proxy, apiserver_proxy
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import PIPELINE, RENDERED_KINDS, SECRET, Key, Object
from operator_process import OperatorProcess, operator_process

FIRST: Object = {}
SECOND: Object = {
    "gateway": {"maxBodyBytes": 1048576, "ingress": {"host": "events.example.com"}},
    "collector": {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
    "deletionPolicy": "Delete",
}
"""Changes some objects, makes others, and no longer has the collectors' autoscalers."""


@pytest.fixture(scope="module")
def kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with api_server(tmp_path_factory.mktemp("apiserver")) as found:
        asyncio.run(install_crd(Cluster.from_kubeconfig(found)))
        yield found


@dataclass
class Stage:
    """One namespace with one pipeline, and operators that look after this namespace alone."""

    cluster: Cluster
    proxy: Proxy
    folder: Path
    namespace: str

    async def write(self, spec: Object, name: str = "marketing") -> None:
        metadata = {"name": name, "namespace": self.namespace}
        kind = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.kind}
        await self.cluster.apply({**kind, "metadata": metadata, "spec": spec})

    async def objects(self) -> dict[Key, Object]:
        listings = [await self.cluster.list_all(kind, self.namespace) for kind in (*RENDERED_KINDS, SECRET, PIPELINE)]
        return {key: item for listing in listings for key, item in listing.items()}

    async def passwords(self) -> dict[str, str] | None:
        found = await self.cluster.get(Key(SECRET, self.namespace, "marketing-auth"))
        return found["data"] if found else None

    def operator(self) -> AbstractContextManager[OperatorProcess]:
        environ = {"WATCH_NAMESPACES": self.namespace, "RESYNC_SECONDS": "0.5"}
        return operator_process(self.proxy.kubeconfig, self.folder / "operator.log", **environ)

    async def run_until_killed(self, writes: int) -> None:
        """An operator that is killed once the API server has taken that many writes of it."""
        killed = asyncio.Event()
        with self.operator() as running:

            def count(number: int) -> None:
                if number >= first + writes:
                    running.process.kill()
                    killed.set()

            first, self.proxy.written = self.proxy.writes, count
            try:
                async with asyncio.timeout(60):
                    await killed.wait()
            finally:
                self.proxy.written = lambda number: None
            await asyncio.to_thread(running.process.join)

    async def run_until_converged(self) -> int:
        """An operator that is left alone; returns how often it wrote."""
        first = self.proxy.writes
        with self.operator() as running:
            await running.until(lambda: self.is_converged(running), "a pass to its end", seconds=60)
            return self.proxy.writes - first

    async def is_observed(self) -> bool:
        body = await self.cluster.get(Key(PIPELINE, self.namespace, "marketing"))
        return bool(body and body.get("status", {}).get("observedGeneration") == body["metadata"]["generation"])

    async def is_converged(self, running: OperatorProcess) -> bool:
        return await self.is_observed() and await asyncio.to_thread(lambda: running.passes) >= 2

    async def picture(self) -> dict[str, Any]:
        """What there is, without what differs from run to run."""
        objects = await self.objects()
        own = objects[Key(PIPELINE, self.namespace, "marketing")]["metadata"]["uid"]
        return {
            f"{key.kind.kind} {key.name}": _timeless(item, {own: "OWNER", self.namespace: "NAMESPACE"})
            for key, item in objects.items()
        }


def _timeless(item: Object, names: dict[str, str]) -> Any:
    text = json.dumps(item)
    for name, stand_in in names.items():
        text = text.replace(name, stand_in)
    item = json.loads(text)
    if item["kind"] == "Secret":
        item["data"] = sorted(item["data"])
    return _without_chance(item)


_CHANCE = (
    "resourceVersion", "creationTimestamp", "managedFields", "clusterIP", "clusterIPs", "lastTransitionTime",
    "eventpipeline.dev/rendered-hash", "eventpipeline.dev/nats-secret-hash", "eventpipeline.dev/store-secret-hash",
    "eventpipeline.dev/postgres-secret-hash",
)  # fmt: skip


def _without_chance(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if key not in _CHANCE and (key != "uid" or part == "OWNER")}
        return {key: _without_chance(part) for key, part in kept.items()}
    return [_without_chance(part) for part in value] if isinstance(value, list) else value


_AT_ONCE = 3
"""Cases under way: most of each is waiting."""


@dataclass
class Sweep:
    """Kills at every write of one step, each in a namespace of its own, against the same step left undisturbed."""

    kubeconfig: Path
    folder: Path
    exits: AsyncExitStack

    async def run(self, name: str, before: Object | None, after: Object) -> int:
        """From `before` to `after`, both a spec; without `before`, from nothing. Returns how many writes that takes."""
        undisturbed = await self.stage(f"{name}-undisturbed")
        await self._prepare([undisturbed], before)
        await undisturbed.write(after)
        count = await undisturbed.run_until_converged()
        expected = await undisturbed.picture()
        stages = [await self.stage(f"{name}-{writes}") for writes in range(1, count + 1)]
        await self._prepare(stages, before)
        places = asyncio.Semaphore(_AT_ONCE)

        async def case(stage: Stage, writes: int) -> None:
            async with places:
                await stage.write(after)
                await stage.run_until_killed(writes)
                passwords = await stage.passwords()
                more = await stage.run_until_converged()
                assert await stage.picture() == expected, f"killed after write {writes}"
                assert passwords, "they come before all else"
                assert await stage.passwords() == passwords, f"killed after write {writes}, passwords were made anew"
                assert more <= count - writes + 1, f"killed after write {writes} of {count}, it wrote {more} times more"

        async with asyncio.TaskGroup() as group:
            for writes, stage in enumerate(stages, 1):
                group.create_task(case(stage, writes))
        print(f"{name}: killed after each of {count} writes; {len(expected)} objects are as they would have been")
        return count

    async def stage(self, name: str) -> Stage:
        """A namespace, and a way to the API server on which the writes of its operators are counted."""
        cluster, folder = Cluster.from_kubeconfig(self.kubeconfig), self.folder / name
        folder.mkdir()
        await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        proxy = await self.exits.enter_async_context(apiserver_proxy(self.kubeconfig, folder))
        return Stage(cluster, proxy, folder, name)

    async def _prepare(self, stages: list[Stage], spec: Object | None) -> None:
        """Has one operator bring all of them to `spec`."""
        if spec is None:
            return
        for stage in stages:
            await stage.write(spec)
        names = ",".join(stage.namespace for stage in stages)
        with operator_process(self.kubeconfig, self.folder / "prepare.log", WATCH_NAMESPACES=names) as running:
            for stage in stages:
                await running.until(stage.is_observed, f"{stage.namespace} as it is before", seconds=120)


@pytest.fixture
async def sweep(kubeconfig: Path, tmp_path: Path) -> AsyncIterator[Sweep]:
    async with AsyncExitStack() as exits:
        yield Sweep(kubeconfig, tmp_path, exits)


async def test_a_first_install_killed_after_each_write(sweep: Sweep) -> None:
    assert await sweep.run("install", None, FIRST) > 25


async def test_a_change_killed_after_each_write(sweep: Sweep) -> None:
    assert await sweep.run("change", FIRST, SECOND) > 5


async def test_a_resource_that_goes_while_the_operator_is_dead_is_not_made_further(sweep: Sweep) -> None:
    stage = await sweep.stage("gone")
    await stage.write(FIRST)
    await stage.run_until_killed(10)
    objects = await stage.objects()
    await stage.cluster.delete(objects.pop(Key(PIPELINE, "gone", "marketing")))
    await stage.write({"paused": True}, name="other")
    with stage.operator() as running:

        async def has_looked() -> bool:
            return await asyncio.to_thread(lambda: running.passes) >= 3

        await running.until(has_looked, "passes over the other pipeline")
    left = await stage.objects()
    del left[Key(PIPELINE, "gone", "other")]
    assert left == objects
