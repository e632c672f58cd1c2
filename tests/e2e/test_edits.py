"""The story of a pipeline that is changed while it works: no request is refused, and nothing is lost.

The tests of this file run in order on one pipeline; each goes on from what the one before left. In the end of each, the
reports say exactly what was answered 202 since the beginning.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import httpx2
import nats
import pytest
from nats.js.api import DiscardPolicy
from pipelines import Pipeline
from senders import Sender, Sent, publishing, until_exact

from cluster.access import Cluster, Object, wait_for

FIXED = {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}}
FACEBOOK, TIKTOK = {"name": "facebook"}, {"name": "tiktok", "collector": FIXED}


@pytest.fixture(scope="module")
def pipeline(operator: Cluster) -> Iterator[Pipeline]:
    with operator.namespace("edits") as name:
        found = Pipeline(operator, name)
        operator.apply(
            {
                "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
                "metadata": {"name": found.name},
                "spec": {"sources": [FACEBOOK], "stream": {"nats": {"storage": "1Gi"}}},
            },
            namespace=name,
        )  # fmt: skip
        found.until_ready()
        yield found


@pytest.fixture(scope="module")
def sent() -> dict[str, Sent]:
    """What was sent since the beginning, by source."""
    return {"facebook": Sent(), "tiktok": Sent()}


@contextmanager
def load(pipeline: Pipeline, sent: dict[str, Sent], *sources: str, publisher: bool = False) -> Iterator[None]:
    """Sends events of `sources` all the while; at the end no request of them was refused, and the reports are exact.

    `publisher`: the public publisher too, which sends both sources in one body.
    """
    started, before = time.monotonic(), sum(found.accepted for found in sent.values())
    with ExitStack() as senders:
        for source in sources:
            senders.enter_context(Sender(pipeline, source, sent[source]))
        if publisher:
            senders.enter_context(publishing(pipeline, sent))
        yield
    accepted = sum(found.accepted for found in sent.values()) - before
    print(f"{accepted:,} events accepted in {time.monotonic() - started:.1f} s")
    assert [text for found in sent.values() for text in found.refused] == []
    assert accepted > 0
    until_exact(pipeline, sent)


def edit(pipeline: Pipeline, spec: dict[str, Any]) -> None:
    pipeline.patch(json.dumps({"spec": spec}))


def deployment(pipeline: Pipeline, name: str) -> Object | None:
    return pipeline.cluster.get(f"deployment/{pipeline.name}-{name}", namespace=pipeline.namespace)


def pods(pipeline: Pipeline, component: str) -> list[Object]:
    return pipeline.cluster.get_all(
        "pods", namespace=pipeline.namespace, selector=f"app.kubernetes.io/component={component}"
    )


def until_rolled_out(pipeline: Pipeline) -> None:
    """Ready, and no pod of before is left: what ends late refuses late."""
    pipeline.until_ready()
    wait_for(
        lambda: not any("deletionTimestamp" in pod["metadata"] for pod in all_pods(pipeline)),
        what="no pod that is leaving",
        seconds=120,
    )


def all_pods(pipeline: Pipeline) -> list[Object]:
    return pipeline.cluster.get_all("pods", namespace=pipeline.namespace)


def said(pipeline: Pipeline, text: str) -> bool:
    return any(text in message for message in pipeline.events())


def test_a_source_is_added(pipeline: Pipeline, sent: dict[str, Sent]) -> None:
    facebook = pods(pipeline, "collector")
    with load(pipeline, sent, "facebook", "tiktok"):
        wait_for(lambda: sent["tiktok"].rejected, what="events of a source that it does not take", seconds=30)
        edit(pipeline, {"sources": [FACEBOOK, TIKTOK]})
        wait_for(lambda: sent["tiktok"].accepted, what="events of the new source", seconds=120)
        until_rolled_out(pipeline)
    uids = {pod["metadata"]["uid"] for pod in pods(pipeline, "collector")}
    assert {pod["metadata"]["uid"] for pod in facebook} <= uids, "nothing about the other source has changed"


def test_autoscaling_and_resources_are_changed(pipeline: Pipeline, sent: dict[str, Sent]) -> None:
    with load(pipeline, sent, "facebook", "tiktok", publisher=True):
        for change in (
            {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
            {"autoscaling": {"minReplicas": 1, "maxReplicas": 3}, "resources": {"requests": {"cpu": "90m"}}},
        ):
            edit(pipeline, {"gateway": change, "collector": change})
            until_rolled_out(pipeline)
    found = deployment(pipeline, "gateway")
    assert found
    assert found["spec"]["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"] == "90m"


def test_the_password_of_the_database_is_rotated(pipeline: Pipeline, sent: dict[str, Sent]) -> None:
    def user() -> str:
        found: Any = pipeline.cluster.get(f"secret/{pipeline.name}-auth", namespace=pipeline.namespace)
        return found["data"]["postgres-user"]

    def hashes() -> set[str]:
        return {
            pod["metadata"]["annotations"]["eventpipeline.dev/store-secret-hash"]
            for component in ("collector", "reporter")
            for pod in pods(pipeline, component)
        }

    before, old = user(), hashes()
    assert len(old) == 2, "the reporter's role is not the collectors'"
    untouched = {component: {pod["metadata"]["uid"] for pod in pods(pipeline, component)} for component in UNTOUCHED}
    with load(pipeline, sent, "facebook", "tiktok", publisher=True), reading(pipeline) as answers:
        pipeline.cluster.kubectl(
            "annotate", pipeline.resource, "eventpipeline.dev/rotate-database-password=1", namespace=pipeline.namespace
        )
        wait_for(lambda: user() != before, what="the other role", seconds=60)
        wait_for(lambda: not old & hashes() and len(hashes()) == 2, what="pods with the new password", seconds=120)
        until_rolled_out(pipeline)
    assert said(pipeline, "rotated the database's password")
    for component, uids in untouched.items():
        assert {pod["metadata"]["uid"] for pod in pods(pipeline, component)} == uids, component
    print(f"{len(answers)} reports were read meanwhile")
    assert len(answers) > 20
    assert set(answers) == {200}


UNTOUCHED = ("gateway", "postgres", "nats")


@contextmanager
def reading(pipeline: Pipeline) -> Iterator[list[int | str]]:
    """Reads a report again and again, each over a connection of its own: the statuses, or why there was none."""
    answers: list[int | str] = []
    stop, url = threading.Event(), f"{pipeline.url('reporter')}/reports/events"

    def read() -> None:
        while not stop.wait(0.2):
            try:
                answers.append(httpx2.get(url, trust_env=False, timeout=30).status_code)
            except httpx2.HTTPError as error:
                answers.append(type(error).__name__)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield answers
    finally:
        stop.set()
        reader.join()


def test_a_source_that_lags_is_removed(pipeline: Pipeline, sent: dict[str, Sent]) -> None:
    edit(pipeline, {"paused": True})
    wait_for(lambda: pipeline.condition("Paused"), what="the condition Paused")
    collector = f"deployment/{pipeline.name}-tiktok-collector"
    pipeline.cluster.kubectl("scale", collector, "--replicas=0", namespace=pipeline.namespace)
    wait_for(
        lambda: not [pod for pod in pods(pipeline, "collector") if "tiktok" in pod["metadata"]["name"]],
        what="no collector of tiktok",
        seconds=120,
    )
    before = sent["tiktok"].accepted, sent["tiktok"].rejected
    with load(pipeline, sent, "facebook", "tiktok"):
        wait_for(lambda: sent["tiktok"].accepted > before[0] + 2000, what="a lag", seconds=60)
        edit(pipeline, {"paused": False, "sources": [FACEBOOK]})

        def states() -> dict[str, str]:
            return {item["name"]: item["state"] for item in (pipeline.get() or {})["status"]["sources"]}

        wait_for(lambda: states().get("tiktok") == "Draining", what="a source that drains", seconds=30)
        wait_for(lambda: sent["tiktok"].rejected > before[1], what="a gateway that refuses it", seconds=120)
        wait_for(lambda: states() == {"facebook": "Active"}, what="the end of it", seconds=180)
        until_rolled_out(pipeline)
    assert deployment(pipeline, "tiktok-collector") is None
    wait_for(partial(said, pipeline, "dropped its stream"), what="an Event that its stream is gone", seconds=60)


def test_the_source_comes_back(pipeline: Pipeline, sent: dict[str, Sent]) -> None:
    before = sent["tiktok"].accepted
    with load(pipeline, sent, "facebook", "tiktok"):
        edit(pipeline, {"sources": [FACEBOOK, TIKTOK]})
        wait_for(lambda: sent["tiktok"].accepted > before, what="events of it", seconds=120)
        until_rolled_out(pipeline)


async def meddle(url: str) -> None:
    """What somebody does who has the password of NATS."""
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        await jetstream.delete_consumer("EVENTS_tiktok", "collector")
        present = (await jetstream.stream_info("EVENTS_facebook")).config
        await jetstream.update_stream(present.evolve(discard=DiscardPolicy.OLD, max_age=3600))
    finally:
        await client.close()


def test_streams_that_somebody_changes_are_put_back_and_said(pipeline: Pipeline, sent: dict[str, Sent]) -> None:
    secret: Any = pipeline.cluster.get(f"secret/{pipeline.name}-auth", namespace=pipeline.namespace)
    password = base64.b64decode(secret["data"]["nats-password"]).decode()
    service: Any = pipeline.cluster.get(f"service/{pipeline.name}-nats", namespace=pipeline.namespace)
    with load(pipeline, sent, "facebook", "tiktok"):
        asyncio.run(meddle(f"nats://eventpipeline:{password}@{service['spec']['clusterIP']}:4222"))
        # Or it would be seen within a minute.
        pipeline.cluster.kubectl("annotate", pipeline.resource, "looked-at=now", namespace=pipeline.namespace)
        for text in ("put back stream EVENTS_facebook", "made consumer collector of stream EVENTS_tiktok again"):
            wait_for(partial(said, pipeline, text), what=f"an Event: {text}", seconds=90)
