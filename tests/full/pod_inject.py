"""Doing a fault to the pods of a pipeline, or to what runs them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from dataclasses import dataclass, field

from operators import CHART, Operator, upgrade

from cluster.access import Object
from cluster.images import PROJECT_IMAGE
from cluster.node import Node
from eventpipeline import __version__
from faults.schedule import Fault
from full.pod_schedule import PodKind
from full.pod_state import PodWatch, containers

_NAME = PROJECT_IMAGE.rpartition(":")[0]
_TAGS = (__version__, "next")


@dataclass
class Injector:
    """Breaks what `watch` watches, on a node of the harness's own. `rng` chooses the replica."""

    watch: PodWatch
    node: Node
    rng: random.Random
    _upgrades: int = field(default=0)

    async def __call__(self, fault: Fault) -> Collection[str]:
        """Does it; returns what must be gone before all can be well: UIDs of pods, ids of containers, images.

        Raises ClusterError.
        """
        match fault.kind:
            case PodKind.DELETE:
                return await self._delete(await self._any(fault.target))
            case PodKind.LEADER:
                return await self._delete(await self._leader())
            case PodKind.FORCE:
                return await self._delete(await self._any(fault.target), "--force", "--grace-period=0")
            case PodKind.KILL:
                ids = containers(await self._any(fault.target))
                for container in ids:
                    await asyncio.to_thread(self.node.kill_container, container)
                return ids
            case PodKind.ROLL:
                return await self._roll(fault.target)
            case PodKind.KUBELET:
                await asyncio.to_thread(self.node.kill_part, "kubelet")
                await asyncio.sleep(fault.seconds)
                await asyncio.to_thread(self.node.start_part, "kubelet")
                return ()
            case PodKind.OPERATOR_KILL:
                gone = [pod["metadata"]["uid"] for pod in await asyncio.to_thread(self._operator.pods)]
                await asyncio.to_thread(self._operator.kill)
                return gone
            case PodKind.OPERATOR_UPGRADE:
                return await self._upgrade()
        raise ValueError(fault.kind)

    @property
    def _operator(self) -> Operator:
        return Operator(self.watch.pipeline.cluster)

    async def _any(self, target: str) -> Object:
        """A pod of a component whose container runs, once there is one."""
        name = f"{self.watch.pipeline.name}-{target}"
        async with asyncio.timeout(60):
            while not (pods := [pod for pod in (await self.watch.state()).pods(name) if containers(pod)]):
                await asyncio.sleep(0.2)
        return self.rng.choice(sorted(pods, key=lambda pod: str(pod["metadata"]["name"])))

    async def _leader(self) -> Object:
        async with asyncio.timeout(60):
            while True:
                for pod in (await self.watch.state()).pods(f"{self.watch.pipeline.name}-nats"):
                    found = (await self.watch.streams(pod) or {}).get("account_details") or ()
                    for stream in (one for account in found for one in account.get("stream_detail") or ()):
                        leader = stream["cluster"].get("leader")
                        if (stream["name"], leader) == ("EVENTS_facebook", pod["metadata"]["name"]):
                            return pod
                await asyncio.sleep(0.2)

    async def _delete(self, pod: Object, *flags: str) -> Collection[str]:
        await self._kubectl("delete", f"pod/{pod['metadata']['name']}", "--wait=false", *flags)
        return [pod["metadata"]["uid"]]

    async def _roll(self, target: str) -> Collection[str]:
        kind = "statefulset" if target in ("nats", "postgres") else "deployment"
        name = f"{self.watch.pipeline.name}-{target}"
        pods = (await self.watch.state()).pods(name)
        await self._kubectl("rollout", "restart", f"{kind}/{name}")
        return [pod["metadata"]["uid"] for pod in pods]

    async def _upgrade(self) -> Collection[str]:
        old, new = _TAGS[self._upgrades % 2], _TAGS[(self._upgrades + 1) % 2]
        self._upgrades += 1
        self.node.tag(PROJECT_IMAGE, f"{_NAME}:next")
        await asyncio.to_thread(upgrade, self.watch.pipeline.cluster, CHART, f"image.tag={new}")
        return [f"eventpipeline:{old}"]

    async def _kubectl(self, *arguments: str) -> None:
        pipeline = self.watch.pipeline
        await asyncio.to_thread(pipeline.cluster.kubectl, *arguments, namespace=pipeline.namespace)
