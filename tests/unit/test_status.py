"""What was planned and seen becomes conditions that a person can act on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from eventpipeline.spec import Condition, EventPipeline, EventPipelineStatus
from eventpipeline_operator import status as statuses
from eventpipeline_operator.observe import RotationWaits, Seen, SourceSeen, Trouble, WorkloadSeen
from eventpipeline_operator.planned import planned

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 24, 13, 0, tzinfo=UTC)


def pipeline(spec: dict[str, Any] | None = None, status: EventPipelineStatus | None = None) -> EventPipeline:
    made = EventPipeline.model_validate(
        {
            "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
            "metadata": {"name": "marketing", "namespace": "shop", "generation": 3, "uid": "u1"}, "spec": spec or {},
        }
    )  # fmt: skip
    return made.model_copy(update={"status": status})


def workload(name: str, **changed: Any) -> WorkloadSeen:
    return replace(WorkloadSeen(f"marketing-{name}", current=True, wanted=1, updated=1, ready=1, replicas=1), **changed)


ALL = ("nats", "postgres", "gateway", "facebook-collector", "tiktok-collector", "reporter")


def seen(**changed: WorkloadSeen | None) -> Seen:
    found = {name: workload(name) for name in ALL} | {name.replace("_", "-"): item for name, item in changed.items()}
    return Seen({name: item for name, item in found.items() if item})


def status(
    at: Seen, spec: dict[str, Any] | None = None, before: EventPipelineStatus | None = None, now: datetime = NOON
) -> EventPipelineStatus:
    resource = pipeline(spec, before)
    plans = planned(resource, ())
    return statuses.status(resource, plans.plan, at, draining=plans.draining, now=now)


def condition(of: EventPipelineStatus, kind: str) -> Condition:
    return next(found for found in of.conditions if found.type == kind)


def test_ready_where_every_part_is() -> None:
    made = status(seen())
    assert {found.type: found.status for found in made.conditions if found.type != "Open"} == dict.fromkeys(
        ("Ready", *statuses.PARTS), "True"
    )
    assert condition(made, "Ready").reason == "AllReady"
    assert made.observed_generation == 3
    assert {found.observed_generation for found in made.conditions} == {3}


def test_where_the_certificates_of_external_servers_are_is_said() -> None:
    tls = {"caSecretRef": {"name": "roots", "key": "all.pem"}, "clientSecretName": "us"}
    external = {"stream": {"external": {"url": "tls://n:4222", "tls": tls}}}
    fault = replace(seen(nats=None), stream_fault="NATS cannot be reached: the server's certificate has expired")
    found = condition(status(fault, external), "StreamReady")
    assert (found.status, found.reason) == ("False", "StreamUnavailable")
    for word in ("has expired", "spec.stream.external.tls", "Secret roots, key all.pem", "tls.key, Secret us"):
        assert word in found.message
    store = {"store": {"external": {"urlSecretRef": {"name": "db"}, "tls": {"caSecretRef": {"name": "roots"}}}}}
    refused = workload("reporter", ready=0, troubles=(Trouble("PostgresRefuses", "certificate verify failed"),))
    found = condition(status(seen(postgres=None, reporter=refused), store), "StoreReady")
    for word in ("certificate verify failed", "spec.store.external.tls", "Secret roots, key ca.crt"):
        assert word in found.message
    assert "tls.key" not in found.message


def test_open_endpoints_are_said() -> None:
    found = condition(status(seen()), "Open")
    assert (found.status, found.reason) == ("True", "NoAuthentication")
    assert "Ingress" in found.message
    assert "send events of facebook, tiktok:" in found.message


def test_only_the_sources_that_are_open_are_called_so() -> None:
    keys = {"bearer": {"keys": [{"name": "token"}]}}
    half = {
        "sources": [{"name": "facebook", "authentication": keys}, {"name": "tiktok", "authentication": {"none": {}}}]
    }
    found = condition(status(seen(), half), "Open")
    assert found.reason == "NoAuthentication"
    assert "send events of tiktok:" in found.message
    closed = {"sources": [{"name": name, "authentication": keys} for name in ("facebook", "tiktok")]}
    found = condition(status(seen(), closed), "Open")
    assert (found.status, found.reason) == ("True", "ReportsOpen")
    assert "send events" not in found.message
    assert "spec.reporter.authentication" in found.message
    readers = {"reporter": {"authentication": {"bearer": {"read": {"name": "readers"}}}}}
    assert not [one for one in status(seen(), closed | readers).conditions if one.type == "Open"]
    found = condition(status(seen(), readers), "Open")
    assert found.reason == "NoAuthentication"
    assert "read reports" not in found.message


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("nats", "StreamReady"), ("postgres", "StoreReady"), ("gateway", "GatewayReady"),
        ("facebook_collector", "CollectorsReady"), ("reporter", "ReporterReady"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        (None, "Missing"),
        ({"ready": 0}, "Starting"),
        ({"current": False}, "RollingOut"),
        ({"updated": 0}, "RollingOut"),
        ({"replicas": 2}, "RollingOut"),
        (
            {"ready": 0, "troubles": (Trouble("ImageCannotBePulled", "pod p cannot pull image i"),)},
            "ImageCannotBePulled",
        ),
        ({"updated": 0, "troubles": (Trouble("Unschedulable", "pod p fits on no node"),)}, "Unschedulable"),
    ],
)
def test_a_part_that_is_not_ready_says_why_and_so_does_ready(
    name: str, part: str, changed: dict[str, Any] | None, reason: str
) -> None:
    made = status(seen(**{name: workload(name.replace("_", "-"), **changed) if changed else None}))
    assert (condition(made, part).status, condition(made, part).reason) == ("False", reason)
    ready = condition(made, "Ready")
    assert (ready.status, ready.reason) == ("False", reason)
    assert part in ready.message
    for trouble in (changed or {}).get("troubles", ()):
        assert trouble.message in ready.message


def test_scaling_out_is_no_fault_but_what_hinders_it_is_said() -> None:
    trouble = Trouble("QuotaExceeded", "Deployment marketing-gateway cannot make pods")
    made = status(seen(gateway=workload("gateway", wanted=5, updated=2, replicas=2, ready=2, troubles=(trouble,))))
    found = condition(made, "GatewayReady")
    assert found.status == "True"
    assert "2 of 5" in found.message
    assert trouble.message in found.message


def test_fewer_than_the_fewest_is_a_fault() -> None:
    spec = {"gateway": {"autoscaling": {"minReplicas": 3}}}
    made = status(seen(gateway=workload("gateway", wanted=3, updated=3, replicas=3, ready=2)), spec)
    found = condition(made, "GatewayReady")
    assert (found.status, found.reason) == ("False", "PartlyReady")


def test_what_needs_a_person_stands_before_what_only_needs_time() -> None:
    volume = Trouble("VolumePending", "PersistentVolumeClaim data-marketing-postgres-0 waits for a volume")
    made = status(seen(nats=workload("nats", ready=0), postgres=workload("postgres", ready=0, troubles=(volume,))))
    ready = condition(made, "Ready")
    assert ready.reason == "VolumePending"
    assert "also not ready: StreamReady" in ready.message


def test_a_stream_that_does_not_answer() -> None:
    made = status(replace(seen(), stream_fault="JetStream did not answer within 5 s"))
    assert condition(made, "StreamReady").reason == "StreamUnavailable"
    assert condition(made, "Ready").status == "False"


def test_a_stream_with_settings_that_cannot_be_put_back() -> None:
    made = status(replace(seen(), stream_wrong=("stream EVENTS_facebook has another setting",)))
    assert condition(made, "StreamReady").reason == "StreamMisconfigured"
    assert "EVENTS_facebook" in condition(made, "Ready").message


def test_failing_maintenance_is_said_and_stops_nothing() -> None:
    made = status(replace(seen(), maintenance=Trouble("LastRunFailed", "CronJob marketing-maintain failed")))
    assert condition(made, "MaintenanceFailing").status == "True"
    assert condition(made, "Ready").status == "True"


def test_monitoring_that_the_cluster_does_not_know_is_said_and_stops_nothing() -> None:
    missing = replace(seen(), unmonitored=Trouble("KindNotServed", "the cluster knows no PrometheusRule"))
    made = status(missing)
    assert condition(made, "MonitoringMissing").reason == "KindNotServed"
    assert condition(made, "Ready").status == "True"
    failed = replace(missing, failure=Trouble("Forbidden", "PrometheusRule marketing: forbidden"))
    for quiet in (status(seen()), status(failed), status(missing, {"paused": True})):
        assert "MonitoringMissing" not in {entry.type for entry in quiet.conditions}


def test_a_rotation_that_waits_says_for_what() -> None:
    learning = RotationWaits("nats", learning="marketing-nats-1 cannot be reached")
    for waits, reason, text in (
        (RotationWaits("database"), "RolloutUnderWay", "once Postgres, every collector"),
        (RotationWaits("nats"), "RolloutUnderWay", "once NATS, the gateway, every collector"),
        (learning, "ServersLearn", "marketing-nats-1 cannot be reached."),
    ):
        made = status(replace(seen(), rotation_waits=waits))
        assert condition(made, "PasswordRotationWaits").reason == reason
        assert text in condition(made, "PasswordRotationWaits").message
        assert condition(made, "Ready").status == "True"
    assert "PasswordRotationWaits" not in {entry.type for entry in status(seen()).conditions}


def test_postgres_that_refuses_is_seen_through_those_it_refuses() -> None:
    trouble = Trouble("PostgresRefuses", "pod p is not ready: store: password authentication failed")
    collector = workload("tiktok-collector", ready=0, troubles=(trouble,))
    made = status(seen(tiktok_collector=collector))
    assert condition(made, "StoreReady").reason == "PostgresRefuses"
    assert "password authentication failed" in condition(made, "StoreReady").message
    external = {"store": {"external": {"urlSecretRef": {"name": "db"}}}}
    assert condition(status(seen(tiktok_collector=collector, postgres=None), external), "StoreReady").status == "False"


@pytest.mark.parametrize(
    ("spec", "kind", "place"),
    [
        ({"stream": {"external": {"url": "nats://n:4222"}}}, "StreamReady", "spec.stream.external.url"),
        (
            {"stream": {"external": {"url": "nats://n", "credentialsSecretRef": {"name": "n", "key": "k"}}}},
            "StreamReady",
            "Secret n, key k",
        ),
        ({"store": {"external": {"urlSecretRef": {"name": "db"}}}}, "StoreReady", "Secret db, key url"),
    ],
)
def test_of_an_external_server_it_is_said_where_its_address_stands(spec: dict[str, Any], kind: str, place: str) -> None:
    refusal = Trouble("PostgresRefuses", "pod p is not ready: store: refused")
    at = replace(seen(reporter=workload("reporter", ready=0, troubles=(refusal,))), stream_fault="refused")
    message = condition(status(at, spec), kind).message
    assert "refused" in message
    assert f"Check the address, user and password in {place}, " in message
    assert "Check the address" not in condition(status(at), kind).message


def test_volumes_that_are_still_too_small_are_said() -> None:
    found = condition(status(replace(seen(), growing={"data-marketing-nats-0": "1Gi"})), "VolumesGrowing")
    assert found.status == "True"
    assert "data-marketing-nats-0 has 1Gi" in found.message
    assert "VolumesGrowing" not in {found.type for found in status(seen()).conditions}
    assert condition(status(replace(seen(), growing={"data-marketing-nats-0": "1Gi"})), "Ready").status == "True"


def test_external_servers() -> None:
    spec = {
        "stream": {"external": {"url": "nats://n:4222"}}, "store": {"external": {"urlSecretRef": {"name": "db"}}},
    }  # fmt: skip
    made = status(seen(nats=None, postgres=None), spec)
    assert condition(made, "StreamReady").reason == "DurabilityNotVerified"
    assert "sync_interval" in condition(made, "StreamReady").message
    assert condition(made, "Ready").status == "True"
    down = {
        name.replace("-", "_"): workload(name, ready=0) for name in ALL if "collector" in name or name == "reporter"
    }
    assert condition(status(seen(nats=None, postgres=None, **down), spec), "StoreReady").status == "Unknown"


def test_a_failed_pass_is_the_reason() -> None:
    made = status(replace(seen(), failure=Trouble("NameTaken", "Service marketing-gateway: belongs to somebody else")))
    assert condition(made, "Ready").reason == "NameTaken"
    assert condition(made, "GatewayReady").status == "True"


def test_paused_is_said_while_it_is_so() -> None:
    made = status(seen(), {"paused": True})
    assert condition(made, "Paused").status == "True"
    assert condition(made, "Ready").status == "True"
    assert "Paused" not in {found.type for found in status(seen(), before=made).conditions}


def test_a_time_changes_only_where_the_status_does() -> None:
    first = status(seen())
    second = status(seen(gateway=workload("gateway", ready=0)), before=first, now=LATER)
    assert condition(second, "GatewayReady").last_transition_time == "2026-11-24T13:00:00Z"
    assert condition(second, "StoreReady").last_transition_time == "2026-11-24T12:00:00Z"
    assert status(seen(), before=first, now=LATER) == first


def test_messages_fit_the_schema() -> None:
    long = Trouble("CrashLooping", "x" * 5000)
    for found in status(seen(gateway=workload("gateway", ready=0, troubles=(long,)))).conditions:
        assert len(found.message) <= 2048


def test_endpoints() -> None:
    assert status(seen()).endpoints.gateway == "http://marketing-gateway.shop.svc:3000"
    assert status(seen()).endpoints.reporter == "http://marketing-reporter.shop.svc:3003"
    spec = {
        "gateway": {"ingress": {"host": "events.example.com", "tlsSecretName": "tls"}},
        "reporter": {"ingress": {"host": "reports.example.com"}},
    }
    assert status(seen(), spec).endpoints.gateway == "https://events.example.com"
    assert status(seen(), spec).endpoints.reporter == "http://reports.example.com"


def test_sources_and_their_sums_keep_what_nobody_can_say_now() -> None:
    counted = replace(seen(), sources={"facebook": SourceSeen(3, 10), "tiktok": SourceSeen(4, 20)})
    made = status(counted)
    assert (made.pending, made.dead_letters) == (7, 30)
    assert [(s.name, s.replicas, s.pending, s.dead_letters) for s in made.sources] == [
        ("facebook", 1, 3, 10), ("tiktok", 1, 4, 20)
    ]  # fmt: skip
    after = status(replace(seen(), sources={"facebook": SourceSeen(0, None)}), before=made)
    assert [(s.name, s.pending, s.dead_letters) for s in after.sources] == [("facebook", 0, 10), ("tiktok", 4, 20)]


def test_an_invalid_resource_keeps_what_is_known_of_what_runs() -> None:
    before = status(seen())
    made = statuses.invalid(before, 4, Trouble("InvalidSpec", "spec.sources.0.name: there is no source"), LATER)
    ready = condition(made, "Ready")
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert "spec.sources.0.name" in ready.message
    assert made.observed_generation == 4
    assert condition(made, "GatewayReady") == condition(before, "GatewayReady")
    assert made.sources == before.sources


def test_status_survives_a_round_trip() -> None:
    made = status(replace(seen(), sources={"facebook": SourceSeen(3, 10)}))
    document = made.model_dump(mode="json", by_alias=True, exclude_none=True)
    assert EventPipelineStatus.model_validate(document) == made
