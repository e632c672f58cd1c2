"""The operator on the cluster, as the end-to-end tests see it: its pod, its metrics, and its sudden end."""

from __future__ import annotations

import os
import secrets
import signal
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines import ROOT, SYSTEM, Pipeline

from cluster import box
from cluster.access import Cluster, Object, wait_for
from eventpipeline import __version__
from eventpipeline.spec import EventPipeline
from eventpipeline_operator.cluster import Cluster as Api
from eventpipeline_operator.drift import differences
from eventpipeline_operator.objects import PIPELINE, PIPELINE_LABEL, RENDERED_KINDS, Key, prepared
from eventpipeline_operator.planned import planned
from eventpipeline_operator.render import ChartRenderer
from eventpipeline_operator.secret import credentials
from eventpipeline_operator.settings import OperatorSettings

CHART = ROOT / "charts" / "eventpipeline-operator"
_COMMAND = "eventpipeline-operator"
_SELECTOR = "app.kubernetes.io/component=operator"


def upgrade(cluster: Cluster, chart: Path, *settings: str) -> None:
    """Upgrades the operator's release to `chart` with these settings alone; returns when it runs."""
    flags = [part for setting in settings for part in ("--set", setting)]
    # Without --reset-values helm keeps those of the release before where none are given.
    command = ("upgrade", "eventpipeline", str(chart), "--reset-values", "--wait", "--timeout=120s", *flags)
    cluster.helm(*command, namespace=SYSTEM)


@dataclass(frozen=True)
class Operator:
    cluster: Cluster

    def kill(self) -> None:
        """Its process ends without a last word, and its pod with it, as where a node is lost; a new one follows."""
        pod, *_ = wait_for(self.pods, what="a pod of the operator")
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)
        # A container that ends is started again with a growing delay; a new pod is not.
        name = pod["metadata"]["name"]
        self.cluster.kubectl("delete", "pod", name, "--force", "--grace-period=0", "--wait=false", namespace=SYSTEM)

    def pods(self) -> list[Object]:
        found = self.cluster.get_all("pods", namespace=SYSTEM, selector=_SELECTOR)
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def until_ready(self) -> None:
        self.cluster.kubectl("rollout", "status", "deployment", "--timeout=120s", namespace=SYSTEM)

    def metrics(self) -> dict[str, float]:
        """Its samples, such as `eventpipeline_operator_reconcile_total{result="success"}`."""
        service: Any = self.cluster.get("service/eventpipeline-operator", namespace=SYSTEM)
        with urllib.request.urlopen(f"http://{service['spec']['clusterIP']}:8080/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines) if name[:1] != "#"}

    def look_again(self, pipeline: Pipeline) -> dict[str, float]:
        """Has one more pass made over `pipeline`; returns how much was written meanwhile, beside the status."""
        before = self.metrics()
        passes = 'eventpipeline_operator_reconcile_total{result="success"}'
        pipeline.cluster.kubectl(
            "annotate", pipeline.resource, f"example.com/look={secrets.token_hex(4)}", "--overwrite",
            namespace=pipeline.namespace,
        )  # fmt: skip
        wait_for(lambda: self.metrics().get(passes, 0.0) > before.get(passes, 0.0), what="another pass", seconds=30)
        after = self.metrics()
        writes = "eventpipeline_operator_writes_total"
        grown = {name: after[name] - before.get(name, 0.0) for name in after if name.startswith(writes)}
        return {name: count for name, count in grown.items() if count and "status" not in name}

    def _processes(self) -> list[int]:
        """Its processes as this machine sees them; none where the cluster is another machine's."""
        found = box.find(self.cluster.node.layout) if self.cluster.node else None
        return [pid for pid in found.processes() if _COMMAND in _command_line(pid)] if found else []


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


@dataclass(frozen=True)
class Owned:
    """What a pipeline owns in the cluster, read fast enough to see it grow."""

    api: Api
    namespace: str
    name: str

    @classmethod
    def of(cls, pipeline: Pipeline) -> Owned:
        return cls(Api.from_kubeconfig(pipeline.cluster.kubeconfig), pipeline.namespace, pipeline.name)

    async def objects(self) -> dict[Key, Object]:
        found: dict[Key, Object] = {}
        for kind in RENDERED_KINDS:
            found |= await self.api.list_all(kind, self.namespace, labels={PIPELINE_LABEL: self.name})
        return found

    async def faults(self) -> list[str]:
        """Where what is there is not what the chart renders for the resource: missing, too much, or different."""
        body = await self.api.get(Key(PIPELINE, self.namespace, self.name))
        assert body
        pipeline = EventPipeline.model_validate(body)
        settings = OperatorSettings.read(
            {"HELM": os.environ["EVENTPIPELINE_HELM"], "IMAGE": f"eventpipeline:{__version__}"}
        )
        own = await credentials(self.api, pipeline, write=False)
        render = ChartRenderer(settings)
        rendered = await render(pipeline, planned(pipeline, ()), own, await self.api.versions())
        wanted, live = prepared(rendered, pipeline), await self.objects()
        found = [f"{key} is missing" for key in wanted.keys() - live.keys()]
        found += [f"{key} is too much" for key in live.keys() - wanted.keys()]
        for key in wanted.keys() & live.keys():
            found += [f"{key} differs at {path}" for path in differences(wanted[key], live[key])]
        return found
