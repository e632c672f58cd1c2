"""What `eventpipeline validate` says of a file: every mistake at once, with its line, its place and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventpipeline import resource

ROOT = Path(__file__).resolve().parents[2]
HEAD = "apiVersion: eventpipeline.dev/v1alpha1\nkind: EventPipeline\nmetadata: {name: marketing}\n"


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "pipeline.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(resource.ResourceError) as caught:
        resource.load(file)
    return [str(mistake) for mistake in caught.value.mistakes]


@pytest.mark.parametrize("file", sorted((ROOT / "manifests").glob("*.yaml")), ids=lambda file: file.name)
def test_every_manifest_is_valid(file):
    assert resource.load(file)


def test_the_minimal_pipeline_has_every_default():
    assert [source.name for source in resource.minimal().spec.sources] == ["facebook", "tiktok"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("gatway: {}", "line 5: spec.gatway: is no field of an EventPipeline; did you mean gateway?"),
        ("sources: []", "line 5: spec.sources: "),
        ("sources: [{name: facebok}]", "line 5: spec.sources[0].name: there is no source 'facebok'; known"),
        ("sources: [{name: tiktok}, {name: tiktok}]", "spec: sources: 'tiktok' stands there 2 times"),
        ("sources: {name: facebook}", "spec.sources: "),
        ("gateway: {maxBodyBytes: lots}", "spec.gateway.maxBodyBytes: must be a valid integer"),
        ("gateway: {maxBodyBytes: 10}", "spec.gateway.maxBodyBytes: must be greater than or equal to 1024"),
        ("gateway: {autoscaling: {minReplicas: 3, maxReplicas: 2}}", "minReplicas must not be greater"),
        ("gateway: {autoscaling: {targetCpu: 3}}", "spec.gateway.autoscaling.targetCpu: is no field"),
        ("gateway: {resources: {limits: {memory: 1GB}}}", "limits.memory: is not a size in bytes"),
        ("gateway: {resources: {requests: {cpu: 1.5.2}}}", "must be an amount of CPU, such as 500m or 2"),
        ("gateway: {ingress: {}}", "spec.gateway.ingress.host: is missing"),
        ("stream: {nats: {replicas: 2}}", "spec.stream.nats.replicas: must be 1 or 3"),
        ("stream: {nats: {}, external: {url: 'nats://x'}}", "spec.stream: give either nats or external, not both"),
        ("stream: {external: {url: 'http://x'}}", "spec.stream.external.url: "),
        ("stream: {retentionSeconds: 5}", "spec.stream.retentionSeconds: must be greater than or equal to 60"),
        ("store: {external: {}}", "spec.store.external.urlSecretRef: is missing"),
        ("store: {retentionDays: 0}", "spec.store.retentionDays: must be greater than or equal to 1"),
        ("deletionPolicy: Keep", "spec.deletionPolicy: must be 'Retain' or 'Delete'"),
        ("paused: maybe", "spec.paused: must be a valid boolean"),
        ("paused: true\n  paused: false", "line 6: spec.paused: stands twice, first in line 5"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_a_hint(tmp_path, spec, expected):
    found = mistakes(tmp_path, f"{HEAD}spec:\n  {spec}\n")
    assert any(expected in mistake for mistake in found), found


def test_all_mistakes_are_told_at_once(tmp_path):
    found = mistakes(tmp_path, HEAD + "spec:\n  sources: [{name: facebok}]\n  gatway: {}\n  paused: maybe\n")
    assert [mistake.split(":")[0] for mistake in found] == ["line 5", "line 7", "line 6"]


def test_a_list_whose_items_are_all_wrong_is_not_called_empty_too(tmp_path):
    assert len(mistakes(tmp_path, HEAD + "spec:\n  sources: [{name: facebok}]\n")) == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("kind: [", "line 1: is not YAML"),
        ("", "holds no document of kind EventPipeline"),
        ("kind: Secret\n", "holds no document of kind EventPipeline"),
        ("just a word\n", "must be an object with named fields"),
        (HEAD.replace("marketing", "Bad_Name"), "metadata.name: must be a DNS label"),
        (HEAD.replace("v1alpha1", "v9"), "apiVersion: must be 'eventpipeline.dev/v1alpha1'"),
        ("kind: EventPipeline\nmetadata: {name: x}\n", "apiVersion: is missing"),
    ],
)
def test_what_is_no_pipeline_at_all(tmp_path, text, expected):
    found = mistakes(tmp_path, text)
    assert any(expected in mistake for mistake in found), found


def test_a_file_that_is_not_there():
    with pytest.raises(resource.ResourceError, match=r"nowhere\.yaml: No such file or directory"):
        resource.load(Path("nowhere.yaml"))


def test_several_pipelines_and_other_kinds_in_one_file(tmp_path):
    file = tmp_path / "all.yaml"
    file.write_text(f"{HEAD}---\nkind: Secret\n---\n{HEAD.replace('marketing', 'second')}")
    assert [pipeline.metadata.name for pipeline in resource.load(file)] == ["marketing", "second"]
