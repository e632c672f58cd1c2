"""The operator's release is upgraded while a pipeline runs: pods are replaced only where their image changes."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from operators import CHART, Operator, Owned, upgrade
from pipelines import SYSTEM, Pipeline

from cluster.access import Cluster, wait_for
from cluster.images import PROJECT_IMAGE

_NAME = PROJECT_IMAGE.rpartition(":")[0]
# Without autoscalers: a pod that one of them adds would look like a pod that was replaced.
_FIXED = {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}}
_STEADY = {
    "apiVersion": "eventpipeline.dev/v1alpha1",
    "kind": "EventPipeline",
    "metadata": {"name": "steady"},
    "spec": dict.fromkeys(("gateway", "collector", "reporter"), _FIXED),
}


@pytest.fixture(scope="module")
def next_tag(cluster: Cluster) -> str:
    """A tag of the image of a next release, which here is the same image."""
    if cluster.node is None:
        pytest.skip("the image of a next release can be put only into the harness's own cluster")
    cluster.node.tag(PROJECT_IMAGE, f"{_NAME}:next")
    return "next"


@pytest.fixture(scope="module")
def pipeline(operator: Cluster) -> Iterator[Pipeline]:
    with operator.namespace("upgrade") as namespace:
        pipeline = Pipeline(operator, namespace, "steady")
        operator.apply(_STEADY, namespace=namespace)
        pipeline.until_ready()
        yield pipeline
        operator.kubectl("delete", pipeline.resource, "--ignore-not-found", namespace=namespace)
        upgrade(operator, CHART)


def pods(pipeline: Pipeline) -> dict[str, tuple[str, str, int]]:
    """Of each pod its UID, its image and how often it was started again; those of jobs left out."""
    found = pipeline.cluster.get_all("pods", namespace=pipeline.namespace)
    return {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            pod["spec"]["containers"][0]["image"],
            sum(status["restartCount"] for status in pod["status"].get("containerStatuses", [])),
        )
        for pod in found
        if pod["metadata"]["ownerReferences"][0]["kind"] != "Job"
    }


def images(pipeline: Pipeline) -> list[str]:
    """Those of the services' pods, of the ones that are going too."""
    return [image for _, image, _ in pods(pipeline).values() if "eventpipeline" in image]


def test_the_release_tests_itself(operator: Cluster) -> None:
    assert "Phase:          Succeeded" in operator.helm("test", "eventpipeline", "--timeout=60s", namespace=SYSTEM)


async def test_a_new_chart_and_a_new_operator_replace_no_pod(pipeline: Pipeline, next_tag: str, tmp_path: Path) -> None:
    before, writes = pods(pipeline), await applied(pipeline)
    chart = next_release(tmp_path, image=f"{_NAME}:{next_tag}")
    upgrade(pipeline.cluster, chart, "logLevel=debug", "podAnnotations.example\\.com/release=next")
    operator = Operator(pipeline.cluster)
    (pod,) = operator.pods()
    assert pod["spec"]["containers"][0]["image"].endswith(":next")
    assert operator.look_again(pipeline) == {}, "an unchanged pass writes nothing"
    assert pods(pipeline) == before
    assert await applied(pipeline) == writes
    pipeline.until_ready()


def test_a_new_image_replaces_the_pods_that_run_it_and_no_others(pipeline: Pipeline, next_tag: str) -> None:
    before = pods(pipeline)
    upgrade(pipeline.cluster, CHART, f"image.tag={next_tag}")
    new = f"eventpipeline:{next_tag}"
    wait_for(lambda: set(images(pipeline)) == {new}, what=lambda: f"only {new}; {images(pipeline)}", seconds=120)
    pipeline.until_ready()
    after = pods(pipeline)
    servers = {name: pod for name, pod in before.items() if "eventpipeline" not in pod[1]}
    assert len(servers) == 2
    assert {name: after[name] for name in servers} == servers, "NATS and Postgres go on"


def next_release(folder: Path, *, image: str) -> Path:
    """The chart as a next release might be: another version, another image of the operator's own."""
    chart = folder / "chart"
    shutil.copytree(CHART, chart)
    about = chart / "Chart.yaml"
    about.write_text(re.sub(r"(?m)^version: .*$", "version: 9.0.0", about.read_text()))
    deployment = chart / "templates" / "deployment.yaml"
    text = deployment.read_text()
    own = 'image: {{ include "operator.image" . }}'
    assert text.count(own) == 1
    deployment.write_text(text.replace(own, f"image: {image}"))
    return chart


async def applied(pipeline: Pipeline) -> dict[str, list[str]]:
    """When the operator wrote each object, by the object's own record."""
    return {
        str(key): [
            entry["time"]
            for entry in item["metadata"]["managedFields"]
            if entry["manager"] == "eventpipeline-operator" and not entry.get("subresource")
        ]
        for key, item in (await Owned.of(pipeline).objects()).items()
    }
