"""A pipeline on a real Kubernetes under load, while its pods and what runs them are broken; the oracle of tests/faults.

    python -m full.pods [--seed 1] [--seconds 240] [--nats-servers 1] [--document PAGE]

Prints each fault and how long it took to recover, a table, and on its last line one JSON object, as `make faults` does.
The exit code is 1 where an event is lost or counted twice, something does not come back, or a gate of time is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx2
import started
from installing import Overlay, installed
from pipelines import ROOT, Pipeline

from cluster import host, parts
from cluster.access import Cluster
from cluster.layout import Layout
from eventpipeline.publisher import Observer, Options, judge, publish
from eventpipeline.readers import hashed, new_key
from faults.breaking import MOST_SECONDS_TO_RECOVER, Breaking, Recovery, stuck
from faults.gates import passed
from faults.oracle import Judgement
from faults.oracle import judge as judge_rows
from faults.report import as_json, summary, table, write
from faults.sent import Sent
from full.pod_inject import Injector
from full.pod_schedule import FIRST, GATES, schedule
from full.pod_state import PodWatch

_LOAD = Options(rate=2.0, seconds=24 * 3600.0, batch=(200, 1500), duplicates=0.2, timeout=20.0)


@dataclass(frozen=True)
class Outcome:
    judgement: Judgement
    recoveries: tuple[Recovery, ...]
    seconds: float

    @property
    def failures(self) -> list[str]:
        late = [str(one) for one in passed(self.recoveries, GATES) if not one.kept]
        return [*self.judgement.differences, *stuck(self.recoveries), *late]

    def lines(self, seed: int) -> list[str]:
        """The run for people: sums, gates and, from the first empty line on, a table."""
        sums = summary(self.judgement.found, self.recoveries, seed, self.seconds)
        return [*sums, *map(str, passed(self.recoveries, GATES)), "", *table(self.recoveries)]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m full.pods", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seed", type=int, default=1, help="the same seed gives the same schedule")
    parser.add_argument("--seconds", type=float, default=240.0, help="how long faults go on")
    parser.add_argument("--nats-servers", type=int, choices=(1, 3), default=1, help="three: manifests/production.yaml")
    parser.add_argument("--document", type=Path, help="write the run into this page")
    arguments = parser.parse_args()
    layout = Layout.of_user()
    host.require()
    parts.ensure(layout)
    os.environ.setdefault("EVENTPIPELINE_HELM", str(layout.parts / "helm"))
    with started.bare_cluster() as cluster:
        started.load_images(cluster)
        with started.operator(cluster), _pipeline(cluster, arguments.nats_servers) as pipeline:
            print(f"Ready after {pipeline.until_ready(300):.1f} s", flush=True)
            with tempfile.TemporaryDirectory(prefix="pods-") as folder:
                outcome = asyncio.run(
                    _run(pipeline, Path(folder), arguments.seed, arguments.seconds, arguments.nats_servers)
                )
    lines = outcome.lines(arguments.seed)
    print(*lines, *(f"FAILED: {failure}" for failure in outcome.failures), sep="\n")
    if arguments.document:
        write(_page(lines), arguments.document, f"pods of {arguments.nats_servers} NATS")
    print(as_json(outcome.judgement.found, outcome.recoveries), flush=True)
    return 1 if outcome.failures else 0


def _page(lines: list[str]) -> Iterator[str]:
    sums = list(itertools.takewhile(bool, lines))
    yield from (f"    {line}" for line in sums)
    yield from lines[len(sums) :]


@contextmanager
def _pipeline(cluster: Cluster, nats_servers: int) -> Iterator[Pipeline]:
    """The pipeline of a manifest, two gateways, and on three servers two collectors a source; small, for one node."""
    two = {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}}
    one = {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}}
    small = {"resources": {"requests": {"cpu": "20m", "memory": "96Mi"}}}
    collector = small | (two if nats_servers > 1 else one)
    spec = {
        "sources": [{"name": "facebook"}, {"name": "tiktok", "collector": collector}],
        "gateway": small | two,
        "collector": collector,
        "reporter": small | one,
        "stream": {"nats": {"storage": "2Gi"}},
        "store": {"postgres": {"storage": "2Gi"}},
    }
    overlay: Overlay = {("EventPipeline", "marketing"): {"spec": spec}}
    file = "production.yaml" if nats_servers > 1 else "minimal.yaml"
    key = new_key()
    with installed(cluster, [ROOT / "manifests" / file], overlay) as (pipeline,):
        # Production lets nobody read without a key.
        metadata = {"name": "marketing-readers", "namespace": pipeline.namespace}
        hashes = {"read": hashed(key), "operate": hashed(new_key())}
        cluster.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": hashes})
        yield replace(pipeline, reader_key=key)


async def _run(pipeline: Pipeline, folder: Path, seed: int, seconds: float, nats_servers: int) -> Outcome:
    assert pipeline.cluster.node, "a fault of the node needs a node of the harness's own"
    began = time.monotonic()
    async with httpx2.AsyncClient(trust_env=False) as client, pipeline.reporter() as reporter:
        watch, observer = PodWatch(pipeline, client), Observer(reporter)
        before = await observer.observe()
        inject = Injector(watch, pipeline.cluster.node, random.Random(f"{seed}/pods/replicas"))
        breaking = Breaking(inject, watch, lambda line: print(line, flush=True), began)
        stop = asyncio.Event()
        with Sent(folder / "sent.tsv") as sent:
            url, load = pipeline.url("gateway"), replace(_LOAD, seed=seed)
            publishing = asyncio.create_task(publish(url, load, watch.on_answer, stop, on_batch=sent.write))
            try:
                await watch.until_answering(time.monotonic(), 30.0)
                await breaking.all_of(schedule(seed, nats_servers=nats_servers), seconds, len(FIRST))
            finally:
                stop.set()
                ledger = await publishing
        await watch.until_drained(time.monotonic(), MOST_SECONDS_TO_RECOVER)
        verdict = judge(ledger, before, await observer.observe_stored(ledger, before, quiet=60.0))
        judgement = await asyncio.to_thread(judge_rows, await watch.database_url(), sent.path, ledger, verdict)
    return Outcome(judgement, tuple(breaking.recoveries), time.monotonic() - began)


if __name__ == "__main__":
    sys.exit(main())
