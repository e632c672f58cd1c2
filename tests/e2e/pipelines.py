"""A pipeline on the cluster, as the end-to-end tests see it: its conditions, its Events, its Services."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from cluster.access import Cluster, Object, wait_for
from eventpipeline.spec import API_VERSION, KIND

ROOT = Path(__file__).resolve().parents[2]
SYSTEM = "eventpipeline-system"
"""The namespace of the operator."""


@dataclass(frozen=True)
class Pipeline:
    """The EventPipeline `name` in `namespace`."""

    cluster: Cluster
    namespace: str
    name: str = "marketing"
    reader_key: str | None = field(default=None, repr=False)
    """What lets the tests read, where the resource asks for a key."""

    @property
    def resource(self) -> str:
        return f"evp/{self.name}"

    def get(self) -> Object | None:
        return self.cluster.get(self.resource, namespace=self.namespace)

    def create(self, spec: Object) -> None:
        """Apply it with this spec. Raises CommandError where it is refused."""
        metadata = {"name": self.name, "namespace": self.namespace}
        self.cluster.apply({"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "spec": spec})

    def patch(self, patch: str) -> None:
        """Merge `patch`, a JSON object, into the resource. Raises CommandError where it is refused."""
        self.cluster.kubectl("patch", self.resource, "--type=merge", "--patch", patch, namespace=self.namespace)

    def condition(self, kind: str = "Ready") -> Object:
        """The condition of this type; empty where there is none."""
        conditions = (self.get() or {}).get("status", {}).get("conditions", [])
        return next((item for item in conditions if item["type"] == kind), {})

    def until_ready(self, seconds: float = 180) -> float:
        """Waits until it is Ready at its present generation; returns how long that took, in seconds."""
        started = time.monotonic()

        def is_ready() -> bool:
            found = self.get() or {}
            ready = self.condition()
            return ready.get("status") == "True" and ready.get("observedGeneration") == found["metadata"]["generation"]

        wait_for(is_ready, what=lambda: f"Ready; it is {self.condition()}", seconds=seconds)
        return time.monotonic() - started

    def events(self) -> list[str]:
        """The messages of the Events in its namespace."""
        return [event["message"] for event in self.cluster.get_all("events", namespace=self.namespace)]

    def url(self, service: str) -> str:
        """Where the machine of the tests reaches `gateway` or `reporter`: by the Service, not by a pod."""
        found: Any = self.cluster.get(f"service/{self.name}-{service}", namespace=self.namespace)
        return f"http://{found['spec']['clusterIP']}:{found['spec']['ports'][0]['port']}"

    @asynccontextmanager
    async def reporter(self, timeout: float = 60.0) -> AsyncIterator[httpx2.AsyncClient]:
        headers = {"authorization": f"Bearer {self.reader_key}"} if self.reader_key else {}
        url = self.url("reporter")
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=timeout, trust_env=False) as client:
            yield client
