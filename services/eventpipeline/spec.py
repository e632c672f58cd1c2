"""The EventPipeline resource, spec and status: the one place where its shape is written down.

Field descriptions are written for `kubectl explain` and for the messages of `eventpipeline validate`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from eventpipeline.sources import BUILT_IN, KnownSource, SourceName

API_VERSION = "eventpipeline.dev/v1alpha1"
KIND = "EventPipeline"

BYTES_PATTERN = r"^([0-9]+)(Ki|Mi|Gi|Ti|k|M|G|T)?$"
CPU_PATTERN = r"^([0-9]+m|[0-9]+(\.[0-9]+)?)$"
DNS_LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
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


ByteQuantity = Annotated[str, AfterValidator(_checked_quantity), Field(pattern=BYTES_PATTERN)]
CpuQuantity = Annotated[str, Field(pattern=CPU_PATTERN)]
DnsLabel = Annotated[str, Field(pattern=DNS_LABEL_PATTERN)]


class Model(BaseModel):
    """A part of the resource: closed, camelCase outside, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Autoscaling(Model):
    min_replicas: int = Field(default=1, ge=1, le=100, description="Fewest replicas.")
    max_replicas: int = Field(default=10, ge=1, le=100, description="Most replicas.")
    target_cpu_utilization_percent: int = Field(
        default=70, ge=1, le=100, alias="targetCPUUtilizationPercent",
        description="Replicas are added when the mean CPU use, as a percentage of the request, is above this.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError("minReplicas must not be greater than maxReplicas")
        return self


class ResourceList(Model):
    cpu: CpuQuantity | None = Field(default=None, description="CPU, such as 500m or 2.")
    memory: ByteQuantity | None = Field(default=None, description="Memory, such as 256Mi.")


class Resources(Model):
    requests: ResourceList = ResourceList()
    limits: ResourceList = ResourceList()


class Ingress(Model):
    host: str = Field(description="The host name under which the service is reached.", min_length=1, max_length=253)
    class_name: str | None = Field(default=None, description="The IngressClass; without it, the cluster's default.")
    tls_secret_name: DnsLabel | None = Field(default=None, description="The Secret with the host's certificate.")


class Collector(Model):
    autoscaling: Autoscaling = Autoscaling()
    resources: Resources = Resources()


class SourceRef(Model):
    name: KnownSource = Field(description="facebook or tiktok.")
    collector: Collector | None = Field(default=None, description="Settings of this source's collector only.")


class Gateway(Model):
    autoscaling: Autoscaling = Autoscaling()
    max_body_bytes: int = Field(
        default=64 * 2**20, ge=1024, le=2**30, description="The largest request body taken, in bytes, decompressed."
    )
    ingress: Ingress | None = None
    resources: Resources = Resources()


class Reporter(Model):
    autoscaling: Autoscaling = Autoscaling(max_replicas=3)
    ingress: Ingress | None = None
    resources: Resources = Resources()


class ManagedNats(Model):
    replicas: Literal[1, 3] = Field(default=1, description="NATS servers; 3 survive the loss of one.")
    storage: ByteQuantity = Field(default="10Gi", description="The size of each server's volume.")
    storage_class_name: str | None = Field(default=None, description="Without it, the cluster's default class.")


class SecretRef(Model):
    name: DnsLabel = Field(description="The name of a Secret in the namespace of this resource.")
    key: str = Field(default="url", min_length=1, description="The key in it.")


class ExternalNats(Model):
    url: str = Field(pattern=r"^(nats|tls)://", description="nats://host:4222; several are separated by commas.")
    credentials_secret_ref: SecretRef | None = None


class Stream(Model):
    nats: ManagedNats | None = Field(default=None, description="NATS servers run for this pipeline.")
    external: ExternalNats | None = Field(default=None, description="NATS servers that somebody else runs.")
    retention_seconds: int = Field(
        default=7 * 86400, ge=60,
        description="How long a stored event stays in the stream for replay, as long as there is space for it.",
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.nats and self.external:
            raise ValueError("give either nats or external, not both")
        return self

    @property
    def managed(self) -> ManagedNats | None:
        return None if self.external else (self.nats or ManagedNats())


class ManagedPostgres(Model):
    storage: ByteQuantity = Field(default="20Gi", description="The size of the volume.")
    storage_class_name: str | None = Field(default=None, description="Without it, the cluster's default class.")


class ExternalPostgres(Model):
    url_secret_ref: SecretRef = Field(description="A Secret whose key holds postgresql://user:password@host/database.")


class Store(Model):
    postgres: ManagedPostgres | None = Field(default=None, description="A Postgres run for this pipeline.")
    external: ExternalPostgres | None = Field(default=None, description="A Postgres that somebody else runs.")
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
    service_monitor: bool = Field(default=False, description="Make ServiceMonitors for the Prometheus operator.")
    dashboards: bool = Field(default=False, description="Make ConfigMaps with Grafana dashboards.")
    alerts: bool = Field(default=False, description="Make PrometheusRules.")


class EventPipelineSpec(Model):
    sources: tuple[SourceRef, ...] = Field(
        default=tuple(SourceRef(name=name) for name in BUILT_IN), min_length=1, max_length=32,
        description="Where events come from; each gets a stream and a collector of its own.",
    )  # fmt: skip
    gateway: Gateway = Gateway()
    collector: Collector = Field(default=Collector(), description="Settings of every collector.")
    reporter: Reporter = Reporter()
    stream: Stream = Stream()
    store: Store = Store()
    monitoring: Monitoring = Monitoring()
    paused: bool = Field(default=False, description="The operator leaves everything as it is while this is true.")
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain", description="What happens to the volumes and secrets when this resource is deleted."
    )

    @model_validator(mode="after")
    def _source_names_are_unique(self) -> Self:
        names = [source.name for source in self.sources]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"sources: {name!r} stands there {names.count(name)} times; a name is given once")
        return self


class Metadata(BaseModel):
    """The part of Kubernetes' ObjectMeta that the pipeline reads; the rest is allowed and left alone."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: DnsLabel
    namespace: DnsLabel | None = None
    generation: int | None = None
    uid: str | None = None


class Condition(Model):
    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str = Field(pattern=r"^[A-Z][A-Za-z]*$")
    message: str
    observed_generation: int | None = None
    last_transition_time: str | None = None


class SourceStatus(Model):
    name: SourceName
    replicas: int = 0
    pending: int = Field(default=0, description="Messages in the stream that are not stored yet.")
    dead_letters: int = Field(default=0, description="Events of this source that were refused.")


class Endpoints(Model):
    gateway: str | None = None
    reporter: str | None = None


class EventPipelineStatus(Model):
    observed_generation: int | None = None
    conditions: tuple[Condition, ...] = ()
    endpoints: Endpoints = Endpoints()
    sources: tuple[SourceStatus, ...] = ()


class EventPipeline(Model):
    """One pipeline: which events it takes, and how it runs."""

    api_version: Literal["eventpipeline.dev/v1alpha1"]
    kind: Literal["EventPipeline"]
    metadata: Metadata
    spec: EventPipelineSpec = EventPipelineSpec()
    status: EventPipelineStatus | None = None
