"""Specs that are wrong, each with the field that the refusal has to name. One table for pydantic and the API server."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from declared import webshop_document


@dataclass(frozen=True)
class Invalid:
    """`named` stands in the API server's message."""

    spec: Any
    named: str
    name: str = "marketing"
    only_cluster: bool = False
    """The model reads words such as "yes" as booleans; the API server does not."""


@dataclass(frozen=True)
class Forbidden:
    """A change that is refused although both ends of it are valid."""

    before: dict[str, Any]
    after: dict[str, Any]
    named: str


def _scaling(service: str, **fields: Any) -> dict[str, Any]:
    return {service: {"autoscaling": fields}}


def _signing(**authentication: Any) -> dict[str, Any]:
    return {"sources": [{"name": "facebook", "authentication": authentication}]}


def _declared(name: str = "shop", declared: bool = True, **changes: Any) -> dict[str, Any]:
    """A source with the declaration of the web shop, changed."""
    whole = {"name": name, "declaration": webshop_document() | changes}
    return whole if declared else {"name": name}


def _reading(**authentication: Any) -> dict[str, Any]:
    return {"reporter": {"authentication": authentication}}


EXTERNAL_NATS = {"stream": {"external": {"url": "nats://nats.example.com:4222"}}}
EXTERNAL_STORE = {"store": {"external": {"urlSecretRef": {"name": "database"}}}}

_TLS: dict[str, Any] = {"caSecretRef": {"name": "ca"}}

