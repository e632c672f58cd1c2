"""The EventPipeline resource, spec and status: the one place where its shape is written down.

Field descriptions are written for `kubectl explain` and for the messages of `eventpipeline validate`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from eventpipeline.authentication import Authentication, KeyRef, RateLimit, ReaderAuthentication
from eventpipeline.faults import Fault, refusal
from eventpipeline.models import DnsLabel, DnsName, Model
from eventpipeline.sources import BUILT_IN, RESERVED, Declaration, SourceName, written

API_VERSION = "eventpipeline.dev/v1alpha1"
KIND = "EventPipeline"

BYTES_PATTERN = r"^([0-9]+)(Ki|Mi|Gi|Ti|k|M|G|T)?$"
CPU_PATTERN = r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$"
PIPELINE_NAME_PATTERN = r"^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
"""Object names are made from it, such as `marketing-facebook-collector`, and those have at most 63 characters."""
MAX_DECLARATIONS = 96 * 1024
"""Bytes of all declarations as JSON: Linux takes an environment variable of at most 128 KiB."""
_FACTORS = {
    None: 1,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
}


def quantity_bytes(quantity: str) -> int:
    """The bytes of a Kubernetes quantity such as `10Gi` (whole numbers with a byte suffix).

    Raises ValueError where it is not one.
    """
    match = re.fullmatch(BYTES_PATTERN, quantity)
    if not match:
        raise ValueError(f"{quantity!r} is not a size in bytes; write a whole number and a suffix, such as 10Gi")
    return int(match[1]) * _FACTORS[match[2]]


def _checked_quantity(quantity: str) -> str:
    quantity_bytes(quantity)
    return quantity


def quantity_cpus(quantity: str) -> float:
    """The CPUs of a Kubernetes quantity such as `500m` or `2`."""
    return int(quantity[:-1]) / 1000 if quantity.endswith("m") else float(quantity)


ByteQuantity = Annotated[str, Field(pattern=BYTES_PATTERN, max_length=16), AfterValidator(_checked_quantity)]
CpuQuantity = Annotated[str, Field(pattern=CPU_PATTERN, max_length=16)]


class ScalingPolicy(Model):
    """One step by which replicas may change."""

    type: Literal["Pods", "Percent"] = Field(description="Whether value counts pods or per cent of the pods there are.")
    value: int = Field(ge=1, le=1000, description="The most that is added or removed within periodSeconds.")
    period_seconds: int = Field(ge=1, le=1800, description="The time, in seconds, in which value may be used up.")


class ScalingRules(Model):
    """How fast replicas may change in one direction."""

    stabilization_window_seconds: int | None = Field(
        default=None, ge=0, le=3600,
        description="How long, in seconds, a recommendation must hold before it is followed; without it, 0 for "
        "scaling up and 300 for scaling down.",
    )  # fmt: skip
    select_policy: Literal["Max", "Min", "Disabled"] | None = Field(
        default=None, description="Which policy counts: the one that allows most (Max), least (Min), or none at all."
    )
    policies: tuple[ScalingPolicy, ...] = Field(
        default=(), max_length=8, description="The steps that are allowed; without any, the ones of Kubernetes."
    )


class ScalingBehavior(Model):
    """How fast replicas are added and removed, in the words of autoscaling/v2."""

    scale_up: ScalingRules | None = Field(default=None, description="How fast replicas are added.")
    scale_down: ScalingRules | None = Field(default=None, description="How fast replicas are removed.")


class Autoscaling(Model):
    """Between which numbers of replicas a service runs; equal numbers switch the autoscaler off."""

    min_replicas: int = Field(default=1, ge=1, le=100, description="The fewest replicas that run.")
    max_replicas: int = Field(
        default=10, ge=1, le=100,
        description="The most replicas that run. As many as minReplicas means: no autoscaler, always that many.",
    )  # fmt: skip
    target_cpu_utilization_percent: int = Field(
        default=70, ge=1, le=100, alias="targetCPUUtilizationPercent",
        description="Replicas are added when the mean CPU use, as a percentage of the request, is above this.",
    )  # fmt: skip
    behavior: ScalingBehavior | None = Field(
        default=None, description="How fast replicas are added and removed; without it, as the pipeline does by itself."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must not be greater than maxReplicas")
        return self


class ResourceList(Model):
    """Amounts of CPU and memory."""

    cpu: CpuQuantity | None = Field(default=None, description="CPU, such as 500m (half a CPU) or 2.")
    memory: ByteQuantity | None = Field(default=None, description="Memory, such as 256Mi.")


class Resources(Model):
    """CPU and memory of each pod of a service. What is not given has a default that was measured to be enough."""

    requests: ResourceList = Field(
        default=ResourceList(), description="What a node must have free for a pod; the CPU use is measured against it."
    )
    limits: ResourceList = Field(
        default=ResourceList(), description="What a pod cannot exceed; above the memory limit it is killed."
    )

    @model_validator(mode="after")
    def _requests_within_limits(self) -> Self:
        for name, amount in (("cpu", quantity_cpus), ("memory", quantity_bytes)):
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if request and limit and amount(request) > amount(limit):
                raise ValueError(f"requests.{name} must not be greater than limits.{name}")
        return self


class Ingress(Model):
    """How a service is reached from outside the cluster."""

    host: str = Field(
        description="The host name under which the service is reached, such as events.example.com.",
        min_length=1, max_length=253, pattern=r"^(\*\.)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$",
    )  # fmt: skip
    class_name: DnsName | None = Field(
        default=None, description="The IngressClass that serves it; without it, the cluster's default."
    )
    tls_secret_name: DnsName | None = Field(
        default=None,
        description="A Secret of type kubernetes.io/tls with the host's certificate; without it, plain HTTP.",
    )


class Collector(Model):
    """A collector takes the events of one source from the stream and stores them."""

    autoscaling: Autoscaling = Field(default=Autoscaling(), description="How many replicas run.")
    resources: Resources = Field(default=Resources(), description="CPU and memory of each replica.")


class SourceRef(Model):
    """A source of events: one that is built in, or one that declaration describes."""

    name: SourceName = Field(
        description="facebook or tiktok, or a name of your own beside a declaration. Events carry it."
    )
    declaration: Declaration | None = Field(
        default=None,
        description="What the source is, where it is not built in. The gateway validates its events by it, and it has "
        "a collector and reports of its own, without code.",
    )
    authentication: Authentication = Field(
        default=Authentication(), description="How its senders prove who they are; without it, anyone may send."
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="How many requests are taken for this source; without it, as many as there is room."
    )
    collector: Collector | None = Field(
        default=None, description="Settings of this source's collector, in place of all of spec.collector."
    )

    @model_validator(mode="after")
    def _is_built_in_or_declared(self) -> Self:
        fault = None
        if self.name in BUILT_IN and self.declaration:
            fault = Fault(("declaration",), f"is given, but {self.name} is built in; give the source another name")
        elif self.name in RESERVED:
            fault = Fault(("name",), f"must not be {self.name}, which stands for something else in metrics and paths")
        elif self.name not in BUILT_IN and not self.declaration:
            known = ", ".join(BUILT_IN)
            fault = Fault(("name",), f"there is no source {self.name!r}; known are {known}; declare it in declaration")
        if error := refusal([fault] if fault else []):
            raise error
        return self


class Gateway(Model):
    """The gateway takes the events that ad platforms post to POST /webhook/events, port 3000."""

    autoscaling: Autoscaling = Field(default=Autoscaling(), description="How many replicas run.")
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1024, le=2**30, description="The largest request body taken, in bytes, decompressed."
    )
    ingress: Ingress | None = Field(default=None, description="Makes the gateway reachable from outside the cluster.")
    resources: Resources = Field(default=Resources(), description="CPU and memory of each replica.")


class Reporter(Model):
    """The reporter answers reports about the stored events, port 3003."""

    authentication: ReaderAuthentication = Field(
        default=ReaderAuthentication(),
        description="How readers prove who they are; without it, anyone who reaches the reporter may read, and drop "
        "dead letters.",
    )
    rate_limit: RateLimit | None = Field(
        default=None,
        description="How many requests are taken of each reader: by key, or by address where anyone may read; without "
        "it, as many as there is room.",
    )
    autoscaling: Autoscaling = Field(default=Autoscaling(max_replicas=3), description="How many replicas run.")
    ingress: Ingress | None = Field(default=None, description="Makes the reporter reachable from outside the cluster.")
    resources: Resources = Field(default=Resources(), description="CPU and memory of each replica.")


class ManagedNats(Model):
    """NATS servers with JetStream that the operator runs for this pipeline alone."""

    replicas: Literal[1, 3] = Field(
        default=1, description="How many servers; 3 keep every event thrice and survive the loss of one. Cannot change."
    )
    storage: ByteQuantity = Field(
        default="10Gi",
        description="The size of each server's volume. Can only grow, where the storage class allows it.",
    )
    storage_class_name: DnsName | None = Field(
        default=None, description="The StorageClass of the volumes; without it, the cluster's default. Cannot change."
    )


class SecretRef(Model):
    """A key of a Secret in the namespace of this resource."""

    name: DnsName = Field(description="The name of the Secret.")
    key: str = Field(
        default="url", min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="The key in it."
    )


class CaRef(SecretRef):
    """A key of a Secret in the namespace of this resource, with certificates of CAs in PEM."""

    key: str = Field(
        default="ca.crt", min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$", description="The key in it."
    )


class ExternalTls(Model):
    """Certificates for the connections to a server that somebody else runs. With it, none is made without TLS."""

    ca_secret_ref: CaRef = Field(
        description="The CAs that the server's certificate is verified against; it must be for the host of the address."
    )
    client_secret_name: DnsName | None = Field(
        default=None,
        description="A Secret of type kubernetes.io/tls, with tls.crt and tls.key: the certificate by which services "
        "and operator prove who they are, where the server asks for one.",
    )


class ExternalNats(Model):
    """NATS servers with JetStream that somebody else runs. Set sync_interval to always on them, or a power cut may
    lose events that were answered 202. A pipeline cannot change between managed and external.
    """

    url: str = Field(
        pattern=r"^(nats|tls)://[^\s]+$", max_length=2048,
        description="nats://host:4222, or tls://host:4222; several are separated by commas.",
    )  # fmt: skip
    credentials_secret_ref: SecretRef | None = Field(
        default=None,
        description="A Secret whose key holds a whole address in the form of url, with user and password in it: "
        "nats://user:password@host:4222. The services use it in place of url.",
    )
    tls: ExternalTls | None = Field(
        default=None, description="Certificates; without it TLS is as the address and the system's CAs say."
    )


class Stream(Model):
    """The stream keeps the accepted events until they are stored. Give nats, or external, or neither: then one NATS
    server with the defaults of nats runs for this pipeline.
    """

    nats: ManagedNats | None = None
    external: ExternalNats | None = None
    retention_seconds: int = Field(
        default=7 * 86400, ge=60, le=10 * 366 * 86400,
        description="How long, in seconds, a stored event stays in the stream for replay, as long as there is space "
        "for it. An event that is not stored yet always stays.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.nats and self.external:
            raise ValueError("give either nats or external, not both")
        return self

    @property
    def managed(self) -> ManagedNats | None:
        return None if self.external else (self.nats or ManagedNats())


class Backup(Model):
    """Backups of the Postgres that runs for this pipeline, onto a volume of their own."""

    claim_name: DnsName = Field(
        description="A PersistentVolumeClaim in the pipeline's namespace; choose one that outlives the database's disk."
    )
    schedule: str = Field(
        default="17 3 * * *",
        pattern=r"^\S+( \S+){4}$",
        max_length=100,
        description="When, as cron writes it: minute, hour, day of month, month, day of week.",
    )
    keep: int = Field(default=7, ge=1, le=1000, description="How many of the newest are kept.")


class ManagedPostgres(Model):
    """A Postgres that the operator runs for this pipeline alone."""

    storage: ByteQuantity = Field(
        default="20Gi", description="The size of the volume. Can only grow, where the storage class allows it."
    )
    storage_class_name: DnsName | None = Field(
        default=None, description="The StorageClass of the volume; without it, the cluster's default. Cannot change."
    )
    backup: Backup | None = Field(default=None, description="Without it there are no backups.")


class ExternalPostgres(Model):
    """A Postgres that somebody else runs. A pipeline cannot change between managed and external."""

    url_secret_ref: SecretRef = Field(description="A Secret whose key holds postgresql://user:password@host/database.")
    tls: ExternalTls | None = Field(
        default=None,
        description="Certificates; sslmode is verify-full then, whatever the address says. Without it the address "
        "decides.",
    )


class Store(Model):
    """The store keeps the events and answers reports. Give postgres, or external, or neither: then a Postgres with
    the defaults of postgres runs for this pipeline.
    """

    postgres: ManagedPostgres | None = None
    external: ExternalPostgres | None = None
    retention_days: int | None = Field(
        default=None, ge=1, le=36500, description="Days after which events are dropped; without it none is dropped."
    )

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.postgres and self.external:
            raise ValueError("give either postgres or external, not both")
        return self

    @property
    def managed(self) -> ManagedPostgres | None:
        return None if self.external else (self.postgres or ManagedPostgres())


class Monitoring(Model):
    """What is made for a Prometheus and a Grafana in the cluster. /metrics is served in any case."""

    service_monitor: bool = Field(default=False, description="Make ServiceMonitors for the Prometheus operator.")
    dashboards: bool = Field(default=False, description="Make ConfigMaps with Grafana dashboards.")
    alerts: bool = Field(default=False, description="Make PrometheusRules with alerts for the Prometheus operator.")


class EventPipelineSpec(Model):
    """What is wanted. An empty spec is a working pipeline of both sources."""

    sources: tuple[SourceRef, ...] = Field(
        default=tuple(SourceRef(name=name) for name in BUILT_IN), min_length=1, max_length=32,
        description="Where events come from; without it, facebook and tiktok. Each gets a stream and a collector of "
        "its own. A source that is removed drains first: the gateway refuses it, and its collector goes when "
        "everything is stored.",
    )  # fmt: skip
    gateway: Gateway = Gateway()
    collector: Collector = Field(default=Collector(), description="Settings of every source's collector.")
    reporter: Reporter = Reporter()
    stream: Stream = Stream()
    store: Store = Store()
    monitoring: Monitoring = Monitoring()
    paused: bool = Field(
        default=False, description="While this is true the operator changes nothing; what runs goes on running."
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain",
        description="What happens to the volumes and secrets when this resource is deleted: kept, so that applying it "
        "again finds the data, or deleted with it.",
    )

    @model_validator(mode="after")
    def _source_names_are_unique(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name!r} stands there {names.count(name)} times; a name is given once")
        return self

    @model_validator(mode="after")
    def _declarations_fit_a_variable(self) -> Self:
        size = len(written(self.declarations).encode())
        if size > MAX_DECLARATIONS:
            message = (
                f"have declarations of {size} bytes together, as JSON; at most {MAX_DECLARATIONS} are taken, since "
                f"they travel in an environment variable"
            )
            raise ValueError(f"sources {message}")
        return self

    @property
    def authentication(self) -> dict[str, Authentication]:
        """How senders of the sources that are not open prove who they are, by source."""
        return {source.name: source.authentication for source in self.sources if source.authentication.method}

    @property
    def open_sources(self) -> tuple[str, ...]:
        """The sources that anyone may send."""
        return tuple(source.name for source in self.sources if not source.authentication.method)

    @property
    def openings(self) -> tuple[str, ...]:
        """What anyone may do who reaches a service, and what to do about it: a sentence or two each."""
        found = []
        if self.open_sources:
            found.append(
                f"Anyone who reaches the gateway can send events of {', '.join(self.open_sources)}: give "
                "authentication in spec.sources, or keep the Service inside."
            )
        if self.reporter.authentication.is_open:
            found.append(
                "Anyone who reaches the reporter can read reports and dead letters, and drop those: give "
                "spec.reporter.authentication, or keep the Service inside and put an authenticating proxy before the "
                "Ingress."
            )
        return tuple(found)

    @property
    def key_references(self) -> tuple[KeyRef, ...]:
        """Every key of senders and readers that is needed, once."""
        senders = (one for authentication in self.authentication.values() for one in authentication.references)
        return tuple(dict.fromkeys((*senders, *self.reporter.authentication.references)))

    @property
    def rate_limits(self) -> dict[str, RateLimit]:
        return {source.name: source.rate_limit for source in self.sources if source.rate_limit}

    @property
    def declarations(self) -> dict[str, Declaration]:
        """The declarations of the sources that are not built in, by name."""
        return {source.name: source.declaration for source in self.sources if source.declaration}


class Metadata(BaseModel):
    """The part of Kubernetes' ObjectMeta that the pipeline reads; the rest is allowed and left alone."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: Annotated[str, Field(pattern=PIPELINE_NAME_PATTERN)]
    namespace: DnsLabel | None = None
    generation: int | None = None
    uid: str | None = None
    annotations: Mapping[str, str] | None = None


