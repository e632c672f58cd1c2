"""charts/eventpipeline: what holds for every object, whatever the spec."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

import chart_rendering as charts
from eventpipeline.spec import quantity_bytes
from eventpipeline_operator import helm
from eventpipeline_operator.auth import SecretHashes
from eventpipeline_operator.helm import CHART
from eventpipeline_operator.objects import RENDERED_KINDS, Kind
from eventpipeline_operator.values import Image, Values, values_schema

every_variant = pytest.mark.parametrize("variant", charts.VARIANTS)


@every_variant
def test_objects_are_valid_and_hold_nothing_that_the_api_server_does_not_know(variant: str) -> None:
    for item in charts.objects(variant):
        if not item["apiVersion"].startswith("monitoring.coreos.com"):
            kubernetes_validate.validate(item, "1.37", strict=True)


@every_variant
def test_every_object_has_its_namespace_and_its_labels(variant: str) -> None:
    for item in charts.objects(variant):
        metadata = item["metadata"]
        assert metadata["namespace"] == charts.NAMESPACE
        assert metadata["labels"].items() >= {
            "app.kubernetes.io/name": "eventpipeline",
            "app.kubernetes.io/instance": charts.NAME,
            "app.kubernetes.io/part-of": "eventpipeline",
            "app.kubernetes.io/managed-by": "eventpipeline-operator",
        }.items()  # fmt: skip
        assert "app.kubernetes.io/component" in metadata["labels"]


@every_variant
def test_names_are_unique_and_short_enough(variant: str) -> None:
    keys = [(item["kind"], item["metadata"]["name"]) for item in charts.objects(variant)]
    assert len(keys) == len(set(keys))
    assert all(len(name) - len(charts.NAME) + 40 <= 63 or "collector" in name for _, name in keys)


@every_variant
def test_only_kinds_that_the_operator_prunes_are_rendered(variant: str) -> None:
    assert {Kind(item["apiVersion"], item["kind"]) for item in charts.objects(variant)} <= set(RENDERED_KINDS)


@every_variant
def test_there_are_no_hooks_and_no_versions(variant: str) -> None:
    text = json.dumps(charts.objects(variant))
    assert "helm.sh/" not in text
    assert "app.kubernetes.io/version" not in text


def test_no_template_is_random_or_asks_a_cluster() -> None:
    text = "\n".join(path.read_text() for path in CHART.rglob("templates/*"))
    assert not re.search(
        r"\b(lookup|rand(Alpha|AlphaNum|Ascii|Numeric|Bytes|Int)|uuidv4|now|gen\w+(Cert|CA|Key|Password)|htpasswd)\b",
        text,
    )


@every_variant
def test_numbers_are_whole(variant: str) -> None:
    for path, value in charts.walk(charts.objects(variant)):
        assert not isinstance(value, float), path
        assert not (isinstance(value, str) and re.search(r"\b\d(\.\d+)?e\+\d", value)), path


@every_variant
def test_selectors_match_their_pods_and_name_nothing_that_changes(variant: str) -> None:
    found = charts.objects(variant)
    for item in found:
        if item["kind"] in ("Deployment", "StatefulSet"):
            selector = item["spec"]["selector"]["matchLabels"]
            constant = {f"app.kubernetes.io/{name}" for name in ("name", "instance", "component")}
            assert set(selector) <= constant | {"eventpipeline.dev/source"}
            assert selector.items() <= item["spec"]["template"]["metadata"]["labels"].items()
            assert selector["app.kubernetes.io/instance"] == charts.NAME


@every_variant
def test_no_two_workloads_have_each_others_pods(variant: str) -> None:
    found = charts.objects(variant)
    for item in found:
        if item["kind"] in ("Deployment", "StatefulSet"):
            selector = item["spec"]["selector"]["matchLabels"].items()
            mine = [
                name for name, template in charts.templates(found) if selector <= template["metadata"]["labels"].items()
            ]
            assert mine == [item["metadata"]["name"]]


@every_variant
def test_pods_are_restricted(variant: str) -> None:
    """kubernetes.io/docs/concepts/security/pod-security-standards/#restricted, and read-only root file systems."""
    found = charts.objects(variant)
    for name, template in charts.templates(found):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["runAsUser"] > 0, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["serviceAccountName"] in charts.named(found, "ServiceAccount"), name
        assert spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys(), name
        kinds = {kind for volume in spec["volumes"] for kind in volume if kind != "name"}
        of_backups = {"persistentVolumeClaim"} if name.endswith(("-backup", "-restore")) else set()
        assert kinds <= {"emptyDir", "configMap", "projected"} | of_backups, name
    for name, container in charts.containers(found):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, name  # fmt: skip
        assert "/tmp" in {mount["mountPath"] for mount in container["volumeMounts"]}, name
    assert all(not item["automountServiceAccountToken"] for item in found if item["kind"] == "ServiceAccount")


