"""What only the operator can see to be wrong: each trouble is a condition that names the object and what to do.

All at once, beside a pipeline that goes on working. Each pipeline has one source, and servers of somebody else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from outside import Outside
from pipelines import SYSTEM, Pipeline

from cluster.access import Cluster, Object, wait_for
from tls_servers import Authority, files


@dataclass(frozen=True)
class Trouble:
    """Condition `kind` of `pipeline` gets `reason`; its message holds all of `words`."""

    pipeline: str
    kind: str
    reason: str
    words: tuple[str, ...]


_ONE = {"autoscaling": {"maxReplicas": 1}}
SMALLEST: Object = {"sources": [{"name": "facebook"}], "gateway": _ONE, "collector": _ONE, "reporter": _ONE}
"""No more pods than need be, and none that come and go with the load of the others."""


def _store(secret: str, key: str = "url") -> Object:
    return {"store": {"external": {"urlSecretRef": {"name": secret, "key": key}}}}


def _secured(ca: str) -> Object:
    tls = {"caSecretRef": {"name": ca}}
    return {"stream": {"external": {"url": "tls://n", "credentialsSecretRef": {"name": "secured"}, "tls": tls}}}


def _stream(secret: str) -> Object:
    return {"stream": {"external": {"url": "nats://unused.example.com", "credentialsSecretRef": {"name": secret}}}}


PIPELINES: Mapping[str, Object] = {
    "healthy": _store("database") | _stream("nats"),
    "no-secret": _store("nowhere") | _stream("nats"),
    "no-key": _store("database", "dsn") | _stream("nats"),
    "no-nats-secret": _store("database") | _stream("nowhere"),
    "no-address": _store("not-a-url") | _stream("nats"),
    "refused": _store("wrong-password") | _stream("no-jetstream"),
    "unknown": _store("no-host") | _stream("wrong-nats"),
    "unreachable": _store("database") | _stream("no-nats-host"),
    "wrong-ca": _store("database") | _secured("wrong-ca"),
    "no-ca": _store("database") | _secured("database"),
    "too-big": _store("database")
    | {
        "stream": {"nats": {"storageClassName": "nowhere"}},
        "gateway": {"resources": {"requests": {"cpu": "1000"}}},
        "reporter": {"resources": {"limits": {"memory": "16Mi"}}},
    },
    "bad-host": _store("database") | _stream("nats") | {"gateway": {"ingress": {"host": "events..example.com"}}},
    "taken": _store("database") | _stream("nats"),
    "spoiled": _store("database"),
}
TROUBLES = (
    Trouble("no-secret", "Ready", "SecretMissing", ("Secret nowhere", "create it", "key url")),
    Trouble("no-key", "Ready", "SecretMissing", ("Secret database", "key dsn", "add it")),
    Trouble("no-nats-secret", "Ready", "SecretMissing", ("Secret nowhere", "create it")),
    Trouble("no-address", "Ready", "SecretInvalid", ("Secret not-a-url", "key url", "postgresql://user:password@host")),
    Trouble(
        "refused", "StoreReady", "PostgresRefuses",
        ("password authentication failed", "Secret wrong-password", "key url"),
    ),
    Trouble("refused", "StreamReady", "StreamUnavailable", ("JetStream is off", "Secret no-jetstream", "key url")),
    Trouble("unknown", "StoreReady", "PostgresRefuses", ("nowhere.example.com", "Secret no-host")),
    Trouble("unknown", "StreamReady", "StreamUnavailable", ("Authorization Violation", "Secret wrong-nats")),
    Trouble("unreachable", "StreamReady", "StreamUnavailable", ("cannot be reached", "Secret no-nats-host")),
    Trouble(
        "wrong-ca", "StreamReady", "StreamUnavailable",
        ("no CA in ca.crt has signed the server's certificate", "spec.stream.external.tls", "Secret wrong-ca"),
    ),
    Trouble("no-ca", "Ready", "SecretMissing", ("Secret database", "key ca.crt", "add it")),
    Trouble(
        "too-big", "StreamReady", "VolumePending",
        ("PersistentVolumeClaim data-too-big-nats-0", "StorageClass nowhere", "kubectl describe pvc"),
    ),
    Trouble("too-big", "GatewayReady", "Unschedulable", ("pod too-big-gateway-", "Insufficient cpu", "ask for less")),
    Trouble("too-big", "ReporterReady", "OutOfMemory", ("pod too-big-reporter-", "Raise limits.memory")),
    Trouble("bad-host", "Ready", "Refused", ("Ingress bad-host-gateway", "spec.rules[0].host")),
    Trouble("taken", "Ready", "NameTaken", ("Service taken-gateway", "Rename or delete it")),
    Trouble("spoiled", "Ready", "SecretIncomplete", ("Secret spoiled-auth", "nats-password", "delete the Secret")),
)  # fmt: skip


@pytest.fixture(scope="module")
def namespace(operator: Cluster) -> Iterator[str]:
    with operator.namespace("troubles") as name:
        yield name


@pytest.fixture(scope="module")
def pipelines(operator: Cluster, outside: Outside, namespace: str) -> Iterator[dict[str, Pipeline]]:
    """One of each, in one namespace, once the healthy one is Ready."""
    addresses = {
        "nats": outside.nats_url,
        "database": outside.database_url(),
        "wrong-password": outside.database_url("wrong"),
        "no-host": "postgresql://marketing:x@nowhere.example.com/marketing",
        "not-a-url": "marketing:p%ss@postgres",
        "no-jetstream": outside.without_jetstream_url,
        "wrong-nats": outside.nats_url.replace("marketing:", "marketing:wrong-"),
        "no-nats-host": "nats://nowhere.example.com:4222",
        "secured": outside.secured_url,
    }
    operator.apply(_secret("wrong-ca", files(Authority("another"))), namespace=namespace)
    operator.apply(*(_secret(name, {"url": url}) for name, url in addresses.items()), namespace=namespace)
    operator.apply(_secret("spoiled-auth", {"postgres-user": "eventpipeline_a"}), _SERVICE, namespace=namespace)
    found = {name: Pipeline(operator, namespace, name) for name in PIPELINES}
    found["healthy"].create(SMALLEST | PIPELINES["healthy"])
    found["healthy"].until_ready()
    for name in PIPELINES.keys() - {"healthy"}:
        found[name].create(SMALLEST | PIPELINES[name])
    yield found
    operator.kubectl("delete", "evp", "--all", "--wait=true", "--timeout=30s", namespace=namespace)


_SERVICE = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "taken-gateway"},
    "spec": {"ports": [{"port": 1}], "selector": {"app": "somebody-else"}},
}


def _secret(name: str, content: Mapping[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": dict(content)}


@pytest.fixture(scope="module")
def untouched(pipelines: dict[str, Pipeline]) -> dict[str, str]:
    """What runs before the first trouble is looked for."""
    return _running(pipelines["healthy"])


def _running(pipeline: Pipeline) -> dict[str, str]:
    """The pods of a pipeline, and how often each was started."""
    pods = pipeline.cluster.get_all(
        "pods", namespace=pipeline.namespace, selector=f"eventpipeline.dev/pipeline={pipeline.name}"
    )
    return {
        pod["metadata"]["name"]: f"{pod['metadata']['uid']} {pod['status']['containerStatuses'][0]['restartCount']}"
        for pod in pods
    }


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: f"{trouble.pipeline}-{trouble.reason}")
def test_a_trouble_is_said_with_what_to_do(
    pipelines: dict[str, Pipeline], untouched: dict[str, str], trouble: Trouble
) -> None:
    pipeline = pipelines[trouble.pipeline]
    _until_said(pipeline, trouble)
    assert pipeline.condition()["status"] != "True"
    assert _running(pipelines["healthy"]) == untouched


def _until_said(pipeline: Pipeline, trouble: Trouble) -> None:
    def said() -> bool:
        condition = pipeline.condition(trouble.kind)
        return condition["reason"] == trouble.reason and all(word in condition["message"] for word in trouble.words)

    wait_for(said, what=lambda: f"{trouble}; it is {pipeline.condition(trouble.kind)}", seconds=90)


def test_an_image_that_cannot_be_pulled(pipelines: dict[str, Pipeline]) -> None:
    """Paused, so that the operator only looks; what runs already goes on serving."""
    healthy = pipelines["healthy"]
    healthy.patch('{"spec":{"paused":true}}')
    wait_for(lambda: healthy.condition("Paused"), what="paused")
    deployment, image = "deployment/healthy-reporter", "nowhere.example/eventpipeline:9"
    healthy.cluster.kubectl("set", "image", deployment, f"reporter={image}", namespace=healthy.namespace)
    words = ("pod healthy-reporter-", image, "imagePullSecrets", "It serves")
    _until_said(healthy, Trouble("healthy", "ReporterReady", "ImageCannotBePulled", words))
    healthy.patch('{"spec":{"paused":false}}')
    healthy.until_ready()


@pytest.mark.parametrize(
    ("kind", "spec", "reason", "words"),
    [
        (
            "ResourceQuota",
            {"hard": {"pods": "0"}},
            "QuotaExceeded",
            ("exceeded quota: small", "Raise the ResourceQuota"),
        ),
        (
            "LimitRange",
            {"limits": [{"type": "Container", "max": {"memory": "64Mi"}}]},
            "PodsRefused",
            ("maximum memory usage per Container is 64Mi", "Ask for less in spec"),
        ),
    ],
    ids=["quota", "limits"],
)
def test_pods_that_the_namespace_refuses(
    operator: Cluster, outside: Outside, namespaced: str, kind: str, spec: Object, reason: str, words: tuple[str, ...]
) -> None:
    small = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "small"}, "spec": spec}
    operator.apply(
        small,
        _secret("nats", {"url": outside.nats_url}),
        _secret("database", {"url": outside.database_url()}),
        namespace=namespaced,
    )
    if kind == "ResourceQuota":
        wait_for(lambda: _counts(operator, namespaced), what="a quota that counts")
    pipeline = Pipeline(operator, namespaced)
    pipeline.create(SMALLEST | PIPELINES["healthy"])
    _until_said(pipeline, Trouble("marketing", "GatewayReady", reason, ("Deployment marketing-gateway", *words)))


@pytest.fixture
def namespaced(operator: Cluster) -> Iterator[str]:
    with operator.namespace("limited") as name:
        yield name


def _counts(operator: Cluster, namespace: str) -> bool:
    found: Any = operator.get("resourcequota/small", namespace=namespace)
    return "pods" in found.get("status", {}).get("hard", {})


def test_a_secret_that_vanishes_under_a_running_pipeline_is_said_and_nothing_else_happens(
    pipelines: dict[str, Pipeline], namespace: str
) -> None:
    healthy = pipelines["healthy"]
    before = _running(healthy)
    healthy.cluster.kubectl("delete", "secret", "database", namespace=namespace)
    _until_said(healthy, Trouble("healthy", "Ready", "SecretMissing", ("Secret database", "left as it is")))
    assert _running(healthy) == before


def test_none_of_it_hurts_the_operator(pipelines: dict[str, Pipeline], operator: Cluster) -> None:
    (pod,) = operator.get_all("pods", namespace=SYSTEM)
    (container,) = pod["status"]["containerStatuses"]
    assert container["ready"]
    assert container["restartCount"] == 0
    log = operator.kubectl("logs", pod["metadata"]["name"], namespace=SYSTEM)
    assert "a pass failed" not in log, "a bug, not a trouble"
