"""Looking at a pipeline: its pods and volumes, its streams, and what its services say of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from eventpipeline import users
from eventpipeline.plan import NATS_PORT, REPORTER_PORT
from eventpipeline.spec import EventPipeline
from eventpipeline_operator.auth import NATS_PASSWORD, NATS_USER, nats_logins
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import CLAIM, EVENT, PIPELINE_LABEL, POD, Key, Kind, Object
from eventpipeline_operator.observe import Objects, Seen, WorkloadSeen, is_ready, workloads_seen
from eventpipeline_operator.planned import Planned
from eventpipeline_operator.probe import Probe
from eventpipeline_operator.reload import teach
from eventpipeline_operator.secret import Credentials
from eventpipeline_operator.streams import Streams, StreamsSeen

_HTTP_PORT_NAME = "http"
_ASKED_PODS = 8


@dataclass(frozen=True)
class Looking:
    cluster: Cluster
    open_streams: Streams
    probe: Probe

    async def streams(
        self,
        pipeline: EventPipeline,
        plans: Planned,
        secrets: Credentials,
        workloads: Mapping[str, WorkloadSeen],
        *,
        write: bool,
    ) -> StreamsSeen:
        """The streams, put back where they are missing or changed. A managed NATS that is not ready is not asked."""
        nats = workloads.get("nats")
        if not write or (plans.plan.nats and not (nats and nats.ready)):
            return StreamsSeen()
        settings = plans.stream_settings(secrets.variables(pipeline))
        return await self.open_streams.look(pipeline.metadata.uid or "", settings, plans.sources, secrets.nats_tls)

    async def pods(self, pipeline: EventPipeline) -> tuple[Object, ...]:
        return tuple((await self._labelled(pipeline, POD)).values())

    async def drop(self, pipeline: EventPipeline, source: str) -> bool:
        """Drops the stream of a removed source if all of it is stored; says whether it did."""
        return await self.open_streams.drop(pipeline.metadata.uid or "", source)

    async def claims(self, pipeline: EventPipeline) -> dict[Key, Object]:
        return await self._labelled(pipeline, CLAIM)

    async def seen(self, pipeline: EventPipeline, live: Mapping[Key, Object]) -> Seen:
        """The workloads and what is wrong with them; what explains it is only read where something is not ready."""
        first = workloads_seen(pipeline.metadata.name, Objects(live))
        if all(w.ready >= w.wanted and w.current and w.updated == w.replicas for w in first.values()):
            return Seen(first)
        namespace = pipeline.metadata.namespace or ""
        pods, claims, events = await asyncio.gather(
            self._labelled(pipeline, POD),
            self.claims(pipeline),
            self.cluster.list_all(EVENT, namespace, fields="type=Warning"),
        )
        found = Objects(
            live,
            tuple(pods.values()),
            tuple(claims.values()),
            tuple(events.values()),
            await self._answers(pods.values()),
        )
        return Seen(workloads_seen(pipeline.metadata.name, found))

    async def dead_letters(self, pipeline: EventPipeline, seen: Seen) -> Mapping[str, int]:
        reporter = seen.workloads.get("reporter")
        if reporter is None or not reporter.ready:
            return {}
        host = f"{pipeline.metadata.name}-reporter.{pipeline.metadata.namespace}.svc"
        return await self.probe.dead_letters(f"http://{host}:{REPORTER_PORT}")

    async def teach_nats(self, pipeline: EventPipeline, secrets: Credentials) -> str | None:
        """Has the servers of a managed NATS learn the passwords that are in the Secret; says who has not, or None."""
        managed, auth = pipeline.spec.stream.managed, secrets.auth
        assert managed
        name = f"{pipeline.metadata.name}-nats"
        host = f"{name}-headless.{pipeline.metadata.namespace}.svc:{NATS_PORT}"
        servers = {f"{name}-{ordinal}": f"{name}-{ordinal}.{host}" for ordinal in range(managed.replicas)}
        system = users.system_login(auth[NATS_USER]), auth[NATS_PASSWORD]
        _, others = nats_logins(auth)
        return await teach(servers, system, others)

    async def forget(self, uid: str) -> None:
        await self.open_streams.close(uid)

    async def _labelled(self, pipeline: EventPipeline, kind: Kind) -> dict[Key, Object]:
        labels = {PIPELINE_LABEL: pipeline.metadata.name}
        return await self.cluster.list_all(kind, pipeline.metadata.namespace or "", labels=labels)

    async def _answers(self, pods: Iterable[Object]) -> dict[str, Mapping[str, str]]:
        """What running pods that are not ready say at /readyz."""
        asked = [(pod, port) for pod in pods if not is_ready(pod) and (port := _http_port(pod))][:_ASKED_PODS]
        answers = await asyncio.gather(*(self.probe.readiness(pod["status"]["podIP"], port) for pod, port in asked))
        return {pod["metadata"]["name"]: answer for (pod, _), answer in zip(asked, answers, strict=True)}


def _http_port(pod: Object) -> int | None:
    if pod.get("status", {}).get("phase") != "Running" or not pod["status"].get("podIP"):
        return None
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports", []))
    found: int | None = next((port["containerPort"] for port in ports if port.get("name") == _HTTP_PORT_NAME), None)
    return found
