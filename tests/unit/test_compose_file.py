"""compose.yaml: that it runs what is planned, and names what is there."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from compose_files import ROOT, filled, production, services
from eventpipeline import __version__
from eventpipeline.local import postgres
from eventpipeline.plan import Addresses, Plan, plan
from eventpipeline.settings import MaintainSettings
from eventpipeline.spec import EventPipeline
from eventpipeline.store.grants import COLLECTOR, REPORTER
from eventpipeline.users import SERVICES
from eventpipeline_operator.values import NATS_IMAGE, POSTGRES_IMAGE

PROFILES = ("development", "production")
PLANNED = ("gateway", "facebook-collector", "tiktok-collector", "reporter")
LOOPBACK = {
    "gateway": 3000, "facebook-collector": 3001, "tiktok-collector": 3002, "reporter": 3003, "prometheus": 9090,
    "grafana": 3030,
}  # fmt: skip


def environ_of(profile: str) -> dict[str, str]:
    return production() if profile == "production" else {}


def planned(environ: dict[str, str]) -> Plan:
    def password(name: str) -> str:
        return environ.get(name, "development")

    minimal = EventPipeline.model_validate(yaml.safe_load((ROOT / "manifests" / "minimal.yaml").read_text()))

    def store(role: str, name: str) -> str:
        return f"postgresql://{role}:{password(name)}@postgres:5432/eventpipeline"

    nats = {
        user.name: f"nats://{user.name}:{password(f'NATS_{user.name.upper()}_PASSWORD')}@nats:4222" for user in SERVICES
    }
    addresses = Addresses(
        "nats://nobody",
        store(COLLECTOR, "POSTGRES_PASSWORD"),
        nats,
        store(REPORTER, "POSTGRES_REPORTER_PASSWORD"),
        gateway_url="http://gateway:3000",
    )
    return plan(minimal, addresses)


@pytest.mark.parametrize("profile", PROFILES)
def test_each_service_reads_the_settings_that_are_planned(profile: str) -> None:
    environ = environ_of(profile)
    workloads = {workload.name: workload for workload in planned(environ).workloads}
    assert set(workloads) == set(PLANNED)
    for name, workload in workloads.items():
        found = services(environ)[name]
        assert tuple(found["command"]) == workload.command
        wanted = workload.settings.model_copy(update={"environment": profile}).environ()
        assert found["environment"] == wanted, name


@pytest.mark.parametrize("name", ["migrate", "maintain"])
def test_the_owner_migrates_and_maintains(name: str) -> None:
    url = "postgresql://eventpipeline_owner:development@postgres:5432/eventpipeline"
    wanted = MaintainSettings.model_validate({"database_url": url, "retention_days": planned({}).retention_days})
    assert services()[name]["environment"] == wanted.environ()
    assert f"eventpipeline {name}" in " ".join(["eventpipeline", *services()[name]["command"]])


def test_servers_have_the_limits_that_are_planned() -> None:
    server = planned({}).nats
    assert server
    config = (ROOT / "compose" / "nats-server.conf").read_text()
    assert f"max_file: {server.max_file_bytes}\n" in config
    assert "sync_interval: always\n" in config
    options = dict(re.findall(r"--(\w+)=(\S+)", " ".join(services()["postgres"]["command"])))
    for name in ("max_wal_size", "checkpoint_timeout", "random_page_cost", "jit"):
        assert options[name] == postgres._OPTIONS[name]
    assert not {"fsync", "synchronous_commit", "full_page_writes"} & set(options)


def test_images_are_those_of_the_chart_and_of_this_release() -> None:
    found = services()
    assert {found[name]["image"] for name in PLANNED} == {f"eventpipeline:{__version__}"}
    assert found["nats"]["image"] == f"{NATS_IMAGE.repository}:{NATS_IMAGE.tag}-alpine"
    assert found["postgres"]["image"] == f"{POSTGRES_IMAGE.repository}:{POSTGRES_IMAGE.tag}"
    assert (ROOT / found["gateway"]["build"]["context"] / "Dockerfile").exists()
    assert production()["IMAGE"] == f"eventpipeline:{__version__}"


def test_ports_are_open_on_loopback_only() -> None:
    published = {name: service["ports"] for name, service in services().items() if "ports" in service}
    inside = {"grafana": 3000}
    assert published == {name: [f"127.0.0.1:{port}:{inside.get(name, port)}"] for name, port in LOOPBACK.items()}


def test_every_file_that_is_mounted_is_there_and_every_volume_is_kept() -> None:
    kept = set()
    for service in services().values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (ROOT / source).exists(), source
                assert volume.endswith(":ro")
            else:
                kept.add(source)
    assert kept == set(filled()["volumes"]) == {"nats", "postgres", "prometheus", "grafana"}


def test_what_starts_waits_for_what_it_needs() -> None:
    found = services()
    waits = {
        name: {other: on["condition"] for other, on in service.get("depends_on", {}).items()}
        for name, service in found.items()
    }
    assert waits["gateway"]["nats"] == "service_healthy"
    for name in ("facebook-collector", "tiktok-collector", "reporter"):
        assert waits[name]["nats"] == "service_healthy"
        assert waits[name]["migrate"] == "service_completed_successfully"
    assert waits["maintain"] == {"migrate": "service_completed_successfully"}
    assert waits["migrate"] == {"postgres": "service_healthy"}
    for name in ("gateway", "facebook-collector", "nats", "postgres", "prometheus"):
        guard: dict[str, Any] = found[name]["depends_on"]["production-passwords"]
        assert guard == {"condition": "service_completed_successfully", "required": False}
    once = {"migrate", "maintain", "production-passwords"}
    assert {name for name, service in found.items() if "healthcheck" not in service} == once


def test_both_profiles_run_the_same_but_for_the_look_at_the_passwords() -> None:
    found = services()
    assert found.pop("production-passwords")["profiles"] == ["production"]
    assert all(service["profiles"] == list(PROFILES) for service in found.values())
    assert {service["restart"] for service in services(production()).values()} == {"unless-stopped", "no"}


def test_prometheus_scrapes_each_service_under_the_labels_of_the_chart() -> None:
    config = yaml.safe_load((ROOT / "compose" / "prometheus.yaml").read_text())
    (job,) = config["scrape_configs"]
    found = {target: group["labels"] for group in job["static_configs"] for target in group["targets"]}
    assert set(found) == {f"{name}:{services()[name]['environment']['PORT']}" for name in PLANNED}
    for target, labels in found.items():
        settings = services()[target.partition(":")[0]]["environment"]
        assert labels["pipeline"] == "marketing"
        assert labels.get("source") == settings.get("SOURCE")
        assert labels["component"] == services()[target.partition(":")[0]]["command"][0]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in services()["prometheus"]["volumes"]}
    assert [mounted[path] for path in config["rule_files"]] == ["./charts/eventpipeline/alerts.yaml"]


def test_grafana_finds_prometheus_and_the_dashboards_of_the_chart() -> None:
    (source,) = yaml.safe_load((ROOT / "compose" / "grafana-datasources.yaml").read_text())["datasources"]
    assert source["isDefault"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = yaml.safe_load((ROOT / "compose" / "grafana-dashboards.yaml").read_text())["providers"]
    mounted = {volume.split(":")[1]: volume.split(":")[0] for volume in services()["grafana"]["volumes"]}
    assert mounted[provider["options"]["path"]] == "./charts/eventpipeline/dashboards"
    home = services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (ROOT / "charts" / "eventpipeline" / "dashboards" / home.rpartition("/")[2]).exists()
