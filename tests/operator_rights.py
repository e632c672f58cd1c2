"""The rights of the operator: what its chart grants, and a kubeconfig with just these."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import yaml

from cluster.layout import PROJECT
from eventpipeline_operator.cluster import Cluster
from eventpipeline_operator.objects import Object

CHART = PROJECT / "charts" / "eventpipeline-operator"
NAMESPACE = "eventpipeline-system"
ACCOUNT = "eventpipeline-operator"
_RIGHTS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "RoleBinding")


def rendered(*settings: str) -> list[Object]:
    """What the operator's chart renders. Raises AssertionError with helm's message where it refuses."""
    flags = [part for setting in settings for part in ("--set", setting)]
    command = [os.environ["EVENTPIPELINE_HELM"], "template", "eventpipeline", str(CHART), "-n", NAMESPACE, *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [item for item in yaml.safe_load_all(done.stdout) if item]


def granted(objects: list[Object]) -> dict[tuple[str, str], set[str]]:
    """The verbs of the operator by group and resource; not those that are for people."""
    bound = {item["roleRef"]["name"] for item in objects if item["kind"] in ("ClusterRoleBinding", "RoleBinding")}
    verbs: dict[tuple[str, str], set[str]] = {}
    for item in objects:
        if item["kind"] == "ClusterRole" and item["metadata"]["name"] in bound:
            for rule in item["rules"]:
                for group in rule["apiGroups"]:
                    for resource in rule["resources"]:
                        verbs.setdefault((group, resource), set()).update(rule["verbs"])
    return verbs


async def service_account(cluster: Cluster, kubeconfig: Path, folder: Path, *settings: str) -> Path:
    """A kubeconfig of the operator's service account, with the rights that its chart grants with `settings`.

    `cluster` and `kubeconfig` are an administrator's; the latter as `api_server` writes it.
    """
    await cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    for item in rendered(*settings):
        if item["kind"] in _RIGHTS:
            await cluster.apply(item)
    request: dict[str, Any] = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/{ACCOUNT}/token"
    token = (await cluster._call("POST", path, {}, request))["status"]["token"]
    own = folder / "service-account.kubeconfig"
    own.write_text(kubeconfig.read_text().replace("test-token", token))
    return own
