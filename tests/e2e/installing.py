"""Files of manifests/ on the cluster of the tests: in namespaces of the test's own, and made smaller."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import yaml
from pipelines import Pipeline

from cluster.access import Cluster, Object, wait_for
from eventpipeline.spec import KIND

Overlay = Mapping[tuple[str, str], Mapping[str, Any]]
"""By kind and name: what is merged into a document."""


@contextmanager
def installed(cluster: Cluster, files: Sequence[Path], overlay: Overlay) -> Iterator[tuple[Pipeline, ...]]:
    """The pipelines in `files`, applied; at the end none of their pods is left.

    Each Namespace gets another name, with the labels it has in its file; what names none goes into one more.
    """
    documents = [copy.deepcopy(item) for file in files for item in yaml.safe_load_all(file.read_text())]
    with ExitStack() as stack:
        names = {
            item["metadata"]["name"]: stack.enter_context(
                cluster.namespace(item["metadata"]["name"], item["metadata"].get("labels"))
            )
            for item in documents
            if item["kind"] == "Namespace"
        }
        default = stack.enter_context(cluster.namespace("default"))
        placed = [
            _placed(_merged(item, overlay.get((item["kind"], item["metadata"]["name"]), {})), names, default)
            for item in documents
            if item["kind"] != "Namespace"
        ]
        cluster.apply(*placed)
        try:
            yield tuple(
                Pipeline(cluster, item["metadata"]["namespace"], item["metadata"]["name"])
                for item in placed
                if item["kind"] == KIND
            )
        finally:
            _remove(cluster, (*names.values(), default))


def _remove(cluster: Cluster, namespaces: Sequence[str]) -> None:
    for namespace in namespaces:
        cluster.kubectl("delete", "evp", "--all", "--wait=true", "--timeout=30s", namespace=namespace)
        # What nobody looks at any more need not end as it should: three NATS servers take more than a minute for that.
        cluster.kubectl("delete", "pods", "--all", "--grace-period=1", "--wait=false", namespace=namespace)

    def pods() -> list[str]:
        return [pod["metadata"]["name"] for name in namespaces for pod in cluster.get_all("pods", namespace=name)]

    wait_for(lambda: not pods(), what=lambda: f"no pods; there are {pods()}", seconds=150)


def _placed(item: Object, names: Mapping[str, str], default: str) -> Object:
    given = item["metadata"].get("namespace")
    return _merged(item, {"metadata": {"namespace": names[given] if given else default}})


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, Mapping) and isinstance(above, Mapping):
        return {key: _merged(below.get(key), above.get(key, below.get(key))) for key in {**below, **above}}
    return copy.deepcopy(above)
