"""From a resource to what runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eventpipeline.plan import EXTERNAL_LIMITS, Addresses, Plan, Workload, plan
from eventpipeline.resource import load
from eventpipeline.settings import CollectorSettings, GatewaySettings, ReporterSettings
from eventpipeline.sources import BUILT_IN
from eventpipeline.spec import EventPipeline, quantity_bytes

ADDRESSES = Addresses(nats_url="nats://n:4222", database_url="postgresql://p/db")
MANIFESTS = sorted((Path(__file__).parents[2] / "manifests").glob("*.yaml"))


def planned(spec: dict[str, Any], **options: Any) -> Plan:
    pipeline = EventPipeline.model_validate(
        {"apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline", "metadata": {"name": "m"}, "spec": spec}
    )
    return plan(pipeline, ADDRESSES, **options)


def collector(found: Workload) -> CollectorSettings:
    assert isinstance(found.settings, CollectorSettings)
    return found.settings


def test_nothing_said_is_a_whole_pipeline() -> None:
    found = planned({})

    assert [workload.name for workload in found.workloads] == [
        "facebook-collector", "tiktok-collector", "reporter", "gateway",
    ]  # fmt: skip
    assert [workload.command for workload in found.workloads] == [
        ("collector",), ("collector",), ("reporter",), ("gateway",),
    ]  # fmt: skip
    assert [workload.settings.port for workload in found.workloads] == [3001, 3002, 3003, 3000]
    assert [collector(one).source for one in found.collectors] == ["facebook", "tiktok"]
    assert all(collector(one).database_url == ADDRESSES.database_url for one in found.collectors)
    assert isinstance(found.gateway.settings, GatewaySettings)
    assert isinstance(found.reporter.settings, ReporterSettings)
    assert found.gateway.settings.sources == found.reporter.settings.sources == ("facebook", "tiktok")
    assert found.gateway.settings.nats_url == ADDRESSES.nats_url
    assert found.gateway.settings.retention_days is None
    assert found.retention_days is None
    assert found.nats
    assert found.nats.replicas == 1
    assert found.postgres
    assert found.postgres.storage_bytes == 20 * 2**30


def test_each_setting_of_the_resource_arrives() -> None:
    found = planned(
        {
            "sources": [{"name": "tiktok", "collector": {"autoscaling": {"maxReplicas": 5}}}, {"name": "facebook"}],
            "gateway": {"maxBodyBytes": 4096, "autoscaling": {"minReplicas": 2}, "resources": {"limits": {"cpu": "2"}}},
            "collector": {"autoscaling": {"minReplicas": 3}},
            "reporter": {"autoscaling": {"maxReplicas": 7}},
            "stream": {"nats": {"replicas": 3, "storage": "1Gi"}, "retentionSeconds": 600},
            "store": {"postgres": {"storage": "5Gi"}, "retentionDays": 30},
        },
        stream_prefix="m-",
    )

    gateway = found.gateway.settings
    assert isinstance(gateway, GatewaySettings)
    assert (gateway.max_body_bytes, gateway.max_in_flight_bytes) == (4096, 8192)
    assert gateway.retention_days == found.retention_days == 30
    assert found.gateway.autoscaling.min_replicas == 2
    assert found.gateway.resources.limits.cpu == "2"
    # A source's own settings stand in for those of all collectors.
    assert [one.autoscaling.min_replicas for one in found.collectors] == [1, 3]
    assert [one.autoscaling.max_replicas for one in found.collectors] == [5, 10]
    assert [collector(one).source for one in found.collectors] == ["tiktok", "facebook"]
    assert found.reporter.autoscaling.max_replicas == 7
    for workload in found.workloads:
        settings = workload.settings.model_dump()
        assert settings["stream_prefix"] == "m-"
        assert settings["stream_replicas"] == 3
        assert settings["stream_retention_seconds"] == 600
    assert found.nats
    assert (found.nats.replicas, found.nats.storage_bytes) == (3, 2**30)
    assert found.postgres
    assert found.postgres.storage_bytes == 5 * 2**30


def test_servers_of_others_are_not_run() -> None:
    found = planned(
        {
            "stream": {"external": {"url": "nats://theirs:4222"}},
            "store": {"external": {"urlSecretRef": {"name": "their-postgres"}}},
        }
    )

    assert found.nats is None
    assert found.postgres is None
    assert collector(found.collectors[0]).stream_bytes == EXTERNAL_LIMITS.stream_bytes
    assert collector(found.collectors[0]).stream_larger
    assert not collector(planned({}).collectors[0]).stream_larger


def test_adding_a_source_changes_no_setting_of_another_sources_collector() -> None:
    one = planned({"sources": [{"name": "facebook"}]})
    two = planned({"sources": [{"name": "facebook"}, {"name": "tiktok"}]})

    assert one.collectors[0] == two.collectors[0]


@pytest.mark.parametrize("storage", ["64Mi", "1Gi", "10Gi", "1500M", "3Ti"])
@pytest.mark.parametrize("sources", [["facebook"], ["facebook", "tiktok"]])
def test_all_streams_there_can_be_stay_under_80_percent_of_the_volume(storage: str, sources: list[str]) -> None:
    found = planned({"sources": [{"name": name} for name in sources], "stream": {"nats": {"storage": storage}}})

    settings = collector(found.collectors[0])
    streams = settings.stream_bytes * len(BUILT_IN) + settings.dead_bytes
    assert found.nats
    assert 0.7 * found.nats.storage_bytes < streams < found.nats.max_file_bytes <= 0.8 * quantity_bytes(storage)


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.stem)
def test_every_example_is_planned(path: Path) -> None:
    for pipeline in load(path):
        for workload in plan(pipeline, ADDRESSES).workloads:
            assert type(workload.settings).read(workload.settings.environ()) == workload.settings


def test_there_are_examples() -> None:
    assert "minimal" in {path.stem for path in MANIFESTS}
