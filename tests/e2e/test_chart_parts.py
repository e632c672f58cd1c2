"""charts/eventpipeline: each part, and the settings that reach each container."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

import chart_rendering as charts
from eventpipeline.plan import Workload
from eventpipeline.settings import (
    CollectorSettings,
    Environment,
    GatewaySettings,
    MaintainSettings,
    MigrateSettings,
    ReporterSettings,
)
from eventpipeline.spec import quantity_bytes
from eventpipeline_operator import auth, chart
from eventpipeline_operator.values import Values

every_variant = pytest.mark.parametrize("variant", charts.VARIANTS)
SECRETS = {
    ("marketing-auth", "nats-route-password"): "route-pw",
    ("marketing-auth", "nats-gateway-user"): "gateway_b",
    ("marketing-auth", "nats-collector-user"): "collector",
    ("marketing-auth", "nats-reporter-user"): "reporter_b",
    ("marketing-auth", "nats-gateway-password"): "gateway-pw",
    ("marketing-auth", "nats-collector-password"): "collector-pw",
    ("marketing-auth", "nats-reporter-password"): "reporter-pw",
    ("marketing-auth", "postgres-user"): "eventpipeline_b",
    ("marketing-auth", "postgres-password"): "store-pw",
    ("marketing-auth", "postgres-reporter-password"): "reading-pw",
    ("marketing-auth", "postgres-owner-password"): "owner-pw",
    ("database", "url"): "postgresql://somebody:pw@elsewhere/db",
    ("database", "dsn"): "postgresql://other:pw@elsewhere/db",
    ("nats", "address"): "tls://me:pw@n:4222",
}


def environment(container: Mapping[str, Any]) -> dict[str, str]:
    """What the process finds, as the kubelet makes it: in order, `$(NAME)` of what stands before, `$$` as `$`."""
    found: dict[str, str] = {}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        if reference:
            found[variable["name"]] = SECRETS[reference["name"], reference["key"]]
        elif "value" in variable:
            found[variable["name"]] = expanded(variable["value"], found)
    return found


def expanded(text: str, variables: Mapping[str, str]) -> str:
    def replace(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\((\w+)\)", replace, text)


def of(variant: str, name: str, container: str) -> dict[str, str]:
    return environment(dict(charts.containers(charts.objects(variant)))[f"{charts.NAME}-{name}/{container}"])


def as_it_arrives(settings: Environment, variables: Mapping[str, str]) -> dict[str, str]:
    return {name: expanded(value, variables) for name, value in settings.environ().items()}


@every_variant
def test_each_service_reads_the_settings_that_were_planned(variant: str) -> None:
    plan = charts.planned(charts.VARIANTS[variant])
    kinds: list[tuple[Workload, str, type[Environment]]] = [
        (plan.gateway, "gateway", GatewaySettings), (plan.reporter, "reporter", ReporterSettings),
        *((collector, "collector", CollectorSettings) for collector in plan.collectors),
    ]  # fmt: skip
    for workload, container, kind in kinds:
        found = of(variant, workload.name, container)
        settings = kind.read(found)
        wanted = as_it_arrives(workload.settings, found)
        if container == "collector":
            wanted["PORT"] = "3001"
        assert settings.environ() == wanted
        assert "$" not in settings.environ()["NATS_URL"].replace("other$(X)", "")


@every_variant
def test_migrate_and_maintain_run_as_the_owner_and_nobody_else_does(variant: str) -> None:
    plan = charts.planned(charts.VARIANTS[variant])
    maintain = MaintainSettings.read(of(variant, "maintain", "maintain"))
    assert maintain.retention_days == plan.retention_days
    for collector in plan.collectors:
        migrate = MigrateSettings.read(of(variant, collector.name, "migrate"))
        assert migrate.database_url == maintain.database_url
        logins = [migrate.service_database_url, migrate.reporter_database_url]
        services = [(collector.name, "collector"), ("reporter", "reporter")]
        assert logins == ([of(variant, *one)["DATABASE_URL"] for one in services] if plan.postgres else ["", ""])
        own = of(variant, collector.name, "collector")["DATABASE_URL"]
        if plan.postgres:
            assert "eventpipeline_owner:owner-pw@marketing-postgres:5432" in migrate.database_url
            assert own == "postgresql://eventpipeline_b:store-pw@marketing-postgres:5432/eventpipeline"
        else:
            assert own == migrate.database_url
    for name, container in charts.containers(charts.objects(variant)):
        if not name.endswith(("/migrate", "/maintain", "/backup", "/restore")):
            assert "owner" not in str(container.get("env", [])), name


def test_external_servers_are_reached_by_what_the_secrets_say() -> None:
    assert of("external", "gateway", "gateway")["NATS_URL"] == "nats://nats.example.com:4222,tls://other$(X):4222"
    assert of("external", "gateway", "gateway")["STREAM_PREFIX"] == "shop_marketing_"
    assert of("external with secrets", "reporter", "reporter")["NATS_URL"] == "tls://me:pw@n:4222"
    assert of("external with secrets", "reporter", "reporter")["DATABASE_URL"] == "postgresql://other:pw@elsewhere/db"
    assert "NATS_PASSWORD" not in of("external", "gateway", "gateway")
    for variant in ("external", "external with secrets"):
        assert not charts.named(charts.objects(variant), "StatefulSet")


def test_certificates_are_files_of_what_connects_and_of_nothing_else() -> None:
    found = charts.objects("external with certificates")
    nats, postgres = ("nats-tls", "/etc/eventpipeline/tls/nats"), ("postgres-tls", "/etc/eventpipeline/tls/postgres")
    wanted = {
        "marketing-gateway/gateway": {nats}, "marketing-reporter/reporter": {nats, postgres},
        "marketing-maintain/maintain": {postgres},
        **{f"marketing-{source}-collector/collector": {nats, postgres} for source in ("facebook", "tiktok")},
        **{f"marketing-{source}-collector/migrate": {postgres} for source in ("facebook", "tiktok")},
    }  # fmt: skip
    mounted = {
        name: {
            (mount["name"], mount["mountPath"])
            for mount in container["volumeMounts"]
            if mount["name"].endswith("-tls") and mount["readOnly"] and "subPath" not in mount
        }
        for name, container in charts.containers(found)
    }
    assert mounted == wanted
    for name, template in charts.templates(found):
        volumes = {one["name"]: one["projected"] for one in template["spec"]["volumes"] if one["name"].endswith("-tls")}
        assert volumes.keys() == {volume for key, both in wanted.items() if key.startswith(name) for volume, _ in both}
        # libpq takes a key of root's that the group may read, and no other may.
        assert {volume["defaultMode"] for volume in volumes.values()} == {0o440}
        assert template["spec"]["securityContext"]["fsGroup"] == template["spec"]["securityContext"]["runAsGroup"]
        files = {
            volume: {
                item["path"]: (part["secret"]["name"], item["key"])
                for part in projected["sources"]
                for item in part["secret"]["items"]
            }
            for volume, projected in volumes.items()
        }
        for volume, items in files.items():
            assert items == {
                "nats-tls": {
                    "ca.crt": ("nats-ca", "root.pem"), "tls.crt": ("nats-client", "tls.crt"),
                    "tls.key": ("nats-client", "tls.key"),
                },
                "postgres-tls": {"ca.crt": ("postgres-ca", "ca.crt")},
            }[volume]  # fmt: skip
    for variant in charts.VARIANTS:
        if "certificates" not in variant:
            assert "eventpipeline/tls" not in str(charts.objects(variant))
            assert "TLS_DIR" not in str(charts.objects(variant))


def test_each_service_knows_its_own_passwords_only() -> None:
    own = {
        "gateway": {"gateway_b", "gateway-pw"},
        "facebook-collector": {"collector", "collector-pw", "store-pw", "eventpipeline_b"},
        "reporter": {"reporter_b", "reporter-pw", "reading-pw", "eventpipeline_b"},
    }
    for workload, wanted in own.items():
        (container,) = (
            one for name, one in charts.containers(charts.objects("minimal"))
            if name.startswith(f"{charts.NAME}-{workload}/") and not name.endswith("/migrate")
        )  # fmt: skip
        found = {
            SECRETS[reference["name"], reference["key"]]
            for variable in container["env"]
            if (reference := variable.get("valueFrom", {}).get("secretKeyRef"))
        }
        assert found == wanted
        user, prefix = (environment(dict(container))[name] for name in ("NATS_URL", "NATS_INBOX_PREFIX"))
        name = workload.removeprefix("facebook-")
        login = SECRETS["marketing-auth", f"nats-{name}-user"]
        assert user == f"nats://{login}:{name}-pw@marketing-nats:4222"
        assert prefix == f"_INBOX_{name}"
    store = of("minimal", "reporter", "reporter")["DATABASE_URL"]
    assert store == "postgresql://eventpipeline_b_reporter:reading-pw@marketing-postgres:5432/eventpipeline"


def test_the_gateway_knows_no_password_of_the_store() -> None:
    assert not [name for name in of("minimal", "gateway", "gateway") if "POSTGRES" in name or "DATABASE" in name]


@every_variant
def test_keys_are_files_of_the_service_that_checks_them_and_of_no_other(variant: str) -> None:
    spec = charts.pipeline(charts.VARIANTS[variant]).spec
    senders = [reference for one in spec.authentication.values() for reference in one.references]
    readers = spec.reporter.authentication.references
    for name, template in charts.templates(charts.objects(variant)):
        wanted: dict[str, set[str]] = {}
        for reference in {"marketing-gateway": senders, "marketing-reporter": readers}.get(name, ()):
            wanted.setdefault(reference.name, set()).add(f"{reference.name}/{reference.key}")
        volumes = [volume for volume in template["spec"].get("volumes", []) if volume["name"] == "keys"]
        if not wanted:
            assert volumes == [], name
            continue
        (volume,) = volumes
        mounted = {
            part["secret"]["name"]: {item["path"] for item in part["secret"]["items"]}
            for part in volume["projected"]["sources"]
        }
        assert mounted == wanted
        assert volume["projected"]["defaultMode"] == 0o440
        mounts = [one for one in template["spec"]["containers"][0]["volumeMounts"] if one["name"] == "keys"]
        assert mounts == [{"name": "keys", "mountPath": "/etc/eventpipeline/keys", "readOnly": True}]


@every_variant
def test_only_a_reporter_that_asks_a_provider_may_go_anywhere(variant: str) -> None:
    spec = charts.pipeline(charts.VARIANTS[variant]).spec
    outside = spec.stream.external or spec.store.external or spec.reporter.authentication.oidc
    policies = {
        item["metadata"]["name"]: item["spec"]["egress"]
        for item in charts.objects(variant)
        if item["kind"] == "NetworkPolicy"
    }
    assert ({} in policies.pop("marketing-reporter")) == bool(outside)
    if not (spec.stream.external or spec.store.external):
        assert not [name for name, egress in policies.items() if {} in egress]


@every_variant
def test_there_are_replicas_or_an_autoscaler_never_both(variant: str) -> None:
    found = charts.objects(variant)
    plan = charts.planned(charts.VARIANTS[variant])
    scaled = {
        item["spec"]["scaleTargetRef"]["name"]: item["spec"]
        for item in found
        if item["kind"] == "HorizontalPodAutoscaler"
    }
    for workload in plan.workloads:
        deployment, bounds = charts.one(found, "Deployment", workload.name), workload.autoscaling
        autoscaler = scaled.get(deployment["metadata"]["name"])
        assert ("replicas" in deployment["spec"]) != (autoscaler is not None)
        if autoscaler is None:
            assert deployment["spec"]["replicas"] == bounds.min_replicas == bounds.max_replicas
        else:
            assert (autoscaler["minReplicas"], autoscaler["maxReplicas"]) == (bounds.min_replicas, bounds.max_replicas)
            assert autoscaler["behavior"].keys() == {"scaleUp", "scaleDown"}


def test_the_behavior_of_an_autoscaler_is_the_one_in_the_spec() -> None:
    given = charts.one(charts.objects("autoscaling"), "HorizontalPodAutoscaler", "gateway")["spec"]
    assert given["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 55}
    assert given["behavior"]["scaleUp"] == {
        "stabilizationWindowSeconds": 5, "selectPolicy": "Min",
        "policies": [{"type": "Pods", "value": 3, "periodSeconds": 20}],
    }  # fmt: skip
    assert given["behavior"]["scaleDown"]["stabilizationWindowSeconds"] == 0


def test_autoscaling_targets_can_be_reached() -> None:
    requests = {name: c["resources"]["requests"]["cpu"] for name, c in charts.containers(charts.objects("minimal"))}
    assert requests["marketing-gateway/gateway"] == "100m"
    assert requests["marketing-facebook-collector/collector"] == "50m"


def test_given_resources_stand_and_the_rest_fits_them() -> None:
    found = dict(charts.containers(charts.objects("resources")))
    assert found["marketing-gateway/gateway"]["resources"] == {
        "requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4", "memory": "2304Mi"},
    }  # fmt: skip
    assert found["marketing-tiktok-collector/collector"]["resources"] == {
        "requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"cpu": "10m", "memory": "64Mi"},
    }  # fmt: skip
    assert found["marketing-reporter/reporter"]["resources"]["limits"] == {"memory": "2Gi"}


@every_variant
def test_services_stop_without_a_refused_request(variant: str) -> None:
    for name, template in charts.templates(charts.objects(variant)):
        spec = template["spec"]
        if name.endswith(("-gateway", "-reporter", "-collector")):
            (container,) = spec["containers"]
            drain = float(environment(container)["DRAIN_SECONDS"])
            sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            # uvicorn waits 60 s for what is in flight.
            assert spec["terminationGracePeriodSeconds"] >= sleep + drain + 60, name
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    for name in ("gateway", "reporter"):
        deployment = charts.one(charts.objects(variant), "Deployment", name)
        assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


@every_variant
def test_spread_is_wished_for_not_demanded(variant: str) -> None:
    for name, template in charts.templates(charts.objects(variant)):
        if not name.endswith(("-maintain", "-backup", "-restore")):
            constraints = template["spec"]["topologySpreadConstraints"]
            assert {constraint["whenUnsatisfiable"] for constraint in constraints} == {"ScheduleAnyway"}


def test_nats_writes_before_it_acknowledges_and_stays_below_its_volume() -> None:
    for variant, replicas in (("minimal", 1), ("three servers", 3)):
        found = charts.objects(variant)
        server, limits = charts.one(found, "StatefulSet", "nats"), charts.planned(charts.VARIANTS[variant]).nats
        config = charts.one(found, "ConfigMap", "nats")["data"]["nats-server.conf"]
        assert limits
        assert f"max_file: {limits.max_file_bytes}\n" in config
        assert "sync_interval: always" in config
        assert server["spec"]["replicas"] == replicas
        (container,) = server["spec"]["template"]["spec"]["containers"]
        assert container["command"][0] == "nats-server"
        memory = next(v["value"] for v in container["env"] if v["name"] == "GOMEMLIMIT")
        assert quantity_bytes(memory.removesuffix("B")) < 0.9 * quantity_bytes(
            container["resources"]["limits"]["memory"]
        )
        assert ("routes" in config) == (replicas == 3)
        assert f"{charts.NAME}-nats" in {item["metadata"]["name"] for item in found if item["kind"] == "Service"}
    assert charts.one(charts.objects("three servers"), "PodDisruptionBudget", "nats")["spec"]["maxUnavailable"] == 1


def test_a_lone_nats_whose_streams_cannot_be_written_is_started_anew() -> None:
    for variant, path in (("minimal", "/healthz"), ("three servers", "/healthz?js-enabled-only=true")):
        server = charts.one(charts.objects(variant), "StatefulSet", "nats")
        container = next(one for one in server["spec"]["template"]["spec"]["containers"] if one["name"] == "nats")
        assert container["livenessProbe"]["httpGet"]["path"] == path, variant


def test_volumes_follow_the_deletion_policy_and_are_those_of_the_spec() -> None:
    for variant, policy in (("minimal", "Retain"), ("deleted with it", "Delete")):
        for name in ("nats", "postgres"):
            spec = charts.one(charts.objects(variant), "StatefulSet", name)["spec"]
            assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": policy, "whenScaled": "Retain"}
    for name, size in (("nats", "100Gi"), ("postgres", "1Ti")):
        (claim,) = charts.one(charts.objects("three servers"), "StatefulSet", name)["spec"]["volumeClaimTemplates"]
        assert claim["spec"]["storageClassName"] == "fast"
        assert claim["spec"]["resources"]["requests"]["storage"] == size
        assert set(claim["metadata"]["labels"]) == {
            f"app.kubernetes.io/{key}" for key in ("name", "instance", "component")
        }


def test_postgres_is_started_by_the_chart_alone() -> None:
    server = charts.one(charts.objects("minimal"), "StatefulSet", "postgres")["spec"]["template"]["spec"]
    (container,) = server["containers"]
    assert container["command"] == ["/bin/sh", "/etc/eventpipeline/start.sh"]
    assert server["securityContext"]["runAsUser"] == 999
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts >= {"/var/lib/postgresql", "/var/run/postgresql", "/tmp", "/dev/shm"}
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 3600
    files = charts.one(charts.objects("minimal"), "ConfigMap", "postgres")["data"]
    rules = [line for line in files["pg_hba.conf"].splitlines() if line and not line.startswith("#")]
    assert rules
    assert all(rule.endswith("scram-sha-256") for rule in rules)


def test_ingresses_lead_to_the_services_and_leave_the_metrics_inside() -> None:
    found = charts.objects("ingress")
    gateway, reporter = (
        charts.one(found, "Ingress", "gateway")["spec"],
        charts.one(found, "Ingress", "reporter")["spec"],
    )
    assert gateway["ingressClassName"] == "nginx"
    assert gateway["tls"] == [{"hosts": ["events.example.com"], "secretName": "events-tls"}]
    assert "tls" not in reporter
    for spec in (gateway, reporter):
        (rule,) = spec["rules"]
        paths = [(path["path"], path["pathType"]) for path in rule["http"]["paths"]]
        assert ("/", "Prefix") not in paths
        assert not {"/metrics", "/livez", "/readyz"} & {path for path, _ in paths}
    assert not charts.named(charts.objects("minimal"), "Ingress")


def test_pods_speak_along_the_arrows_only() -> None:
    found = charts.objects("minimal")
    for name in ("gateway", "collector", "reporter", "maintain", "nats", "postgres"):
        policy = charts.one(found, "NetworkPolicy", name)["spec"]
        assert policy["policyTypes"] == ["Ingress", "Egress"]
        open_to_all = [rule for rule in policy["ingress"] if not rule.get("from")]
        assert bool(open_to_all) == (name in ("gateway", "reporter")), name
        assert {} not in policy["egress"], name
    assert targets(found, "gateway") == {"nats"}
    assert targets(found, "collector") == {"nats", "postgres"}
    assert targets(found, "reporter") == {"nats", "postgres", "gateway"}, "it replays dead letters through the gateway"
    assert targets(found, "maintain") == {"postgres"}
    assert targets(found, "nats") == targets(found, "postgres") == set()
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "eventpipeline-system"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "eventpipeline-operator"}},
    }
    assert operator in charts.one(found, "NetworkPolicy", "nats")["spec"]["ingress"][0]["from"]
    assert {} in charts.one(charts.objects("external store"), "NetworkPolicy", "collector")["spec"]["egress"]
    assert {} not in charts.one(charts.objects("external store"), "NetworkPolicy", "gateway")["spec"]["egress"]


def targets(found: list[dict[str, Any]], name: str) -> set[str]:
    rules = charts.one(found, "NetworkPolicy", name)["spec"]["egress"]
    return {
        peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"]
        for rule in rules
        for peer in rule.get("to", [])
    }


def annotations(given: Values) -> dict[str, dict[str, str]]:
    return {
        name: template["metadata"].get("annotations", {}) for name, template in charts.templates(charts.rendered(given))
    }


def test_a_new_password_replaces_the_pods_that_use_it_and_no_others() -> None:
    before = auth.new_auth()
    after = auth.rotated(before)
    assert after["postgres-previous-password"] == before["postgres-password"]
    assert {before["postgres-user"], after["postgres-user"]} == set(auth.LOGIN_ROLES)
    assert auth.rotated(after)["postgres-user"] == before["postgres-user"]
    old, new = (annotations(charts.values({}, hashes=auth.hashes(content))) for content in (before, after))
    changed = {name.removeprefix(f"{charts.NAME}-") for name in old if old[name] != new[name]}
    assert changed == {"facebook-collector", "tiktok-collector", "reporter"}, "migrate sets it while Postgres runs"


def test_the_servers_of_nats_learn_passwords_without_being_replaced() -> None:
    before = auth.new_auth()
    renewed = auth.nats_renewed(before)
    assert renewed | {auth.NATS_FILE: ""} == before | {auth.NATS_FILE: ""}
    assert auth.nats_logins(renewed)[0] == auth.nats_logins(before)[0], "what is in use stays as it is"
    after = auth.nats_switched(renewed)
    assert after[auth.NATS_FILE] == renewed[auth.NATS_FILE]
    assert auth.nats_logins(after) == auth.nats_logins(renewed)[::-1]
    assert (after["nats-user"], after["nats-gateway-user"]) == ("eventpipeline_b", "gateway_b")
    assert auth.nats_switched(auth.nats_renewed(after))["nats-gateway-user"] == "gateway"
    assert all(auth.fault(content) is None for content in (before, renewed, after))
    old, between, new = (
        annotations(charts.values({}, hashes=auth.hashes(content))) for content in (before, renewed, after)
    )
    assert old == between
    changed = {name.removeprefix(f"{charts.NAME}-") for name in old if old[name] != new[name]}
    assert changed == {"gateway", "facebook-collector", "tiktok-collector", "reporter"}


def test_a_secret_that_somebody_has_spoiled_is_named_without_a_password() -> None:
    good = auth.new_auth()
    for key, value, text in (
        ("nats-gateway-password", "changed", "nats-gateway-password is not what nats-passwords.conf has for gateway"),
        ("nats-reporter-user", "stranger", "nats-reporter-user is not reporter or reporter_b"),
        ("nats-passwords.conf", 'GATEWAY_PASSWORD: "x"', "nats-passwords.conf has no password of eventpipeline, "),
    ):
        found = auth.fault(good | {key: value})
        assert found
        assert text in found
        assert not [password for name, password in good.items() if name.endswith("password") and password in found]


def test_a_changed_configuration_replaces_its_server() -> None:
    small, large = (annotations(charts.values({"stream": {"nats": {"storage": size}}})) for size in ("1Gi", "2Gi"))
    assert (
        small["marketing-nats"]["eventpipeline.dev/config-hash"]
        != large["marketing-nats"]["eventpipeline.dev/config-hash"]
    )
    assert small["marketing-postgres"] == large["marketing-postgres"]


def test_a_source_that_drains_keeps_its_collector() -> None:
    spec = {"sources": [{"name": "facebook"}]}
    draining = tuple(c for c in charts.planned({}).collectors if c.name == "tiktok-collector")
    found = charts.rendered(charts.values(spec, draining=draining))
    assert {"marketing-facebook-collector", "marketing-tiktok-collector"} <= charts.named(found, "Deployment")
    (gateway,) = charts.one(found, "Deployment", "gateway")["spec"]["template"]["spec"]["containers"]
    assert environment(gateway)["SOURCES"] == "facebook"


def test_a_collector_keeps_its_port_when_sources_change_places() -> None:
    def tiktok(*names: str) -> dict[str, Any]:
        found = charts.rendered(charts.values({"sources": [{"name": name} for name in names]}))
        return charts.one(found, "Deployment", "tiktok-collector")

    assert tiktok("facebook", "tiktok") == tiktok("tiktok", "facebook")


def test_connections_are_counted_in_steps() -> None:
    def connections(replicas: int) -> int:
        spec = {"collector": {"autoscaling": {"maxReplicas": replicas}}}
        return charts.values(spec).postgres.max_connections

    assert connections(1) == 100
    assert connections(10) == connections(11) == 200
    assert connections(100) == 800


def test_resources_of_a_pipeline_are_completed() -> None:
    assert chart.completed(chart._COLLECTOR, chart._COLLECTOR) == chart._COLLECTOR


def test_backups_go_to_the_claim_and_a_restore_waits_to_be_asked_for() -> None:
    found = charts.objects("backup")
    for name, asleep in (("backup", None), ("restore", True)):
        job = charts.one(found, "CronJob", name)
        assert job["spec"].get("suspend") is asleep
        assert job["spec"]["schedule"] == "5 4 * * 0"
        pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        assert {"name": "backups", "persistentVolumeClaim": {"claimName": "vault"}} in pod["volumes"]
        (container,) = pod["containers"]
        environment = {one["name"]: one.get("value") for one in container["env"]}
        assert environment["DATABASE_URL"].startswith("postgresql://eventpipeline_owner:")
        assert environment.get("KEEP") == ("3" if name == "backup" else None)
        assert environment.get("BACKUP") == ("latest" if name == "restore" else None)
    assert "pg_dump" in charts.one(found, "ConfigMap", "backup")["data"]["backup.sh"]
    for other in ("minimal", "external"):
        names = {item["metadata"]["name"] for item in charts.objects(other)}
        assert not names & {f"{charts.NAME}-backup", f"{charts.NAME}-restore"}