INVALID: tuple[Invalid, ...] = (
    Invalid({"sources": []}, "spec.sources"),
    Invalid({"sources": [{"name": "myspace"}]}, "spec.sources[0].name"),
    Invalid({"sources": [{"name": "Facebook"}]}, "spec.sources[0].name"),
    Invalid({"sources": [{"name": ""}]}, "spec.sources[0].name"),
    Invalid({"sources": [{}]}, "spec.sources[0].name"),
    Invalid({"sources": [{"name": "facebook"}, {"name": "facebook"}]}, "spec.sources[1]"),
    Invalid({"sources": "facebook"}, "spec.sources"),
    Invalid(_reading(bearer={}), "spec.reporter.authentication.bearer"),
    Invalid({"reporter": {"rateLimit": {"requestsPerSecond": 0}}}, "spec.reporter.rateLimit.requestsPerSecond"),
    Invalid({"reporter": {"rateLimit": {"burst": 5}}}, "spec.reporter.rateLimit.requestsPerSecond"),
    Invalid(_reading(bearer={"read": {}}), "spec.reporter.authentication.bearer.read.name"),
    Invalid(_reading(bearer={"write": {"name": "a"}}), "spec.reporter.authentication.bearer.write"),
    Invalid(_reading(oidc={"issuer": "https://id.example.com"}), "spec.reporter.authentication.oidc.audience"),
    Invalid(
        _reading(oidc={"issuer": "http://id.example.com", "audience": "a"}), "spec.reporter.authentication.oidc.issuer"
    ),
    Invalid(
        _reading(oidc={"issuer": "https://id.example.com", "audience": "a", "roleClaim": "a..b"}),
        "spec.reporter.authentication.oidc.roleClaim",
    ),
    Invalid(
        _reading(oidc={"issuer": "https://id.example.com", "audience": "a", "read": [""]}),
        "spec.reporter.authentication.oidc.read[0]",
    ),
    Invalid({"sources": [{"name": "tiktok", "colour": "red"}]}, "spec.sources[0].colour"),
    Invalid({"sources": [_declared(name="shop2", declared=False)]}, "spec.sources[0].name"),
    Invalid({"sources": [_declared(name="facebook")]}, "spec.sources[0].declaration"),
    Invalid({"sources": [_declared(name="unknown")]}, "spec.sources[0].name"),
    Invalid({"sources": [_declared(eventTypes={})]}, "spec.sources[0].declaration.eventTypes"),
    Invalid({"sources": [_declared(eventTypes={"top": ["search"]})]}, "spec.sources[0].declaration.schema.bottom"),
    Invalid({"sources": [_declared(eventTypes={"bottom": ["order.paid"]})]}, "spec.sources[0].declaration.schema.top"),
    Invalid({"sources": [_declared(eventTypes={"top": ["a", "a"]})]}, "spec.sources[0].declaration.eventTypes.top[1]"),
    Invalid({"sources": [_declared(eventTypes={"top": ["a b"]})]}, "spec.sources[0].declaration.eventTypes.top[0]"),
    Invalid({"sources": [_declared(schema={"top": {}, "middle": {}})]}, "spec.sources[0].declaration.schema.middle"),
    Invalid({"sources": [_declared(user="id")]}, "spec.sources[0].declaration.user"),
    Invalid(
        {"sources": [_declared(averages=[{"name": "a", "pointer": "/order/items"}] * 2)]},
        "spec.sources[0].declaration.averages[1]",
    ),
    Invalid({"sources": [_declared(metricsPrefix="9")]}, "spec.sources[0].declaration.metricsPrefix"),
    Invalid(_signing(meta={"keys": []}), "spec.sources[0].authentication.meta.keys"),
    Invalid(_signing(meta={}), "spec.sources[0].authentication.meta.keys"),
    Invalid(_signing(meta={"keys": [{"name": "a"}] * 3}), "spec.sources[0].authentication.meta.keys"),
    Invalid(_signing(meta={"keys": [{"name": "A"}]}), "spec.sources[0].authentication.meta.keys[0].name"),
    Invalid(_signing(meta={"keys": [{"name": "a", "key": "../b"}]}), "authentication.meta.keys[0].key"),
    Invalid(_signing(tiktok={"keys": [{"name": "a"}], "toleranceSeconds": 0}), "tiktok.toleranceSeconds"),
    Invalid(_signing(hmac={"keys": [{"name": "a"}], "algorithm": "md5"}), "authentication.hmac.algorithm"),
    Invalid(_signing(hmac={"keys": [{"name": "a"}], "header": "X Signature"}), "authentication.hmac.header"),
    Invalid(_signing(bearer={"tokens": ["a"]}), "spec.sources[0].authentication.bearer.tokens"),
    Invalid(_signing(none={}, bearer={"keys": [{"name": "a"}]}), "spec.sources[0].authentication"),
    Invalid(_signing(saml={}), "spec.sources[0].authentication.saml"),
    Invalid(
        {"sources": [{"name": "facebook", "rateLimit": {"requestsPerSecond": 0}}]},
        "spec.sources[0].rateLimit.requestsPerSecond",
    ),
    Invalid(_scaling("gateway", minReplicas=0), "spec.gateway.autoscaling.minReplicas"),
    Invalid(_scaling("gateway", minReplicas=3, maxReplicas=2), "spec.gateway.autoscaling.minReplicas"),
    Invalid(_scaling("gateway", maxReplicas=101), "spec.gateway.autoscaling.maxReplicas"),
    Invalid(_scaling("gateway", maxReplicas="many"), "spec.gateway.autoscaling.maxReplicas"),
    Invalid(_scaling("reporter", minReplicas=20, maxReplicas=4), "spec.reporter.autoscaling.minReplicas"),
    Invalid(
        _scaling("reporter", targetCPUUtilizationPercent=0), "spec.reporter.autoscaling.targetCPUUtilizationPercent"
    ),
    Invalid(_scaling("reporter", targetCPUUtilizationPercent=101), "autoscaling.targetCPUUtilizationPercent"),
    Invalid(_scaling("collector", minReplicas=11), "spec.collector.autoscaling.minReplicas"),
    Invalid(_scaling("collector", minReplicas=1.5), "spec.collector.autoscaling.minReplicas"),
    Invalid(_scaling("collector", replicas=3), "spec.collector.autoscaling.replicas"),
    Invalid(
        {"sources": [{"name": "tiktok", "collector": {"autoscaling": {"minReplicas": 9, "maxReplicas": 8}}}]},
        "spec.sources[0].collector.autoscaling.minReplicas",
    ),
    Invalid(
        _scaling("gateway", behavior={"scaleDown": {"stabilizationWindowSeconds": 3601}}),
        "behavior.scaleDown.stabilizationWindowSeconds",
    ),
    Invalid(_scaling("gateway", behavior={"scaleUp": {"selectPolicy": "Most"}}), "behavior.scaleUp.selectPolicy"),
    Invalid(
        _scaling("gateway", behavior={"scaleUp": {"policies": [{"type": "Pods", "value": 0, "periodSeconds": 15}]}}),
        "behavior.scaleUp.policies[0].value",
    ),
    Invalid({"gateway": {"maxBodyBytes": 1023}}, "spec.gateway.maxBodyBytes"),
    Invalid({"gateway": {"maxBodyBytes": 2**30 + 1}}, "spec.gateway.maxBodyBytes"),
    Invalid({"gateway": {"maxBodyBytes": "64Mi"}}, "spec.gateway.maxBodyBytes"),
    Invalid({"gateway": {"ingress": {}}}, "spec.gateway.ingress.host"),
    Invalid({"gateway": {"ingress": {"host": ""}}}, "spec.gateway.ingress.host"),
    Invalid({"gateway": {"ingress": {"host": "https://example.com"}}}, "spec.gateway.ingress.host"),
    Invalid(
        {"reporter": {"ingress": {"host": "a.example.com", "className": "Nginx"}}}, "spec.reporter.ingress.className"
    ),
    Invalid(
        {"reporter": {"ingress": {"host": "a.example.com", "tlsSecretName": "-"}}}, "reporter.ingress.tlsSecretName"
    ),
    Invalid({"gateway": {"resources": {"requests": {"cpu": "lots"}}}}, "spec.gateway.resources.requests.cpu"),
    Invalid({"gateway": {"resources": {"requests": {"memory": "1.5Gi"}}}}, "spec.gateway.resources.requests.memory"),
    Invalid({"gateway": {"resources": {"requests": {"gpu": "1"}}}}, "spec.gateway.resources.requests.gpu"),
    Invalid(
        {"collector": {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "500m"}}}},
        "spec.collector.resources.requests.cpu",
    ),
    Invalid(
        {"collector": {"resources": {"requests": {"memory": "2Gi"}, "limits": {"memory": "512Mi"}}}},
        "spec.collector.resources.requests.memory",
    ),
    Invalid({"stream": {"nats": {"replicas": 2}}}, "spec.stream.nats.replicas"),
    Invalid({"stream": {"nats": {"storage": "ten"}}}, "spec.stream.nats.storage"),
    Invalid({"stream": {"nats": {"storage": "10GB"}}}, "spec.stream.nats.storage"),
    Invalid({"stream": {"nats": {"storage": 10}}}, "spec.stream.nats.storage"),
    Invalid({"stream": {"nats": {"storageClassName": "Fast Disks"}}}, "spec.stream.nats.storageClassName"),
    Invalid({"stream": {"nats": {}, "external": {"url": "nats://n:4222"}}}, "spec.stream.external"),
    Invalid({"stream": {"external": {}}}, "spec.stream.external.url"),
    Invalid({"stream": {"external": {"url": "http://n:4222"}}}, "spec.stream.external.url"),
    Invalid(
        {"stream": {"external": {"url": "nats://n:4222", "credentialsSecretRef": {"name": "A B"}}}},
        "spec.stream.external.credentialsSecretRef.name",
    ),
    Invalid({"stream": {"external": {"url": "tls://n:4222", "tls": {}}}}, "spec.stream.external.tls.caSecretRef"),
    Invalid(
        {"stream": {"external": {"url": "tls://n:4222", "tls": {"caSecretRef": {"key": "ca.crt"}}}}},
        "spec.stream.external.tls.caSecretRef.name",
    ),
    Invalid(
        {"stream": {"external": {"url": "tls://n:4222", "tls": _TLS | {"clientSecretName": "A B"}}}},
        "spec.stream.external.tls.clientSecretName",
    ),
    Invalid(
        {"store": {"external": {"urlSecretRef": {"name": "db"}, "tls": {"caSecretRef": {"name": "a", "key": "b c"}}}}},
        "external.tls.caSecretRef.key",
    ),
    Invalid({"store": {"external": {"urlSecretRef": {"name": "db"}, "tls": _TLS | {"ca": "x"}}}}, "external.tls"),
    Invalid({"stream": {"retentionSeconds": 59}}, "spec.stream.retentionSeconds"),
    Invalid({"stream": {"retentionSeconds": "7d"}}, "spec.stream.retentionSeconds"),
    Invalid({"store": {"postgres": {"storage": "-1Gi"}}}, "spec.store.postgres.storage"),
    Invalid({"store": {"postgres": {}, **EXTERNAL_STORE["store"]}}, "spec.store.external"),
    Invalid({"store": {"external": {}}}, "spec.store.external.urlSecretRef"),
    Invalid({"store": {"external": {"urlSecretRef": {"name": "db", "key": "a b"}}}}, "external.urlSecretRef.key"),
    Invalid({"store": {"retentionDays": 0}}, "spec.store.retentionDays"),
    Invalid({"monitoring": {"dashboards": "yes"}}, "spec.monitoring.dashboards", only_cluster=True),
    Invalid({"paused": "true"}, "spec.paused", only_cluster=True),
    Invalid({"deletionPolicy": "Keep"}, "spec.deletionPolicy"),
    Invalid({"sink": {}}, "spec.sink"),
    Invalid([], "spec"),
    Invalid({}, "metadata.name", name="a" * 41),
    Invalid({}, "metadata.name", name="9lives"),
    Invalid({}, "metadata.name", name="a.b"),
)

