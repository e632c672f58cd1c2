"""Rendering charts/eventpipeline for tests, with the helm of EVENTPIPELINE_HELM or of the PATH."""

from __future__ import annotations

import asyncio
import functools
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from declared import webshop_document
from eventpipeline.plan import Plan
from eventpipeline.spec import EventPipeline
from eventpipeline_operator import chart, helm
from eventpipeline_operator.auth import NATS_PASSWORDS, SecretHashes
from eventpipeline_operator.values import Image, Values

NAME, NAMESPACE, KUBE_VERSION = "marketing", "shop", "v1.37.2"
MONITORING_APIS = ("monitoring.coreos.com/v1/ServiceMonitor", "monitoring.coreos.com/v1/PrometheusRule")
"""What a cluster with the Prometheus operator serves."""

VARIANTS: dict[str, dict[str, Any]] = {
    "minimal": {},
    "one source": {"sources": [{"name": "tiktok"}]},
    "own collector": {"sources": [{"name": "facebook", "collector": {"autoscaling": {"maxReplicas": 40}}}]},
    "autoscaling": {
        "gateway": {
            "autoscaling": {
                "minReplicas": 2, "maxReplicas": 20, "targetCPUUtilizationPercent": 55,
                "behavior": {
                    "scaleUp": {"stabilizationWindowSeconds": 5, "selectPolicy": "Min",
                                "policies": [{"type": "Pods", "value": 3, "periodSeconds": 20}]},
                    "scaleDown": {"stabilizationWindowSeconds": 0},
                },
            }
        },
        "collector": {"autoscaling": {"minReplicas": 3, "maxReplicas": 3}},
        "reporter": {"autoscaling": {"minReplicas": 1, "maxReplicas": 1}},
    },
    "resources": {
        "gateway": {
            "maxBodyBytes": 2**28,
            "resources": {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"cpu": "4"}},
        },
        "collector": {"resources": {"limits": {"cpu": "10m", "memory": "64Mi"}}},
        "reporter": {"resources": {"requests": {"memory": "2Gi"}}},
    },
    "ingress": {
        "gateway": {"ingress": {"host": "events.example.com", "className": "nginx", "tlsSecretName": "events-tls"}},
        "reporter": {"ingress": {"host": "reports.example.com"}},
    },
    "three servers": {
        "stream": {"nats": {"replicas": 3, "storage": "100Gi", "storageClassName": "fast"}, "retentionSeconds": 3600},
        "store": {"postgres": {"storage": "1Ti", "storageClassName": "fast"}, "retentionDays": 90},
    },
    "external": {
        "stream": {"external": {"url": "nats://nats.example.com:4222,tls://other$(X):4222"}},
        "store": {"external": {"urlSecretRef": {"name": "database"}}, "retentionDays": 1},
    },
    "external with secrets": {
        "stream": {"external": {"url": "tls://n:4222", "credentialsSecretRef": {"name": "nats", "key": "address"}}},
        "store": {"external": {"urlSecretRef": {"name": "database", "key": "dsn"}}},
    },
    "external with certificates": {
        "stream": {
            "external": {
                "url": "tls://n:4222", "credentialsSecretRef": {"name": "nats", "key": "address"},
                "tls": {"caSecretRef": {"name": "nats-ca", "key": "root.pem"}, "clientSecretName": "nats-client"},
            }
        },
        "store": {"external": {"urlSecretRef": {"name": "database"}, "tls": {"caSecretRef": {"name": "postgres-ca"}}}},
    },
    "external store": {"store": {"external": {"urlSecretRef": {"name": "database"}}}},
    "senders": {
        "sources": [
            {
                "name": "facebook",
                "authentication": {
                    "meta": {
                        "keys": [{"name": "meta-app", "key": "secret"}, {"name": "meta-app", "key": "next"}],
                        "verifyTokens": [{"name": "meta-verify"}],
                    }
                },
                "rateLimit": {"requestsPerSecond": 100},
            },
            {
                "name": "tiktok",
                "authentication": {"tiktok": {"keys": [{"name": "tiktok-app"}], "toleranceSeconds": 60}},
            },
            {
                "name": "shop", "declaration": webshop_document(),
                "authentication": {"hmac": {"keys": [{"name": "shop"}], "prefix": "$(HOME)="}},
            },
            {"name": "second", "declaration": webshop_document(), "authentication": {"none": {}}},
        ]
    },
    "readers": {
        "reporter": {
            "rateLimit": {"requestsPerSecond": 20, "burst": 40},
            "authentication": {
                "bearer": {"read": {"name": "readers", "key": "read"}, "operate": {"name": "operators"}},
                "oidc": {
                    "issuer": "https://id.example.com/$(X)", "audience": "eventpipeline", "roleClaim": "a.roles",
                    "jwksUrl": "https://id.example.com/keys", "read": ["staff"], "operate": ["admin"],
                },
            }
        }
    },
    "monitoring": {"monitoring": {"serviceMonitor": True, "dashboards": True, "alerts": True}},
    "backup": {"store": {"postgres": {"backup": {"claimName": "vault", "schedule": "5 4 * * 0", "keep": 3}}}},
    "deleted with it": {"deletionPolicy": "Delete", "paused": True},
}  # fmt: skip
"""Every field of the spec at least once."""


