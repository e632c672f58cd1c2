"""The cluster and the operator that the end-to-end tests are about, from nothing to running, and gone at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines import ROOT, SYSTEM

from cluster import host, parts
from cluster.access import Cluster, named_by_user
from cluster.images import Builder
from cluster.layout import Layout
from cluster.node import Node


@contextmanager
def bare_cluster() -> Iterator[Cluster]:
    """The cluster KUBECONFIG names, else the node of tests/cluster; one that was up stays up.

    Raises CannotRunError where this machine cannot run one.
    """
    layout = Layout.of_user()
    named = named_by_user(layout)
    if named:
        yield Cluster(named, None, layout.parts)
        return
    node = Node(layout)
    was_up = node.is_up()
    node.up()
    try:
        yield Cluster(layout.kubeconfig, node, layout.parts)
    finally:
        if not was_up:
            node.down()


def load_images(cluster: Cluster) -> None:
    """Makes the project's image, built now, and the servers of the charts known to the harness's own node."""
    if cluster.node:
        host.require()
        parts.ensure(cluster.node.layout)
        builder = Builder(cluster.node.layout)
        for image in (*builder.stand_ins(), builder.project()):
            cluster.load(image)


@contextmanager
def operator(cluster: Cluster) -> Iterator[None]:
    """The operator, installed as people install it; at the end everything of it is removed."""
    started = time.monotonic()
    cluster.helm(
        "install", "eventpipeline", str(ROOT / "charts" / "eventpipeline-operator"), "--create-namespace", "--wait",
        "--timeout=120s", namespace=SYSTEM,
    )  # fmt: skip
    print(f"helm install to a running operator: {time.monotonic() - started:.1f} s")
    try:
        yield
    finally:
        cluster.kubectl("delete", "evp", "--all", "--all-namespaces", "--wait=true", "--timeout=60s")
        cluster.helm("uninstall", "eventpipeline", namespace=SYSTEM)
        cluster.kubectl("delete", "crd", "eventpipelines.eventpipeline.dev", "--ignore-not-found")
        cluster.kubectl("delete", "namespace", SYSTEM, "--wait=false")
