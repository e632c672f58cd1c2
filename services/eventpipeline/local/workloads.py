"""The plan as programs of this machine. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from pydantic import ValidationError

from eventpipeline import certificates
from eventpipeline.authentication import KeyRef, ReaderAuthentication, variable
from eventpipeline.local.errors import Unresolvable
from eventpipeline.local.ports import HOST
from eventpipeline.local.probe import answers_200
from eventpipeline.local.program import Program, python
from eventpipeline.plan import NATS_PORT, POSTGRES_PORT, Addresses, Plan, Workload, plan
from eventpipeline.settings import GatewaySettings, MaintainSettings, ReporterSettings, Settings
from eventpipeline.spec import (
    EventPipeline,
    EventPipelineSpec,
    ExternalNats,
    ExternalTls,
    SourceRef,
    Stream,
    quantity_bytes,
)

NATS, NATS_MONITOR, POSTGRES = "nats", "nats-monitor", "postgres"
"""Names of ports; those of the services are the names of their workloads."""
NATS_MONITOR_PORT = 8222

ENTRY = python("-m", "eventpipeline")
"""The command of the services, `migrate` and `maintain`."""

_LEAST_STORAGE = 64 * 2**20


def resolved(
    pipeline: EventPipeline, *, nats_url: str | None, database_url: str | None, nats_tls_dir: Path | None = None,
    database_tls_dir: Path | None = None,
) -> EventPipeline:  # fmt: skip
    """The pipeline with the servers it is to use here. Raises Unresolvable where they are in a secret of a cluster."""
    stream, database = pipeline.spec.stream.external, pipeline.spec.store.external
    _check_folder("stream", stream.tls if stream else None, "nats", nats_tls_dir, known=bool(stream or nats_url))
    _check_folder("store", database.tls if database else None, "database", database_tls_dir, known=bool(database_url))
    external = pipeline.spec.stream.external
    if external and external.credentials_secret_ref and not nats_url:
        raise Unresolvable(
            f"spec.stream.external takes its credentials from the secret {external.credentials_secret_ref.name!r} of a "
            f"cluster; give the address here with --nats-url nats://user:password@host:4222"
        )
    store = pipeline.spec.store.external
    if store and not database_url:
        raise Unresolvable(
            f"spec.store.external takes its address from the secret {store.url_secret_ref.name!r} of a cluster; "
            f"give it here with --database-url postgresql://user:password@host/database"
        )
    if not nats_url:
        return pipeline
    try:
        given = ExternalNats(url=nats_url)
    except ValidationError:
        raise Unresolvable(f"--nats-url {nats_url}: an address is nats://host:4222 or tls://host:4222") from None
    return _with_stream(pipeline, Stream(external=given, retention_seconds=pipeline.spec.stream.retention_seconds))


def _check_folder(part: str, tls: ExternalTls | None, server: str, folder: Path | None, *, known: bool) -> None:
    """Raises Unresolvable where certificates are needed and not there, are for nobody, or cannot be used."""
    option = f"--{server}-tls-dir"
    if folder is None:
        if tls:
            files = "ca.crt, tls.crt and tls.key" if tls.client_secret_name else "ca.crt"
            raise Unresolvable(
                f"spec.{part}.external.tls takes its certificates from secrets of a cluster; give the folder with "
                f"{files} here with {option}"
            )
        return
    if not known:
        raise Unresolvable(f"{option} is for a server that runs already; give its address with --{server}-url")
    if fault := certificates.fault(str(folder)):
        raise Unresolvable(f"{option} {folder}: {fault}")


def capped(pipeline: EventPipeline, available_bytes: int) -> EventPipeline:
    """The pipeline whose NATS takes at most a quarter of the disk; itself where it does not want more."""
    stream = pipeline.spec.stream
    most = max(available_bytes // 4, _LEAST_STORAGE)
    if stream.managed is None or quantity_bytes(stream.managed.storage) <= most:
        return pipeline
    server = stream.managed.model_copy(update={"storage": f"{most // 2**20}Mi"})
    return _with_stream(pipeline, stream.model_copy(update={"nats": server}))


def _with_stream(pipeline: EventPipeline, stream: Stream) -> EventPipeline:
    spec: EventPipelineSpec = pipeline.spec.model_copy(update={"stream": stream})
    return pipeline.model_copy(update={"spec": spec})


def server_ports(*, nats: bool, postgres: bool) -> dict[str, int]:
    """The default ports of the servers that are started here."""
    ports = {NATS: NATS_PORT, NATS_MONITOR: NATS_MONITOR_PORT} if nats else {}
    return ports | ({POSTGRES: POSTGRES_PORT} if postgres else {})


def service_ports(plan: Plan) -> dict[str, int]:
    return {workload.name: workload.settings.port for workload in plan.workloads}


def missing_keys(pipeline: EventPipeline, keys: Path, environ: Mapping[str, str]) -> str | None:
    """What to do about a key that is neither a file in `keys` nor in `environ`; None where all are."""
    for reference in pipeline.spec.key_references:
        file = keys / reference.name / reference.key
        if not file.is_file() and variable(reference) not in environ:
            return (
                f"{_needing(pipeline, reference)} needs the key {reference.key!r} of {reference.name!r}: put it into "
                f"the file {file}, or into the environment variable {variable(reference)}"
            )
    return None


def _needing(pipeline: EventPipeline, reference: KeyRef) -> str:
    sources = pipeline.spec.authentication.items()
    named = (f"the source {name}" for name, authentication in sources if reference in authentication.references)
    return next(named, "the reporter")


def keys_in(references: Iterable[KeyRef], environ: Mapping[str, str]) -> dict[str, str]:
    """Those of the keys that are in `environ`."""
    names = {variable(reference) for reference in references}
    return {name: environ[name] for name in sorted(names) if name in environ}


def service(
    workload: Workload,
    *,
    port: int,
    log: Path,
    entry: tuple[str, ...] = ENTRY,
    keys: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> Program:
    """A service on loopback, which does not wait for load balancers when it stops.

    A gateway finds the keys of senders, a reporter those of readers, in the folder `keys`, or in `environ`.
    """
    changes: dict[str, object] = {"host": HOST, "port": port, "environment": "development", "drain_seconds": 0.0}
    given: Mapping[str, str] = {}
    if references := _references(workload.settings):
        changes["keys_dir"], given = str(keys), keys_in(references, environ or {})
    settings = workload.settings.model_copy(update=changes)
    return Program(
        name=workload.name,
        argv=(*entry, *workload.command),
        log=log,
        env=_unbuffered({**given, **settings.environ()}),
        ready=answers_200(port, "/readyz"),
        live=answers_200(port, "/livez"),
    )


def _references(settings: Settings) -> tuple[KeyRef, ...]:
    match settings:
        case GatewaySettings(authentication=dict() as senders):
            return tuple(reference for one in senders.values() for reference in one.references)
        case ReporterSettings(authentication=ReaderAuthentication() as readers):
            return readers.references
        case _:
            return ()


def collector_of(pipeline: EventPipeline, source: str, addresses: Addresses) -> Workload:
    """The collector of a source that is not in the resource, as if it were the last one there."""
    sources = (*pipeline.spec.sources, SourceRef.model_validate({"name": source}))
    spec = pipeline.spec.model_copy(update={"sources": sources})
    return plan(pipeline.model_copy(update={"spec": spec}), addresses).collectors[-1]


def owner_task(
    command: str, plan: Plan, *, database_url: str, log: Path, entry: tuple[str, ...] = ENTRY,
    database_tls_dir: str | None = None,
) -> Program:  # fmt: skip
    """`migrate` or `maintain`: runs to its end, with the rights of the owner of the database."""
    settings = MaintainSettings(
        database_url=database_url, database_tls_dir=database_tls_dir, retention_days=plan.retention_days
    )
    return Program(command, (*entry, command), log, env=_unbuffered(settings.environ()))


def _unbuffered(env: Mapping[str, str]) -> dict[str, str]:
    """Their output goes to a file, and the last lines before a death are the ones that are looked for."""
    return dict(env) | {"PYTHONUNBUFFERED": "1"}
