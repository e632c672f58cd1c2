"""What a service reads from its environment.

`read(environ)` and `environ()` are inverses: the plan writes what the service reads, on a laptop and in a cluster.
Every variable is the upper-case name of a field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from eventpipeline.authentication import Authentication, RateLimit, ReaderAuthentication
from eventpipeline.faults import flattened
from eventpipeline.sources import Declaration, SourceName, load, written

LogLevel = Literal["debug", "info", "warning", "error"]
SourceList = Annotated[
    tuple[SourceName, ...],
    BeforeValidator(lambda value: tuple(value.split(",")) if isinstance(value, str) else value),
    PlainSerializer(",".join, return_type=str),
]


def _parsed(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _dumped(models: Mapping[str, BaseModel] | None) -> str | None:
    return written(models) if models else None


Declarations = Annotated[
    dict[SourceName, Declaration] | None, BeforeValidator(_parsed), PlainSerializer(_dumped, return_type=str | None)
]
Authentications = Annotated[
    dict[SourceName, Authentication] | None, BeforeValidator(_parsed), PlainSerializer(_dumped, return_type=str | None)
]
RateLimits = Annotated[
    dict[SourceName, RateLimit] | None, BeforeValidator(_parsed), PlainSerializer(_dumped, return_type=str | None)
]
_JSON = PlainSerializer(
    lambda model: model.model_dump_json(by_alias=True, exclude_defaults=True) if model else None,
    return_type=str | None,
)
Readers = Annotated[ReaderAuthentication | None, BeforeValidator(_parsed), _JSON]
OneRateLimit = Annotated[RateLimit | None, BeforeValidator(_parsed), _JSON]
KIB, MIB, GIB = 1024, 1024**2, 1024**3


class SettingsError(ValueError):
    """An environment variable is missing or wrong; the message names it."""


class Environment(BaseModel):
    """Settings that stand in environment variables."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=str.upper, populate_by_name=True, use_attribute_docstrings=True
    )

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Self:
        """The settings in `environ`; variables of others are ignored.

        Raises SettingsError, naming each variable that is missing or wrong.
        """
        names = {field.upper() for field in cls.model_fields}
        try:
            return cls.model_validate({name: value for name, value in environ.items() if name in names})
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].removeprefix('Value error, ')}"
                for fault in flattened(error.errors())
            )
            raise SettingsError(f"settings in the environment: {faults}") from None

    def environ(self) -> dict[str, str]:
        """The environment from which `read` makes these settings."""
        dumped = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: str(value) for name, value in dumped.items()}


class Settings(Environment):
    """The settings that every service has."""

    environment: str = "production"
    """A name for where this runs; it stands in each log line."""
    log_level: LogLevel = "info"
    """The least severe log lines that are printed."""
    host: str = "0.0.0.0"  # noqa: S104 - a pod is reached through its address; a laptop's plan says 127.0.0.1
    """The address to listen on."""
    port: int = Field(default=3000, ge=0, le=65535)
    """The port to listen on."""
    drain_seconds: float = Field(default=5.0, ge=0)
    """How long a service goes on serving after SIGTERM while clients learn that it leaves."""


class StreamSettings(Settings):
    """The settings of a service that speaks to NATS."""

    nats_url: str
    """Where NATS is: nats://user:password@host:4222; several servers are separated by commas."""
    nats_tls_dir: str | None = None
    """A folder with the certificates for NATS, read at each connection: ca.crt, and tls.crt with tls.key or neither."""
    nats_inbox_prefix: str = "_INBOX"
    """What the subjects begin with on which answers come: of a NATS with a user a service, _INBOX_ and the user."""
    stream_prefix: str = ""
    """Stands before the stream names where several pipelines share a server."""
    stream_bytes: int = Field(default=1 * GIB, gt=0)
    """Byte limit of the stream of one source."""
    stream_larger: bool = False
    """Whether a stream with a larger limit is left as it is, as on a NATS that somebody else runs."""
    dead_bytes: int = Field(default=256 * MIB, gt=0)
    """Byte limit of the stream of dead letters."""
    stream_replicas: int = Field(default=1, ge=1, le=5)
    """On how many NATS servers each stream is kept."""
    stream_retention_seconds: int = Field(default=7 * 86400, gt=0)
    """How long an event stays in the stream after it was stored, space permitting."""


