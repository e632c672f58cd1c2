"""The cluster itself: what the other tests take for granted."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

import pytest

from cluster.access import Cluster, CommandError, wait_for
from cluster.images import NATS, POSTGRES, PROJECT_IMAGE
from eventpipeline import __version__

_RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def _pod(name: str, command: list[str], *, image: str = PROJECT_IMAGE, **container: Any) -> dict[str, Any]:
    """A pod that the restricted standard admits, run once."""
    settings = {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", "command": command}
    containers = [settings | {"securityContext": _RESTRICTED} | container]
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": containers}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def _output(cluster: Cluster, pod: dict[str, Any], namespace: str) -> str:
    """What the pod prints, once it has ended well."""
    name = pod["metadata"]["name"]
    cluster.apply(pod, namespace=namespace)
    cluster.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded", namespace=namespace)
    return cluster.kubectl("logs", name, namespace=namespace)


def test_the_node_is_ready(cluster: Cluster) -> None:
    nodes = cluster.get_all("nodes")
    assert nodes
    for node in nodes:
        cluster.wait(f"node/{node['metadata']['name']}", "condition=Ready")


def test_the_image_says_its_version(cluster: Cluster, namespace: str) -> None:
    assert __version__ in _output(cluster, _pod("version", ["eventpipeline", "--version"]), namespace)


def test_the_image_has_helm_the_charts_and_no_root(cluster: Cluster, namespace: str) -> None:
    charts = "helm version --template '{{.Version}} '; ls /opt/eventpipeline/charts"
    script = f"id -u; {charts}; touch /here 2>&1 || echo read-only"
    output = _output(cluster, _pod("inside", ["sh", "-c", script]), namespace)
    assert output.split()[:2] == ["10001", "v4.3.1"]
    assert "eventpipeline-operator" in output
    assert output.rstrip().endswith("read-only")


@pytest.mark.parametrize(
    ("image", "command", "expected"),
    [(NATS, ["nats-server", "--version"], "v2.15.1"), (POSTGRES, ["postgres", "--version"], "18.6")],
    ids=["nats", "postgres"],
)
def test_the_servers_images_have_their_binaries(
    cluster: Cluster, namespace: str, image: str, command: list[str], expected: str
) -> None:
    pod = _pod("server", command, image=image, securityContext=_RESTRICTED | {"runAsUser": 999})
    assert expected in _output(cluster, pod, namespace)


def test_services_have_names(cluster: Cluster, namespace: str) -> None:
    script = "import socket; print(socket.gethostbyname('kubernetes.default'), socket.gethostbyname('echo.' + NS))"
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "echo"},
        "spec": {"selector": {"app": "echo"}, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    cluster.apply(service, namespace=namespace)
    output = _output(cluster, _pod("dns", ["python", "-c", script.replace("NS", repr(namespace))]), namespace)
    found = cluster.get("service/echo", namespace=namespace)
    assert found is not None
    assert output.split()[1] == found["spec"]["clusterIP"]


def test_a_port_of_a_pod_is_reached_from_here(cluster: Cluster, namespace: str) -> None:
    cluster.apply(_pod("web", ["python", "-m", "http.server", "8080", "--directory", "/opt"]), namespace=namespace)
    cluster.wait("pod/web", "condition=Ready", namespace=namespace)
    with cluster.port_forward("pod/web", 8080, namespace=namespace) as address:
        assert wait_for(lambda: b"eventpipeline" in _read(f"http://{address}/"), what="the page")


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body


def test_a_claim_is_bound_and_keeps_what_is_written(cluster: Cluster, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "kept"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}},
    }
    cluster.apply(claim, namespace=namespace)
    for name, script in (("writes", "echo kept > /data/file"), ("reads", "cat /data/file")):
        pod = _pod(name, ["sh", "-c", script], volumeMounts=[{"name": "data", "mountPath": "/data"}])
        pod["spec"]["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": "kept"}}]
        output = _output(cluster, pod, namespace)
    assert output == "kept\n"


def test_metrics_answer(cluster: Cluster) -> None:
    assert wait_for(lambda: cluster.kubectl("top", "nodes", "--no-headers"), what="metrics of the node")
    assert wait_for(lambda: cluster.kubectl("top", "pods", "--all-namespaces", "--no-headers"), what="metrics of pods")


def test_the_restricted_standard_is_enforced(cluster: Cluster) -> None:
    with cluster.namespace("restricted", {"pod-security.kubernetes.io/enforce": "restricted"}) as namespace:
        assert __version__ in _output(cluster, _pod("good", ["eventpipeline", "--version"]), namespace)
        bad = _pod("bad", ["true"], securityContext={"privileged": True})
        with pytest.raises(CommandError, match="violates PodSecurity"):
            cluster.kubectl("apply", "--filename=-", namespace=namespace, stdin=json.dumps(bad))


def test_an_image_that_was_not_loaded_is_said_at_once(cluster: Cluster, namespace: str) -> None:
    if cluster.node is None:
        pytest.skip("the cluster of KUBECONFIG may have a registry")
    cluster.apply(_pod("absent", ["true"], image="nowhere.example/absent:1"), namespace=namespace)

    def reason() -> str:
        pod = cluster.get("pod/absent", namespace=namespace)
        assert pod is not None
        return pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"]  # type: ignore[no-any-return]

    wait_for(lambda: reason() in ("ErrImagePull", "ImagePullBackOff"), what="a failed pull", seconds=20)


def test_nothing_leaves_the_machine(cluster: Cluster, namespace: str) -> None:
    if cluster.node is None:
        pytest.skip("the network of the cluster of KUBECONFIG is its owner's")
    script = "import socket; s = socket.socket(); s.settimeout(3); print(s.connect_ex(('192.0.2.1', 80)))"
    assert int(_output(cluster, _pod("out", ["python", "-c", script]), namespace)) != 0