@every_variant
def test_every_container_has_requests_and_a_memory_limit_above_them(variant: str) -> None:
    for name, container in charts.containers(charts.objects(variant)):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests["cpu"], name
        assert quantity_bytes(requests["memory"]) <= quantity_bytes(limits["memory"]), name


@every_variant
def test_no_password_is_rendered(variant: str) -> None:
    assert "Secret" not in {item["kind"] for item in charts.objects(variant)}
    for name, container in charts.containers(charts.objects(variant)):
        for variable in container.get("env", []):
            if re.search("PASSWORD|EXTERNAL|USER", variable["name"]) and not variable["name"].startswith("QUOTED_"):
                assert "secretKeyRef" in variable["valueFrom"], name


@every_variant
def test_an_unchanged_spec_renders_the_same_bytes(variant: str) -> None:
    helm._rendered.clear()
    again = charts.rendered(charts.values(charts.VARIANTS[variant]))
    assert json.dumps(again) == json.dumps(charts.objects(variant))


def test_a_second_rendering_starts_no_helm_and_gives_objects_of_its_own() -> None:
    given = charts.values({})
    first = charts.rendered(given)
    first.clear()
    assert charts.rendered(given)


def render(**changes: Any) -> None:
    given = {"name": "a", "namespace": "b", "kube_version": charts.KUBE_VERSION, "helm": charts.helm_binary()} | changes
    asyncio.run(helm.render(charts.values({}), **given))


def test_what_is_missing_is_named() -> None:
    with pytest.raises(helm.HelmMissing, match="/nowhere/helm cannot be run: No such file"):
        render(helm="/nowhere/helm")
    with pytest.raises(helm.HelmMissing, match="there is no chart in /nowhere"):
        render(chart_dir=Path("/nowhere"))


def test_the_error_of_a_chart_is_helms() -> None:
    with pytest.raises(helm.ChartError, match=r"auth\.existingSecret is required") as raised:
        charts.rendered(Values())
    assert "kubectl -n shop create secret generic marketing-auth" in str(raised.value)
    with pytest.raises(helm.ChartError, match="longer than 40 characters"):
        render(name="a" * 41)
    with pytest.raises(helm.ChartError, match="kubeVersion"):
        render(kube_version="v1.20.0")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"surprise": 1}, "surprise"),
        ({"gateway": {"environment": {"lower": "x"}}}, "lower"),
        ({"nats": {"replicas": 2}}, "/nats/replicas"),
        ({"postgres": {"persistence": {"size": "big"}}}, "/postgres/persistence/size"),
        ({"gateway": {"autoscaling": {"minReplicas": 0}}}, "minReplicas"),
        ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
        ({"deletionPolicy": "Maybe"}, "deletionPolicy"),
    ],
)
def test_the_schema_is_closed(change: dict[str, Any], message: str) -> None:
    class Wrong:
        def for_helm(self) -> dict[str, Any]:
            return change | {"auth": {"existingSecret": "x"}}

    with pytest.raises(helm.ChartError, match=message):
        charts.rendered(Wrong())  # type: ignore[arg-type]


def test_the_schema_in_the_chart_is_the_one_of_the_model() -> None:
    assert json.loads((CHART / "values.schema.json").read_text()) == values_schema()


def test_the_defaults_of_the_chart_are_what_the_operator_gives_for_the_minimal_pipeline() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    wanted = charts.values({}, hashes=SecretHashes()).for_helm()
    wanted |= {
        "managedBy": "",
        "image": Image(repository="eventpipeline").model_dump(by_alias=True),
        "auth": {"existingSecret": ""},
    }
    assert defaults == wanted


@every_variant
def test_no_default_of_the_chart_shines_through_the_operators_values(variant: str) -> None:
    """Helm merges maps: a key that only the defaults have would be in the pods."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    given = charts.values(charts.VARIANTS[variant]).for_helm()

    def only_default(left: Any, right: Any, path: str) -> list[str]:
        if not isinstance(left, dict) or not isinstance(right, dict):
            return []
        found = [f"{path}.{key}" for key in left if key not in right]
        return found + [
            hit for key in left.keys() & right.keys() for hit in only_default(left[key], right[key], f"{path}.{key}")
        ]

    assert only_default(defaults, given, "") == []