FORBIDDEN: tuple[Forbidden, ...] = (
    Forbidden({}, {"stream": {"nats": {"replicas": 3}}}, "spec.stream.nats.replicas"),
    Forbidden({"stream": {"nats": {"replicas": 3}}}, {}, "spec.stream.nats.replicas"),
    Forbidden({}, {"stream": {"nats": {"storage": "9Gi"}}}, "spec.stream.nats.storage"),
    Forbidden({"stream": {"nats": {"storage": "20Gi"}}}, {}, "spec.stream.nats.storage"),
    Forbidden({}, {"stream": {"nats": {"storageClassName": "fast"}}}, "spec.stream.nats.storageClassName"),
    Forbidden({}, {"store": {"postgres": {"storageClassName": "fast"}}}, "spec.store.postgres.storageClassName"),
    Forbidden({"store": {"postgres": {"storage": "30Gi"}}}, {"store": {"postgres": {}}}, "spec.store.postgres.storage"),
    Forbidden(
        {"store": {"postgres": {"storageClassName": "fast"}}},
        {"store": {"postgres": {"storageClassName": "slow"}}},
        "spec.store.postgres.storageClassName",
    ),
    Forbidden({}, EXTERNAL_NATS, "spec.stream.external"),
    Forbidden(EXTERNAL_NATS, {}, "spec.stream.external"),
    Forbidden({}, EXTERNAL_STORE, "spec.store.external"),
    Forbidden(EXTERNAL_STORE, {"store": {"postgres": {}}}, "spec.store.external"),
)

ALLOWED: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({}, {"stream": {"nats": {"replicas": 1, "storage": "10Gi"}}}),
    ({}, {"stream": {"nats": {"storage": "11Gi"}}}),
    ({}, {"store": {"postgres": {"storage": "1Ti"}}}),
    ({"stream": {"nats": {"storage": "10Gi"}}}, {}),
    (EXTERNAL_NATS, {"stream": {"external": {"url": "tls://other.example.com:4222"}}}),
    ({}, {"sources": [{"name": "tiktok"}]}),
)
