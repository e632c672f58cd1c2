"""A pipeline on the cluster while its pods are broken: what there is of it, how far it is, whether all is well."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import httpx2
from pipelines import SYSTEM, Pipeline

from cluster.access import Object
from cluster.errors import ClusterError
from eventpipeline.stream import DEAD
from faults import recovering
from faults.recovering import Place, Recovering

_POLL_SECONDS = 0.5
_MONITOR_PORT = 8222
_STREAMS = {DEAD, "EVENTS_facebook", "EVENTS_tiktok"}


@dataclass(frozen=True)
class State:
    """Everything of a pipeline, and the operator, as the API had it at one moment."""

    objects: tuple[Object, ...]

    def of(self, kind: str) -> list[Object]:
        return [item for item in self.objects if item["kind"] == kind]

    def pods(self, name: str = "", *, leaving: bool = False) -> list[Object]:
        """Of one workload (`marketing-gateway`) or of all; those of jobs left out, and those that are `leaving`."""
        return [
            pod
            for pod in self.of("Pod")
            if pod["metadata"]["name"].startswith(f"{name}-" if name else "")
            and (leaving or "deletionTimestamp" not in pod["metadata"])
            and pod["metadata"]["ownerReferences"][0]["kind"] != "Job"
        ]

    @property
    def identities(self) -> set[str]:
        """Of all pods, of those that are leaving too: UIDs, the ids of their containers, their images."""
        pods = self.pods(leaving=True)
        return {
            *(pod["metadata"]["uid"] for pod in pods),
            *(name for pod in pods for name in containers(pod)),
            *(container["image"] for pod in pods for container in pod["spec"]["containers"]),
        }

    @property
    def faults(self) -> list[str]:
        """What is not as it should be; nothing where all is well."""
        found = [
            f"{item['kind']} {item['metadata']['name']}"
            for item in (*self.of("Deployment"), *self.of("StatefulSet"))
            if not _is_rolled_out(item)
        ]
        found += [
            f"{pod['metadata']['name']} is leaving"
            for pod in self.pods(leaving=True)
            if "deletionTimestamp" in pod["metadata"]
        ]
        for item in self.of("EventPipeline"):
            conditions = {one["type"]: one for one in item.get("status", {}).get("conditions", [])}
            if conditions.get("Ready", {}).get("status") != "True":
                found.append(str(conditions.get("Ready")))
        return found


def containers(pod: Object) -> list[str]:
    """The ids of its containers, as the runtime has them."""
    statuses = pod["status"].get("containerStatuses", [])
    return [status["containerID"].removeprefix("containerd://") for status in statuses if status.get("containerID")]


def _is_rolled_out(item: Object) -> bool:
    wanted, status = item["spec"]["replicas"], item["status"]
    counts = {status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")}
    return counts == {wanted} and status.get("observedGeneration") == item["metadata"]["generation"]


@dataclass
class PodWatch(Recovering):
    """Watches one pipeline of the sources facebook and tiktok."""

    pipeline: Pipeline
    client: httpx2.AsyncClient

    async def state(self) -> State:
        """Raises ClusterError."""
        return await asyncio.to_thread(self._state)

    def _state(self) -> State:
        cluster, kinds = self.pipeline.cluster, "deployments,statefulsets,pods"
        own = cluster.get_all(f"{kinds},evp", namespace=self.pipeline.namespace)
        return State((*own, *cluster.get_all(kinds, namespace=SYSTEM)))

    async def look(self) -> dict[str, Place] | None:
        try:
            pods = (await self.state()).pods(f"{self.pipeline.name}-nats")
        except ClusterError:
            return None
        answers = [answer for pod in pods if (answer := await self.streams(pod))]
        found = recovering.places(answers)
        return found if found.keys() >= _STREAMS else None

    async def streams(self, pod: Object) -> dict[str, Any] | None:
        """What a server says of the streams that it has; None where it does not answer."""
        url = f"http://{pod['status'].get('podIP')}:{_MONITOR_PORT}/jsz?consumers=true"
        try:
            answer = await self.client.get(url, timeout=2.0)
            return dict(answer.json())
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError):
            return None

    async def until_well(self, gone: Collection[str], since: float, most: float) -> float | None:
        """Seconds from `since` until nothing is left of what is to be `gone`, and everything runs as it should."""
        while time.monotonic() < since + most:
            try:
                state = await self.state()
            except ClusterError:
                state = None
            if state:
                self.troubles = [*state.faults, *(f"{name} is still there" for name in state.identities & set(gone))]
                if not self.troubles:
                    return time.monotonic() - since
            await asyncio.sleep(_POLL_SECONDS)
        return None

    async def database_url(self) -> str:
        """Of the owner, from this machine."""
        (pod,) = (await self.state()).pods(f"{self.pipeline.name}-postgres")
        secret: Any = self.pipeline.cluster.get(f"secret/{self.pipeline.name}-auth", namespace=self.pipeline.namespace)
        password = base64.b64decode(secret["data"]["postgres-owner-password"]).decode()
        return f"postgresql://eventpipeline_owner:{password}@{pod['status']['podIP']}:5432/eventpipeline"
