"""One cluster serves all end-to-end tests: the one KUBECONFIG names, else the node of tests/cluster."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from outside import Outside, servers
from pipelines import ROOT, SYSTEM

from cluster import host, parts
from cluster.access import Cluster, named_by_user
from cluster.errors import CannotRunError
from cluster.images import Builder
from cluster.layout import Layout
from cluster.node import Node


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`-m node` are the tests on the one node; the others share nothing and can run side by side."""
    for item in items:
        if isinstance(item, pytest.Function) and "bare_cluster" in item.fixturenames:
            item.add_marker("node")


@pytest.fixture(scope="session", autouse=True)
def binaries() -> Iterator[None]:
    """helm, kubectl, the API server and the parts of a node, on the PATH."""
    layout = Layout.of_user()
    try:
        host.require()
        parts.ensure(layout)
    except CannotRunError as reason:
        _give_up(f"no binaries for the end-to-end tests: {reason}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(layout.parts), prepend=os.pathsep)
        patch.setenv("EVENTPIPELINE_HELM", str(layout.parts / "helm"))
        yield


@pytest.fixture(scope="session")
def bare_cluster() -> Iterator[Cluster]:
    """A cluster without the project's images. A node that was up stays up; one that is started here is ended here."""
    layout = Layout.of_user()
    named = named_by_user(layout)
    if named:
        yield Cluster(named, None, layout.parts)
        return
    node = Node(layout)
    was_up = node.is_up()
    try:
        node.up()
    except CannotRunError as reason:
        _give_up(f"no cluster for the end-to-end tests: {reason}")
    try:
        yield Cluster(layout.kubeconfig, node, layout.parts)
    finally:
        if not was_up:
            node.down()


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster) -> Cluster:
    """A cluster that can run the project's image, built now, and the servers of the charts."""
    if bare_cluster.node:
        host.require()
        parts.ensure(bare_cluster.node.layout)
        builder = Builder(bare_cluster.node.layout)
        for image in (*builder.stand_ins(), builder.project()):
            bare_cluster.load(image)
    return bare_cluster


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Cluster]:
    """The operator, installed as people install it; at the end everything of it is removed."""
    started = time.monotonic()
    cluster.helm(
        "install", "eventpipeline", str(ROOT / "charts" / "eventpipeline-operator"), "--create-namespace", "--wait",
        "--timeout=120s", namespace=SYSTEM,
    )  # fmt: skip
    print(f"helm install to a running operator: {time.monotonic() - started:.1f} s")
    try:
        yield cluster
    finally:
        cluster.kubectl("delete", "evp", "--all", "--all-namespaces", "--wait=true", "--timeout=60s")
        cluster.helm("uninstall", "eventpipeline", namespace=SYSTEM)
        cluster.kubectl("delete", "crd", "eventpipelines.eventpipeline.dev", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", SYSTEM, "--wait=false")


@pytest.fixture(scope="session")
def outside(cluster: Cluster) -> Iterator[Outside]:
    """NATS and Postgres that the operator knows nothing of."""
    with servers(cluster) as found:
        yield found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name


def _give_up(reason: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
