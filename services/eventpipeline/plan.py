"""The plan: what has to run for a resource, whoever runs it. Pure.

`plan` turns a spec into workloads with their settings. A laptop runs them as processes, the operator as pods; neither
decides anything about the pipeline itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from eventpipeline.settings import MIB, CollectorSettings, GatewaySettings, ReporterSettings, Settings, StreamSettings
from eventpipeline.sources import BUILT_IN
from eventpipeline.spec import Autoscaling, EventPipeline, Resources, quantity_bytes
from eventpipeline.users import inbox

GATEWAY_PORT = 3000
COLLECTOR_PORT = 3001
"""The first source's collector; each further one has the next port that is not the reporter's."""
REPORTER_PORT = 3003
NATS_PORT = 4222
POSTGRES_PORT = 5432

_VOLUME_SHARE = 0.8
"""A nats-server that meets a full disk disables JetStream or resets the stream, so its limits stay well below."""
_DEAD_SHARE = 0.1


@dataclass(frozen=True)
class Addresses:
    """Where the servers are reached: known to whoever runs the plan."""

    nats_url: str
    """With every right on the streams."""
    database_url: str
    nats_urls: Mapping[str, str] = field(default_factory=dict)
    """By service, where each has a user of its own; else all are the user of `nats_url`."""
    reporter_database_url: str | None = None
    """Of a role that reads; without it, `database_url`."""
    nats_tls_dir: str | None = None
    database_tls_dir: str | None = None
    gateway_url: str | None = None
    """For the reporter, which has dead letters sent again there."""

    def nats(self, service: str) -> dict[str, str]:
        """The settings with which a service logs in to NATS."""
        if service not in self.nats_urls:
            return {"nats_url": self.nats_url}
        return {"nats_url": self.nats_urls[service], "nats_inbox_prefix": inbox(service)}


@dataclass(frozen=True)
class Workload:
    """One service of the pipeline: a command of `eventpipeline` and the settings it reads."""

    name: str
    command: tuple[str, ...]
    settings: Settings
    autoscaling: Autoscaling
    resources: Resources


@dataclass(frozen=True)
class NatsServer:
    """The limits of a nats-server that the pipeline has for itself."""

    replicas: int
    storage_bytes: int
    max_file_bytes: int
    """JetStream's own limit; above the sum of the streams' byte limits, below the volume."""


@dataclass(frozen=True)
class PostgresServer:
    storage_bytes: int


@dataclass(frozen=True)
class Plan:
    """Everything that runs for one pipeline. A server is None where somebody else runs it."""

    name: str
    gateway: Workload
    collectors: tuple[Workload, ...]
    reporter: Workload
    nats: NatsServer | None
    postgres: PostgresServer | None
    retention_days: int | None
    stream: StreamSettings
    """With which streams are tended and removed: every right on them."""

    @property
    def workloads(self) -> tuple[Workload, ...]:
        """The services in the order in which they start; they stop in the order of the data."""
        return (*self.collectors, self.reporter, self.gateway)


@dataclass(frozen=True)
class StreamLimits:
    stream_bytes: int
    dead_bytes: int


EXTERNAL_LIMITS = StreamLimits(stream_bytes=1024 * MIB, dead_bytes=256 * MIB)


def stream_limits(storage_bytes: int, declared: int = 0) -> StreamLimits:
    """The byte limits of the stream of one source and of the one of dead letters on a volume of `storage_bytes`.

    Every source that is built in has an equal share, whether this pipeline takes it or not: so a source can be added
    to a full pipeline, and adding or removing one changes no other stream and replaces no pod. `declared` sources make
    the shares smaller, in steps that halve them, so that few of them do.
    """
    shares = len(BUILT_IN)
    while shares < len(BUILT_IN) + declared:
        shares *= 2
    usable = int(storage_bytes * _VOLUME_SHARE * 0.95)
    dead = int(usable * _DEAD_SHARE)
    return StreamLimits(stream_bytes=(usable - dead) // shares, dead_bytes=dead)


def plan(pipeline: EventPipeline, addresses: Addresses, *, stream_prefix: str = "") -> Plan:
    """What runs for `pipeline`, with `addresses` for the servers.

    Ports are the defaults of a laptop; a runner that gives every workload an address of its own may override them.
    """
    spec = pipeline.spec
    names = tuple(source.name for source in spec.sources)
    declarations = spec.declarations or None
    nats = spec.stream.managed
    limits = stream_limits(quantity_bytes(nats.storage), len(spec.declarations)) if nats else EXTERNAL_LIMITS

    stream: dict[str, object] = {
        "nats_tls_dir": addresses.nats_tls_dir,
        "stream_prefix": stream_prefix,
        "stream_bytes": limits.stream_bytes,
        "dead_bytes": limits.dead_bytes,
        "stream_larger": nats is None,
        "stream_replicas": nats.replicas if nats else 1,
        "stream_retention_seconds": spec.stream.retention_seconds,
    }
    database: dict[str, object] = {
        "database_url": addresses.database_url,
        "database_tls_dir": addresses.database_tls_dir,
    }
    gateway = GatewaySettings.model_validate(
        stream
        | addresses.nats("gateway")
        | {
            "port": GATEWAY_PORT,
            "declarations": declarations,
            "sources": names,
            "max_body_bytes": spec.gateway.max_body_bytes,
            "max_in_flight_bytes": 2 * spec.gateway.max_body_bytes,
            "retention_days": spec.store.retention_days,
            "authentication": spec.authentication or None,
            "rate_limits": spec.rate_limits or None,
            "makes_streams": "gateway" not in addresses.nats_urls,
        }
    )
    reporter = ReporterSettings.model_validate(
        stream
        | addresses.nats("reporter")
        | {
            "port": REPORTER_PORT,
            "declarations": declarations,
            "sources": names,
            **database,
            "database_url": addresses.reporter_database_url or addresses.database_url,
            "authentication": None if spec.reporter.authentication.is_open else spec.reporter.authentication,
            "rate_limit": spec.reporter.rate_limit,
            "gateway_url": addresses.gateway_url,
        }
    )
    return Plan(
        name=pipeline.metadata.name,
        gateway=Workload("gateway", ("gateway",), gateway, spec.gateway.autoscaling, spec.gateway.resources),
        collectors=tuple(
            _collector(pipeline, index, stream | addresses.nats("collector") | database) for index in range(len(names))
        ),
        reporter=Workload("reporter", ("reporter",), reporter, spec.reporter.autoscaling, spec.reporter.resources),
        nats=NatsServer(nats.replicas, quantity_bytes(nats.storage), int(quantity_bytes(nats.storage) * _VOLUME_SHARE))
        if nats
        else None,
        postgres=PostgresServer(quantity_bytes(spec.store.managed.storage)) if spec.store.managed else None,
        retention_days=spec.store.retention_days,
        stream=StreamSettings.model_validate(stream | {"nats_url": addresses.nats_url}),
    )


def _collector(pipeline: EventPipeline, index: int, common: dict[str, object]) -> Workload:
    source = pipeline.spec.sources[index]
    own = source.collector or pipeline.spec.collector
    declarations = {source.name: source.declaration} if source.declaration else None
    port = COLLECTOR_PORT + index
    settings = CollectorSettings.model_validate(
        common
        | {
            "port": port if port < REPORTER_PORT else port + 1,
            "declarations": declarations,
            "source": source.name,
        }
    )
    return Workload(f"{source.name}-collector", ("collector",), settings, own.autoscaling, own.resources)
