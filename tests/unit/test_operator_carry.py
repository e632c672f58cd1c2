"""Limits follow the volumes that there are, and what is smaller than it should be is known."""

from __future__ import annotations

from typing import Any

import pytest

from eventpipeline_operator.carry import still_to_grow, within_volumes
from eventpipeline_operator.objects import CLAIM, Key, Object
from eventpipeline_operator.planned import planned
from eventpipeline_operator.reconcile import parsed


def body(spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
        "metadata": {"name": "marketing", "namespace": "shop", "uid": "u1"}, "spec": spec,
    }  # fmt: skip


def claim(name: str, capacity: str | None) -> tuple[Key, Object]:
    return Key(CLAIM, "shop", name), {"status": {"capacity": {"storage": capacity}} if capacity else {}}


@pytest.mark.parametrize(
    ("capacities", "limit"),
    [
        ({}, "20Gi"),
        ({"data-marketing-nats-0": None}, "20Gi"),
        ({"data-marketing-nats-0": "10Gi"}, "10Gi"),
        ({"data-marketing-nats-0": "20Gi", "data-marketing-nats-1": "10Gi", "data-marketing-nats-2": "20Gi"}, "10Gi"),
        ({"data-marketing-nats-0": "30Gi"}, "20Gi"),
        ({"data-marketing-postgres-0": "1Gi", "data-marketing-eu-nats-0": "1Gi"}, "20Gi"),
    ],
)
def test_limits_follow_the_volumes_that_there_are(capacities: dict[str, str | None], limit: str) -> None:
    pipeline = parsed(body({"stream": {"nats": {"storage": "20Gi"}}}))
    there = dict(claim(name, capacity) for name, capacity in capacities.items())
    smaller = parsed(body({"stream": {"nats": {"storage": limit}}}))
    assert planned(within_volumes(pipeline, there), ()).plan.nats == planned(smaller, ()).plan.nats


def test_the_claims_that_still_have_to_grow() -> None:
    pipeline = parsed(body({"stream": {"nats": {"storage": "20Gi"}}}))
    sizes = {"data-marketing-nats-0": "10Gi", "data-marketing-nats-1": "20Gi", "data-marketing-postgres-0": "1Gi"}
    there = dict(claim(name, size) for name, size in sizes.items())
    found = {key.name: size for key, size in still_to_grow(pipeline, there).items()}
    assert found == {"data-marketing-nats-0": "10Gi", "data-marketing-postgres-0": "1Gi"}
    external = parsed(
        body({"stream": {"external": {"url": "nats://n"}}, "store": {"external": {"urlSecretRef": {"name": "db"}}}})
    )
    assert not still_to_grow(external, there)


def test_what_postgres_is_told_follows_its_volume() -> None:
    pipeline = parsed(body({"store": {"postgres": {"storage": "20Gi"}}}))
    found = planned(within_volumes(pipeline, dict([claim("data-marketing-postgres-0", "5Gi")])), ()).plan.postgres
    assert found
    assert found.storage_bytes == 5 * 2**30
