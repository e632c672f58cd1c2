"""What counts as a difference between what was rendered and what is there."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from eventpipeline.spec import EventPipeline
from eventpipeline_operator.carry import carried, claims_to_grow
from eventpipeline_operator.drift import differences, is_drift, is_own_update, whole_lists
from eventpipeline_operator.objects import CLAIM, HASH_ANNOTATION, MANAGER, Key, Object, prepared

PIPELINE = EventPipeline.model_validate(
    {
        "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
        "metadata": {"name": "marketing", "namespace": "shop", "uid": "u1"}, "spec": {},
    }
)  # fmt: skip

RENDERED: Object = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "gateway", "labels": {"app": "gateway"}},
    "spec": {
        "template": {
            "spec": {
                "automountServiceAccountToken": False,
                "containers": [
                    {
                        "name": "gateway", "image": "a:1", "args": ["gateway", "--x"],
                        "env": [{"name": "A", "value": "1"}, {"name": "EMPTY", "value": ""}],
                        "ports": [{"containerPort": 3000}],
                        "resources": {"requests": {"cpu": "1000m", "memory": "1024Mi"}},
                    }
                ],
                "volumes": [{"name": "tmp", "emptyDir": {}}],
            }
        }
    },
}  # fmt: skip

_CONTAINER_FIELDS = {
    ".": {}, "f:args": {}, "f:image": {}, "f:name": {}, "f:resources": {},
    "f:env": {'k:{"name":"A"}': {".": {}}, 'k:{"name":"EMPTY"}': {".": {}}},
    "f:ports": {'k:{"containerPort":3000,"protocol":"TCP"}': {".": {}}},
}  # fmt: skip
_FIELDS = {
    "f:spec": {
        "f:template": {
            "f:spec": {
                "f:containers": {'k:{"name":"gateway"}': _CONTAINER_FIELDS},
                "f:volumes": {'k:{"name":"tmp"}': {".": {}}},
            }
        }
    }
}


def live() -> Object:
    """RENDERED as an API server would hold it."""
    found = copy.deepcopy(RENDERED)
    found["metadata"] |= {
        "resourceVersion": "7",
        "managedFields": [{"manager": MANAGER, "operation": "Apply", "fieldsV1": _FIELDS}],
    }
    pod = found["spec"]["template"]["spec"]
    pod["containers"][0]["ports"][0]["protocol"] = "TCP"
    pod["containers"][0]["resources"]["requests"] = {"cpu": "1", "memory": "1Gi"}
    del pod["containers"][0]["env"][1]["value"]
    del pod["automountServiceAccountToken"]
    pod["dnsPolicy"] = "ClusterFirst"
    found["spec"] |= {"replicas": 1, "revisionHistoryLimit": 10}
    return found


def container(item: Object) -> Any:
    return item["spec"]["template"]["spec"]["containers"][0]


def test_defaults_and_other_spellings_of_the_server_are_no_difference() -> None:
    assert differences(RENDERED, live()) == []


def test_what_others_added_is_no_difference() -> None:
    item = live()
    item["metadata"]["annotations"] = {"example.com/note": "theirs"}
    item["spec"]["template"]["spec"]["containers"].insert(0, {"name": "sidecar", "image": "s:1"})
    container_of_ours = item["spec"]["template"]["spec"]["containers"][1]
    container_of_ours["env"].append({"name": "THEIRS", "value": "1"})
    assert differences(RENDERED, item) == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda item: container(item).update(image="b:2"), "spec.template.spec.containers[gateway].image"),
        (lambda item: container(item)["env"].pop(0), "spec.template.spec.containers[gateway].env[A]"),
        (
            lambda item: container(item)["env"][0].update(value="2"),
            "spec.template.spec.containers[gateway].env[A].value",
        ),
        (lambda item: container(item)["args"].append("--y"), "spec.template.spec.containers[gateway].args"),
        (lambda item: container(item)["args"].reverse(), "spec.template.spec.containers[gateway].args[0]"),
        (lambda item: container(item)["resources"]["requests"].update(cpu="2"), "resources.requests.cpu"),
        (lambda item: item["metadata"]["labels"].clear(), "metadata.labels.app"),
        (lambda item: item["spec"]["template"]["spec"]["volumes"].clear(), "spec.template.spec.volumes[tmp]"),
        (lambda item: item["spec"]["template"]["spec"].update(automountServiceAccountToken=True), "automount"),
    ],
)
def test_differences_are_named(change: Any, path: str) -> None:
    item = live()
    change(item)
    assert any(path in found for found in differences(RENDERED, item))


def test_drift_is_a_difference_that_no_new_rendering_made() -> None:
    item, ours = live(), copy.deepcopy(RENDERED)
    ours["metadata"]["annotations"] = {HASH_ANNOTATION: "1"}
    item["metadata"]["annotations"] = {HASH_ANNOTATION: "1"}
    assert is_drift(ours, item)
    item["metadata"]["annotations"] = {HASH_ANNOTATION: "0"}
    assert not is_drift(ours, item)


# --- what is added to rendered objects -------------------------------------------------------------------------------


def test_prepared_objects_have_namespace_labels_owner_and_hash() -> None:
    (item,) = prepared([RENDERED], PIPELINE).values()
    assert item["metadata"]["namespace"] == "shop"
    assert item["metadata"]["labels"]["eventpipeline.dev/pipeline"] == "marketing"
    assert item["spec"]["template"]["metadata"]["labels"] == {"eventpipeline.dev/pipeline": "marketing"}
    assert item["metadata"]["ownerReferences"][0]["uid"] == "u1"
    (again,) = prepared([RENDERED], PIPELINE).values()
    assert again == item
    changed = copy.deepcopy(RENDERED)
    container(changed)["image"] = "b:2"
    (other,) = prepared([changed], PIPELINE).values()
    assert other["metadata"]["annotations"] != item["metadata"]["annotations"]


@pytest.mark.parametrize("objects", [[RENDERED, RENDERED], [RENDERED | {"kind": "Secret", "apiVersion": "v1"}]])
def test_what_would_not_be_pruned_is_not_rendered(objects: list[Object]) -> None:
    with pytest.raises(ValueError, match=r"rendered"):
        prepared(objects, PIPELINE)


def test_applied_in_an_order_in_which_pods_find_what_they_need() -> None:
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gateway"}}
    assert [key.kind.kind for key in prepared([RENDERED, service], PIPELINE)] == ["Service", "Deployment"]


# --- carried over ----------------------------------------------------------------------------------------------------


def _replicas(manager: str, **more: str) -> Object:
    return {"manager": manager, "operation": "Apply", "fieldsV1": {"f:spec": {"f:replicas": {}}}, **more}


def test_the_live_count_is_carried_until_the_autoscaler_holds_it() -> None:
    item = live()
    item["spec"]["replicas"] = 4
    item["metadata"]["managedFields"] = [_replicas(MANAGER)]
    carry = carried(RENDERED, item)
    assert carry.item["spec"]["replicas"] == 4
    assert carry.item["metadata"]["resourceVersion"] == "7"
    item["metadata"]["managedFields"].append(
        _replicas("kube-controller-manager", operation="Update", subresource="scale")
    )
    carry = carried(RENDERED, item)
    assert "replicas" not in carry.item["spec"]
    assert carry.let_go
    item["metadata"]["managedFields"].pop(0)
    assert not carried(RENDERED, item).let_go


def test_a_count_of_nothing_is_put_back_since_no_autoscaler_would_do_it() -> None:
    item = live()
    item["spec"]["replicas"] = 0
    item["metadata"]["managedFields"] = [
        _replicas(MANAGER),
        {
            "manager": "kubectl",
            "operation": "Update",
            "subresource": "scale",
            "fieldsV1": {"f:spec": {"f:replicas": {}}},
        },
    ]
    for _ in range(2):
        carry = carried(RENDERED, item)
        assert carry.item["spec"]["replicas"] == 1
        assert not carry.let_go
        assert "spec.replicas" in differences(carry.item, item)
        item["metadata"]["managedFields"].pop(0)


def _stateful_set(size: str) -> Object:
    template = {"metadata": {"name": "data"}, "spec": {"resources": {"requests": {"storage": size}}}}
    return {
        "apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "nats", "namespace": "shop"},
        "spec": {"replicas": 3, "volumeClaimTemplates": [template]},
    }  # fmt: skip


def test_templates_of_volumes_stay_and_claims_grow() -> None:
    item = carried(_stateful_set("20Gi"), _stateful_set("10Gi")).item
    assert item["spec"]["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "10Gi"
    claims = {
        Key(CLAIM, "shop", f"data-nats-{ordinal}"): {"spec": {"resources": {"requests": {"storage": size}}}}
        for ordinal, size in enumerate(("10Gi", "20Gi", "30Gi"))
    }
    assert claims_to_grow(_stateful_set("20Gi"), claims) == {Key(CLAIM, "shop", "data-nats-0"): "20Gi"}


# --- lists that are written as a whole -------------------------------------------------------------------------------


def test_lists_are_written_as_they_are_rendered() -> None:
    containers = RENDERED["spec"]["template"]["spec"]["containers"]
    paths = ["metadata.labels.app", "spec.template.spec.containers[gateway].env[A].value"]
    assert whole_lists(RENDERED, paths) == {"spec": {"template": {"spec": {"containers": containers}}}}


def test_what_is_in_no_list_is_not_written_so() -> None:
    assert whole_lists(RENDERED, ["metadata.labels.app"]) == {}


def test_only_the_record_of_a_write_that_was_no_apply_is_our_own_update() -> None:
    assert is_own_update({"manager": MANAGER, "operation": "Update"})
    assert not is_own_update({"manager": MANAGER, "operation": "Apply"})
    assert not is_own_update({"manager": "kubectl-edit", "operation": "Update"})
    assert not is_own_update({"manager": MANAGER, "operation": "Update", "subresource": "status"})
