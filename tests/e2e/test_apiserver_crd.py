"""The CRD on a real API server: what it takes, what it refuses and in which words, and how it explains itself."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from apiserver import api_server
from invalid_pipelines import ALLOWED, FORBIDDEN, INVALID, Forbidden, Invalid

ROOT = Path(__file__).resolve().parents[2]


class Kubectl:
    def __init__(self, kubeconfig: Path) -> None:
        self._environ = {**os.environ, "KUBECONFIG": str(kubeconfig), "HOME": str(kubeconfig.parent)}

    def __call__(self, *arguments: str, stdin: Any = None) -> subprocess.CompletedProcess[str]:
        text = None if stdin is None else json.dumps(stdin)
        return subprocess.run(
            ["kubectl", *arguments],
            input=text,
            text=True,
            capture_output=True,
            env=self._environ,
            check=False,
            timeout=60,
        )

    def ok(self, *arguments: str, stdin: Any = None) -> str:
        done = self(*arguments, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    with api_server(tmp_path_factory.mktemp("apiserver")) as kubeconfig:
        found = Kubectl(kubeconfig)
        found.ok("apply", "--server-side", "-f", str(ROOT / "crds"))
        found.ok("wait", "--for=condition=Established", "crd/eventpipelines.eventpipeline.dev", "--timeout=20s")
        yield found


def pipeline(spec: Any, name: str = "marketing") -> dict[str, Any]:
    return {
        "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
        "metadata": {"name": name, "namespace": "default"}, "spec": spec,
    }  # fmt: skip


@pytest.mark.parametrize("invalid", INVALID, ids=lambda invalid: f"{invalid.named}-{invalid.name[:6]}")
def test_the_invalid_is_refused_and_the_field_is_named(kubectl: Kubectl, invalid: Invalid) -> None:
    done = kubectl("create", "--dry-run=server", "-f", "-", stdin=pipeline(invalid.spec, invalid.name))
    assert done.returncode != 0
    assert invalid.named in done.stderr


def test_the_table_is_long() -> None:
    assert len(INVALID) >= 40


@pytest.mark.parametrize("path", sorted((ROOT / "manifests").glob("*.yaml")), ids=lambda path: path.name)
def test_manifests_are_taken(kubectl: Kubectl, path: Path) -> None:
    for document in yaml.safe_load_all(path.read_text()):
        if document and document.get("kind") == "EventPipeline":
            document["metadata"]["namespace"] = "default"
            kubectl.ok("create", "--dry-run=server", "-f", "-", stdin=document)


@pytest.mark.parametrize("change", FORBIDDEN, ids=lambda change: f"{change.named}-{len(str(change.after))}")
def test_what_cannot_roll_cannot_change(kubectl: Kubectl, change: Forbidden) -> None:
    kubectl.ok("create", "-f", "-", stdin=pipeline(change.before, "changing"))
    try:
        done = kubectl("replace", "-f", "-", stdin=pipeline(change.after, "changing"))
        assert done.returncode != 0
        assert change.named in done.stderr
    finally:
        kubectl.ok("delete", "evp/changing")


@pytest.mark.parametrize(("before", "after"), ALLOWED, ids=str)
def test_what_can_roll_can_change(kubectl: Kubectl, before: dict[str, Any], after: dict[str, Any]) -> None:
    kubectl.ok("create", "-f", "-", stdin=pipeline(before, "changing"))
    try:
        kubectl.ok("replace", "-f", "-", stdin=pipeline(after, "changing"))
    finally:
        kubectl.ok("delete", "evp/changing")


def test_a_source_that_is_no_longer_applied_goes(kubectl: Kubectl) -> None:
    kubectl.ok("apply", "--server-side", "-f", "-", stdin=pipeline({}, "shrinking"))
    try:
        for names in (["facebook", "tiktok"], ["tiktok"]):
            spec = {"sources": [{"name": name} for name in names]}
            kubectl.ok("apply", "--server-side", "-f", "-", stdin=pipeline(spec, "shrinking"))
            made = json.loads(kubectl.ok("get", "evp/shrinking", "-o", "json"))
            assert [source["name"] for source in made["spec"]["sources"]] == names
    finally:
        kubectl.ok("delete", "evp/shrinking")


def test_defaults_are_filled_in(kubectl: Kubectl) -> None:
    made = json.loads(kubectl.ok("create", "--dry-run=server", "-o", "json", "-f", "-", stdin=pipeline({})))
    assert made["spec"]["reporter"]["autoscaling"] == {
        "minReplicas": 1, "maxReplicas": 3, "targetCPUUtilizationPercent": 70
    }  # fmt: skip
    assert made["spec"]["deletionPolicy"] == "Retain"


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("evp", "takes marketing events from a webhook"),
        ("evp.spec", "An empty spec is a working pipeline"),
        ("evp.spec.stream", "The stream keeps the accepted events"),
        ("evp.spec.stream.nats.replicas", "survive the loss of one"),
        ("evp.spec.store.external", "somebody else runs"),
        ("evp.spec.gateway.autoscaling", "The fewest replicas that run"),
        ("evp.status.conditions", "what to do about it"),
    ],
)
def test_explain_reads_like_documentation(kubectl: Kubectl, path: str, said: str) -> None:
    explained = " ".join(kubectl.ok("explain", path).split())
    assert said in explained
    assert "<no description>" not in explained


def test_fields_can_be_selected(kubectl: Kubectl) -> None:
    kubectl.ok("create", "-f", "-", stdin=pipeline({"paused": True}, "resting"))
    try:
        found = kubectl.ok("get", "evp", "--field-selector", "spec.paused=true", "-o", "name")
        assert found.split() == ["eventpipeline.eventpipeline.dev/resting"]
        assert "READY" in kubectl.ok("get", "evp")
        assert "resting" in kubectl.ok("get", "eventpipeline")  # the category has the name of the kind
    finally:
        kubectl.ok("delete", "evp/resting")
