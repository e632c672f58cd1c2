"""The resource: what is valid, and that a mistake is named with its place and what to do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from eventpipeline.faults import flattened
from eventpipeline.spec import EventPipeline, quantity_bytes


def resource(**changes: Any) -> dict[str, Any]:
    whole = {"apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "m"}, "spec": {}}
    return whole | changes


MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    ({"sources": [{"name": "myspace"}]}, "sources.0.name", "known are facebook, tiktok"),
    ({"sources": []}, "sources", "at least 1"),
    ({"sources": [{"name": "facebook"}, {"name": "facebook"}]}, "", "'facebook' stands there 2 times"),
    ({"gatway": {}}, "gatway", "Extra inputs"),
    ({"gateway": {"max_body_byte": 1}}, "gateway.max_body_byte", "Extra inputs"),
    ({"gateway": {"maxBodyBytes": 10}}, "gateway.maxBodyBytes", "greater than or equal to 1024"),
    ({"gateway": {"autoscaling": {"minReplicas": 5, "maxReplicas": 2}}}, "gateway.autoscaling", "minReplicas must not"),
    ({"gateway": {"ingress": {}}}, "gateway.ingress.host", "required"),
    ({"reporter": {"resources": {"limits": {"cpu": "lots"}}}}, "reporter.resources.limits.cpu", "pattern"),
    ({"reporter": {"resources": {"limits": {"memory": "1.5Gi"}}}}, "reporter.resources.limits.memory", "Ki|Mi|Gi"),
    ({"stream": {"nats": {"replicas": 2}}}, "stream.nats.replicas", "1 or 3"),
    ({"stream": {"nats": {"storage": "10"}, "external": {"url": "nats://n"}}}, "stream", "either nats or external"),
    ({"stream": {"external": {"url": "http://n"}}}, "stream.external.url", "pattern"),
    ({"stream": {"retentionSeconds": 1}}, "stream.retentionSeconds", "greater than or equal to 60"),
    ({"store": {"retentionDays": 0}}, "store.retentionDays", "greater than or equal to 1"),
    ({"store": {"external": {"urlSecretRef": {"name": "No Name"}}}}, "store.external.urlSecretRef.name", "pattern"),
    ({"store": {"postgres": {}, "external": {"urlSecretRef": {"name": "s"}}}}, "store", "either postgres or external"),
    ({"deletionPolicy": "Keep"}, "deletionPolicy", "'Retain' or 'Delete'"),
    ({"paused": "maybe"}, "paused", "boolean"),
]


@pytest.mark.parametrize(("spec", "place", "message"), MISTAKES)
def test_a_mistake_in_the_spec_is_named(spec: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        EventPipeline.model_validate(resource(spec=spec))

    fault, *_ = flattened(refused.value.errors())
    assert ".".join(map(str, fault["loc"])) == f"spec.{place}".strip(".")
    assert message in fault["msg"]


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"apiVersion": "eventpipeline.dev/v1"}, ("apiVersion",)),
        ({"kind": "Pipeline"}, ("kind",)),
        ({"metadata": {}}, ("metadata", "name")),
        ({"metadata": {"name": "Marketing"}}, ("metadata", "name")),
    ],
)
def test_a_mistake_around_the_spec_is_named(changes: dict[str, Any], place: tuple[str, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        EventPipeline.model_validate(resource(**changes))

    assert [fault["loc"] for fault in refused.value.errors()] == [place]


def test_what_the_cluster_adds_is_left_alone() -> None:
    metadata = {"name": "m", "namespace": "n", "labels": {"a": "b"}, "managedFields": [], "generation": 3}
    found = EventPipeline.model_validate(resource(metadata=metadata))

    assert found.metadata.generation == 3
    assert found.metadata.model_dump()["labels"] == {"a": "b"}


@pytest.mark.parametrize(
    ("quantity", "size"),
    [("0", 0), ("512", 512), ("1Ki", 1024), ("10Gi", 10 * 2**30), ("2k", 2000), ("3T", 3 * 10**12)],
)
def test_sizes(quantity: str, size: int) -> None:
    assert quantity_bytes(quantity) == size


@pytest.mark.parametrize("quantity", ["", "Gi", "1.5Gi", "-1Gi", "1 Gi", "1gb", "1e3", "1Gi\n", "١Gi"])
def test_what_is_no_size_is_refused(quantity: str) -> None:
    with pytest.raises(ValueError, match="whole number and a suffix"):
        quantity_bytes(quantity)
