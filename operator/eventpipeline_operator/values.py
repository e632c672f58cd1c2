"""The values of charts/eventpipeline. Pure.

Closed: a value that no template reads is refused, here and by the chart's values.schema.json, which is made from here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from eventpipeline.authentication import KEY_PATTERN
from eventpipeline.models import DnsName, Model
from eventpipeline.spec import Autoscaling, Backup, ByteQuantity, Ingress, Monitoring, Resources

Environment = dict[Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$")], str]
Annotations = dict[str, str]
PostgresSize = Annotated[str, Field(pattern=r"^[0-9]+MB$")]
"""In Postgres' own notation, which knows no Mi."""


class Image(Model):
    repository: str = Field(min_length=1, description="Without tag, such as registry.example.com/eventpipeline.")
    tag: str = Field(default="", description="Without it, the chart's appVersion.")
    digest: str = Field(default="", pattern=r"^(sha256:[0-9a-f]{64})?$", description="In place of the tag.")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"


NATS_IMAGE = Image(repository="nats", tag="2.15.1")
POSTGRES_IMAGE = Image(repository="postgres", tag="18.6")


class SecretVariable(Model):
    """An environment variable from a Secret. Those after it may use it, written $(NAME)."""

    name: str = Field(pattern=r"^[A-Z][A-Z0-9_]*$")
    secret: str = Field(default="", description="Without it, auth.existingSecret.")
    key: str = Field(min_length=1)


class CaKey(Model):
    name: DnsName
    key: Annotated[str, Field(min_length=1, pattern=KEY_PATTERN)]


class Certificates(Model):
    """Of an external server; mounted at /etc/eventpipeline/tls/SERVER as ca.crt, tls.crt and tls.key."""

    server: Literal["nats", "postgres"]
    ca: CaKey
    client_secret: DnsName | None = Field(default=None, description="Of type kubernetes.io/tls.")


class Process(Model):
    """A command of `eventpipeline` and the settings it reads."""

    environment: Environment = Field(default={}, description="Settings; $(NAME) is replaced by a secret variable.")
    secret_environment: tuple[SecretVariable, ...] = ()
    certificates: tuple[Certificates, ...] = Field(default=(), description="For the servers that it connects to.")


class Service(Process):
    autoscaling: Autoscaling = Field(
        default=Autoscaling(), description="Where minReplicas equals maxReplicas there is no autoscaler."
    )
    resources: Resources = Resources()
    pod_annotations: Annotations = Field(default={})


class KeySecret(Model):
    name: DnsName
    keys: tuple[Annotated[str, Field(min_length=1, pattern=KEY_PATTERN)], ...] = Field(min_length=1)


class Served(Service):
    """A service with an address for others."""

    ingress: Ingress | None = None
    key_secrets: tuple[KeySecret, ...] = Field(
        default=(), description="Secrets with keys of callers, mounted as files that follow the Secret."
    )


class Gateway(Served):
    pass


class Collector(Service):
    source: str = Field(pattern=r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$")


class Reporter(Served):
    token_provider: bool = Field(
        default=False, description="Whether it asks a provider of tokens for its keys, which may be anywhere."
    )


class Maintain(Process):
    schedule: str = Field(default="7 * * * *", description="When partitions are made and retention is applied.")


class Persistence(Model):
    size: ByteQuantity
    storage_class_name: DnsName | None = Field(default=None, description="Without it, the cluster's default class.")


class Nats(Model):
    enabled: bool = True
    image: Image = NATS_IMAGE
    replicas: Literal[1, 3] = 1
    persistence: Persistence = Persistence(size="10Gi")
    max_file_bytes: int = Field(default=8 * 2**30, gt=0, description="JetStream's limit; below the volume's size.")
    go_memory_limit: str = Field(
        default="768MiB", pattern=r"^[0-9]+MiB$", description="Of the Go runtime; below the limit of the container."
    )
    resources: Resources = Resources()
    pod_annotations: Annotations = Field(default={})


class Postgres(Model):
    enabled: bool = True
    image: Image = POSTGRES_IMAGE
    persistence: Persistence = Persistence(size="20Gi")
    max_connections: int = Field(default=100, ge=20)
    shared_buffers: PostgresSize = "256MB"
    max_wal_size: PostgresSize = "4096MB"
    backup: Backup | None = Field(default=None, description="Without it there are no backups.")
    resources: Resources = Resources()
    pod_annotations: Annotations = Field(default={})


class NetworkPolicy(Model):
    enabled: bool = True
    operator_namespace: DnsName = "eventpipeline-system"
    monitoring_namespaces: tuple[DnsName, ...] = Field(default=("monitoring",), description="May read /metrics.")


class Auth(Model):
    existing_secret: str = Field(default="", description="The Secret with the passwords of NATS and Postgres.")


class Values(Model):
    managed_by: str = Field(default="", max_length=63, description="The label; without it, Helm.")
    image: Image = Image(repository="eventpipeline")
    image_pull_secrets: tuple[DnsName, ...] = ()
    run_as_user: int = Field(default=10001, ge=1, description="The user of the services' pods.")
    auth: Auth = Auth()
    deletion_policy: Literal["Retain", "Delete"] = Field(
        default="Retain", description="What happens to the volumes when their StatefulSet is deleted."
    )
    gateway: Gateway = Gateway()
    collectors: tuple[Collector, ...] = ()
    reporter: Reporter = Reporter()
    migrate: Process = Process()
    maintain: Maintain = Maintain()
    nats: Nats = Nats()
    postgres: Postgres = Postgres()
    network_policy: NetworkPolicy = NetworkPolicy()
    monitoring: Monitoring = Monitoring()

    def for_helm(self) -> dict[str, Any]:
        """As a JSON document. What is None stays away: to Helm, null would mean to remove a default."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def values_schema() -> dict[str, Any]:
    """charts/eventpipeline/values.schema.json."""
    schema = _closed(Values.model_json_schema(by_alias=True))
    # Helm puts these into the values of every chart.
    for chart in (schema, schema["$defs"]["Nats"], schema["$defs"]["Postgres"]):
        chart["properties"]["global"] = {"type": "object"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _closed(node: Any) -> Any:
    """`node` where maps whose keys have a pattern take no other keys."""
    if isinstance(node, list):
        return [_closed(part) for part in node]
    if not isinstance(node, dict):
        return node
    found = {key: _closed(part) for key, part in node.items()}
    return found | {"additionalProperties": False} if "patternProperties" in node else found