def helm_binary() -> str:
    found = os.environ.get("EVENTPIPELINE_HELM") or shutil.which("helm")
    if not found:
        pytest.fail("the chart's tests need helm: put it on the PATH, or name it in EVENTPIPELINE_HELM")
    return found


def pipeline(spec: dict[str, Any]) -> EventPipeline:
    return EventPipeline.model_validate(
        {
            "apiVersion": "eventpipeline.dev/v1alpha1", "kind": "EventPipeline",
            "metadata": {"name": NAME, "namespace": NAMESPACE, "uid": "u-1"}, "spec": spec,
        }
    )  # fmt: skip


def planned(spec: dict[str, Any]) -> Plan:
    return chart.plan(pipeline(spec), NAMESPACE)


def values(spec: dict[str, Any], **extras: Any) -> Values:
    hashes = SecretHashes(
        {name: f"hash-of-{name}" for name in NATS_PASSWORDS},
        "hash-of-nats",
        "hash-of-store",
        "hash-of-reading",
        "hash-of-postgres",
    )
    image = Image(repository="registry.example.com:5000/eventpipeline", tag="1.2.3")
    given = chart.Extras(auth_secret="marketing-auth", **({"hashes": hashes} | extras))
    return chart.values(pipeline(spec), planned(spec), image, given)


def rendered(given: Values, *, api_versions: tuple[str, ...] = MONITORING_APIS) -> list[dict[str, Any]]:
    return asyncio.run(
        helm.render(
            given, name=NAME, namespace=NAMESPACE, kube_version=KUBE_VERSION, api_versions=api_versions,
            helm=helm_binary(),
        )
    )  # fmt: skip


@functools.cache
def _text(variant: str) -> str:
    return json.dumps(rendered(values(VARIANTS[variant])))


def objects(variant: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_text(variant))
    return found


def one(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (item,) = (item for item in found if item["kind"] == kind and item["metadata"]["name"] == f"{NAME}-{name}")
    return item


def named(found: list[dict[str, Any]], kind: str) -> set[str]:
    return {item["metadata"]["name"] for item in found if item["kind"] == kind}


def templates(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The name of each workload and its pod template."""
    for item in found:
        if item["kind"] in ("Deployment", "StatefulSet"):
            yield item["metadata"]["name"], item["spec"]["template"]
        if item["kind"] == "CronJob":
            yield item["metadata"]["name"], item["spec"]["jobTemplate"]["spec"]["template"]


def containers(found: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, template in templates(found):
        for container in (*template["spec"].get("initContainers", []), *template["spec"]["containers"]):
            yield f"{name}/{container['name']}", container


def walk(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    yield path, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from walk(part, f"{path}.{key}")
    elif isinstance(value, list):
        for index, part in enumerate(value):
            yield from walk(part, f"{path}[{index}]")