class DeclaredSettings(StreamSettings):
    """The settings of a service that knows sources."""

    declarations: Declarations = None
    """Sources that are not built in: a JSON object of their declarations by name."""

    @field_validator("sources", "source", check_fields=False)
    @classmethod
    def _is_known(cls, given: str | tuple[str, ...], info: ValidationInfo) -> str | tuple[str, ...]:
        if "declarations" in info.data:
            load((given,) if isinstance(given, str) else given, info.data["declarations"])
        return given


class GatewaySettings(DeclaredSettings):
    """The settings of `eventpipeline gateway`."""

    sources: SourceList
    """The sources whose events are taken, separated by commas: facebook,tiktok."""
    max_body_bytes: int = Field(default=64 * MIB, gt=0)
    """The largest request body that is taken, decompressed."""
    max_in_flight_bytes: int = Field(default=128 * MIB, gt=0)
    """Bytes of request bodies, decompressed, that are held at one time; above it the answer is 503."""
    ack_timeout_seconds: float = Field(default=10.0, gt=0)
    """How long JetStream may take to acknowledge before the answer is 503."""
    retention_days: int | None = Field(default=None, ge=1)
    """Events of a day that the store has dropped are refused at the door."""
    authentication: Authentications = None
    """How the senders of a source prove who they are: a JSON object by source, as in the resource. It names keys."""
    makes_streams: bool = True
    """Whether streams that are not there are made; where a NATS user may only publish, collectors make them."""
    keys_dir: str | None = None
    """Where the keys are, as files NAME/KEY; without it, /etc/eventpipeline/keys."""
    rate_limits: RateLimits = None
    """The limit on requests of a source: a JSON object by source, as in the resource."""


class CollectorSettings(DeclaredSettings):
    """The settings of `eventpipeline collector`."""

    database_url: str
    """Where Postgres is: postgresql://user:password@host/database."""
    database_tls_dir: str | None = None
    """A folder with the certificates for Postgres, likewise; sslmode is verify-full then."""
    source: SourceName
    """The source whose events are collected."""
    batch_bytes: int = Field(default=2 * MIB, gt=0)
    """Bytes of messages that are stored by one statement; two are stored at a time, and one is fetched ahead."""


class ReporterSettings(DeclaredSettings):
    """The settings of `eventpipeline reporter`."""

    database_url: str
    """Where Postgres is: postgresql://user:password@host/database. A role that may only read is enough."""
    database_tls_dir: str | None = None
    """A folder with the certificates for Postgres, as above."""
    sources: SourceList
    """The sources that are reported, separated by commas: facebook,tiktok."""
    authentication: Readers = None
    """How readers prove who they are: a JSON object, as in the resource. It names keys; without it, anyone may read."""
    gateway_url: str | None = None
    """Where the gateway is: http://host:3000. Dead letters are replayed through it; without it, not over HTTP."""
    keys_dir: str | None = None
    """Where the hashes of keys are, as files NAME/KEY; without it, /etc/eventpipeline/keys."""
    rate_limit: OneRateLimit = None
    """The limit on requests of each reader: a JSON object, as in the resource."""


class OwnerSettings(Environment):
    """What is read by who runs under the role that owns the tables."""

    database_url: str
    """Where Postgres is, with the role that owns the tables."""
    database_tls_dir: str | None = None
    """A folder with the certificates for Postgres, as above."""


class MigrateSettings(OwnerSettings):
    """What `migrate` reads."""

    service_database_url: str = ""
    """How the collectors log in: their role is given this password, where it has another. Empty: it is left alone."""
    reporter_database_url: str = ""
    """The same of the reporter."""


class MaintainSettings(OwnerSettings):
    """What `maintain` reads."""

    retention_days: int | None = Field(default=None, ge=1)
    """`maintain` drops the days that are older; without it, none."""