class Condition(Model):
    """One thing that is true of the pipeline, or not."""

    type: str = Field(
        max_length=64, description="What is said: Ready, StreamReady, StoreReady, GatewayReady, and so on."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it is so.")
    reason: str = Field(pattern=r"^[A-Z][A-Za-z]*$", max_length=128, description="Why, in one word for programs.")
    message: str = Field(max_length=2048, description="Why, and what to do about it, for people.")
    observed_generation: int | None = Field(default=None, description="The generation of the spec it was said about.")
    last_transition_time: str | None = Field(default=None, description="When status changed last.")


class SourceStatus(Model):
    """How one source fares."""

    name: SourceName = Field(max_length=32, description="The source.")
    state: Literal["Active", "Draining"] = Field(
        default="Active", description="Draining: it was removed, and its collector stores what is still pending."
    )
    replicas: int = Field(default=0, description="Replicas of its collector that are ready.")
    pending: int = Field(default=0, description="Messages in the stream that are not stored yet.")
    dead_letters: int = Field(default=0, description="Events of this source that were refused.")


class Endpoints(Model):
    """Where the services are reached."""

    gateway: str | None = Field(default=None, description="Post events to /webhook/events under this URL.")
    reporter: str | None = Field(default=None, description="Ask for reports under this URL.")


class EventPipelineStatus(Model):
    """What is observed; written by the operator."""

    observed_generation: int | None = Field(default=None, description="The generation of the spec that was seen last.")
    conditions: tuple[Condition, ...] = Field(
        default=(), max_length=32,
        description="Ready on top, and one for each part; a message says what to do where one is not True.",
    )  # fmt: skip
    endpoints: Endpoints = Field(default=Endpoints(), description="Where the services are reached.")
    sources: tuple[SourceStatus, ...] = Field(default=(), max_length=64, description="How each source fares.")
    pending: int = Field(default=0, description="Messages of all sources that are not stored yet.")
    dead_letters: int = Field(default=0, description="Events that were refused, of all sources.")


class EventPipeline(Model):
    """A pipeline takes marketing events from a webhook, keeps every one it accepted, and answers reports about them."""

    api_version: Literal["eventpipeline.dev/v1alpha1"]
    kind: Literal["EventPipeline"]
    metadata: Metadata
    spec: EventPipelineSpec = EventPipelineSpec()
    status: EventPipelineStatus | None = None
