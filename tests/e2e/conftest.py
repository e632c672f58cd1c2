"""One cluster serves all end-to-end tests: the one KUBECONFIG names, else the node of tests/cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NoReturn

import pytest
import started
from outside import Outside, servers

from cluster import host, parts
from cluster.access import Cluster
from cluster.errors import CannotRunError
from cluster.layout import Layout


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
    """A cluster without the project's images."""
    with ExitStack() as stack:
        try:
            found = stack.enter_context(started.bare_cluster())
        except CannotRunError as reason:
            _give_up(f"no cluster for the end-to-end tests: {reason}")
        yield found


@pytest.fixture(scope="session")
def cluster(bare_cluster: Cluster) -> Cluster:
    """A cluster that can run the project's image, built now, and the servers of the charts."""
    started.load_images(bare_cluster)
    return bare_cluster


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Cluster]:
    """The operator, installed as people install it; at the end everything of it is removed."""
    with started.operator(cluster):
        yield cluster


@pytest.fixture(scope="session")
def outside(cluster: Cluster) -> Iterator[Outside]:
    """NATS and Postgres that the operator knows nothing of."""
    with servers(cluster) as found:
        yield found


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    with cluster.namespace() as name:
        yield name


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
