"""charts/eventpipeline-operator: what it renders, and what it lets the operator do."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from eventpipeline_operator.handlers import OWNED
from eventpipeline_operator.objects import RENDERED_KINDS, Kind
from eventpipeline_operator.settings import OperatorSettings
from operator_rights import CHART, granted
from operator_rights import rendered as template

ROOT = Path(__file__).resolve().parents[2]
_PLURALS = {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"}


def refusal(*settings: str) -> str:
    with pytest.raises(AssertionError) as raised:
        template(*settings)
    return str(raised.value)


def test_objects_are_valid() -> None:
    for item in template(
        "watchNamespaces={shop}", "monitoringNamespaces={m}", "natsImage=x:1", "imagePullSecrets={pull}"
    ):
        kubernetes_validate.validate(item, "1.37", strict=True)


def test_the_definition_is_the_generated_one_and_is_kept() -> None:
    (generated,) = (ROOT / "crds").glob("*.yaml")
    assert (CHART / "templates" / "crds" / generated.name).read_bytes() == generated.read_bytes()
    (definition,) = (item for item in template() if item["kind"] == "CustomResourceDefinition")
    assert definition == yaml.safe_load(generated.read_text())
    assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def deployment(*settings: str) -> dict[str, Any]:
    (found,) = (item for item in template(*settings) if item["kind"] == "Deployment")
    return found


def test_one_operator_runs_restricted() -> None:
    spec = deployment()["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}
    for item in template():
        pod = item if item["kind"] == "Pod" else item.get("spec", {}).get("template", {})
        if item["kind"] in ("Deployment", "Pod"):
            assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
            assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
            (container,) = pod["spec"]["containers"]
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            }  # fmt: skip


def test_the_operator_reads_the_settings_that_the_chart_writes() -> None:
    def read(*settings: str) -> OperatorSettings:
        (container,) = deployment(*settings)["spec"]["template"]["spec"]["containers"]
        environ = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
        known = {name.upper() for name in OperatorSettings.model_fields}
        assert {entry["name"] for entry in container["env"]} <= known
        return OperatorSettings.read(environ)

    assert read().watch_namespaces == ()
    assert read().image == "eventpipeline:0.1.0"
    given = read(
        "image.repository=r.example.com:5000/e", "image.tag=v2", "image.pullPolicy=Never", "natsImage=n:1",
        "postgresImage=p:2", "watchNamespaces={a,b}", "monitoringNamespaces={m}", "imagePullSecrets={s}",
        "logLevel=debug",
    )  # fmt: skip
    assert given.image == "r.example.com:5000/e:v2"
    assert given.image_pull_policy == "Never"
    assert (given.nats_image, given.postgres_image) == ("n:1", "p:2")
    assert (given.watch_namespaces, given.monitoring_namespaces) == (("a", "b"), ("m",))
    assert (given.image_pull_secrets, given.log_level) == (("s",), "debug")


def resource_of(kind: Kind) -> tuple[str, str]:
    return kind.api_version.rpartition("/")[0], _PLURALS.get(kind.kind, kind.kind.lower() + "s")


def test_the_operator_may_apply_and_prune_what_it_renders_and_watch_what_it_owns() -> None:
    verbs_of = granted(template())
    for kind in RENDERED_KINDS:
        assert verbs_of[resource_of(kind)] >= {"get", "list", "create", "patch", "delete"}, kind
    for group, _, resource in OWNED:
        assert verbs_of[group, resource] >= {"list", "watch"}, resource


def test_the_operator_may_nothing_more() -> None:
    verbs_of = granted(template())
    rendered = set(map(resource_of, RENDERED_KINDS))
    assert {key: verbs for key, verbs in verbs_of.items() if key not in rendered} == {
        ("eventpipeline.dev", "eventpipelines"): {"get", "list", "watch"},
        ("eventpipeline.dev", "eventpipelines/status"): {"patch"},
        ("", "secrets"): {"get", "create", "patch"},
        ("", "persistentvolumeclaims"): {"list", "watch", "patch"},
        ("", "pods"): {"list", "watch"},
        ("", "events"): {"list", "create"},
        ("apiextensions.k8s.io", "customresourcedefinitions"): {"list", "watch"},
        ("", "namespaces"): {"list", "watch"},
    }
    assert "*" not in str(verbs_of)
    assert all(verbs <= {"get", "list", "watch", "create", "patch", "delete"} for verbs in verbs_of.values())


def test_the_docs_list_these_rights() -> None:
    section = (ROOT / "docs" / "operator.md").read_text().partition("## What it may do")[2].partition("\n## ")[0]
    listed = {
        resource: set(verbs.split(", "))
        for resources, verbs in re.findall(r"^\| ([a-z/, ]+) \| ([a-z, ]+) \|", section, re.MULTILINE)
        for resource in resources.split(", ")
        if resource != "resources"
    }
    assert listed == {resource: verbs for (_, resource), verbs in granted(template()).items()}


def test_rights_are_granted_in_the_watched_namespaces_only() -> None:
    found = template("watchNamespaces={a,b}")
    assert {item["metadata"]["namespace"] for item in found if item["kind"] == "RoleBinding"} == {"a", "b"}
    cluster_wide = [item["roleRef"]["name"] for item in found if item["kind"] == "ClusterRoleBinding"]
    assert cluster_wide == ["eventpipeline-operator-discovery"]


@pytest.mark.parametrize(
    "setting", ["surprise=1", "logLevel=loud", "image.digest=latest", "runAsUser=0", "image.repo=x"]
)
def test_the_schema_is_closed(setting: str) -> None:
    assert "values don't meet the specifications of the schema" in refusal(setting)


def test_the_notes_and_the_readme_lead_on() -> None:
    notes = (CHART / "templates" / "NOTES.txt").read_text()
    assert all(step in notes for step in ("kubectl apply", "kubectl wait", "publish", "/reports/events", "helm test"))
    readme = (CHART / "README.md").read_text()
    for name in yaml.safe_load((CHART / "values.yaml").read_text()):
        assert f"`{name}" in readme, name
