"""The plan as objects: Workloads -> values of charts/eventpipeline; `render` makes objects of them. Pure.

The settings that a service reads are those of the plan, letter by letter. Passwords stand in them as `$(NAME)`, which
Kubernetes replaces by variables that come from Secrets: no password is in a value, nor in a rendered object.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from eventpipeline import plan as planning
from eventpipeline.authentication import KeyRef
from eventpipeline.plan import COLLECTOR_PORT, GATEWAY_PORT, NATS_PORT, POSTGRES_PORT, Addresses, Plan, Workload
from eventpipeline.settings import MIB, MaintainSettings, MigrateSettings
from eventpipeline.spec import EventPipeline, ExternalTls, ResourceList, Resources, quantity_bytes, quantity_cpus
from eventpipeline_operator import values as v
from eventpipeline_operator.auth import (
    NATS_PASSWORDS,
    NATS_USERS,
    NO_HASHES,
    OWNER_PASSWORD,
    OWNER_ROLE,
    PASSWORD,
    REPORTER_PASSWORD,
    USER,
    SecretHashes,
)
from eventpipeline_operator.helm import CHART, ChartError, HelmMissing, render

__all__ = ["CHART", "ChartError", "Extras", "HelmMissing", "addresses", "plan", "render", "stream_prefix", "values"]

MANAGED_BY = "eventpipeline-operator"

DATABASE = "eventpipeline"
TLS_DIR = "/etc/eventpipeline/tls"
"""Where the chart mounts certificates."""
_DATABASE_HOST = f"$(PIPELINE)-postgres:{POSTGRES_PORT}/{DATABASE}"
# Requests are what autoscalers measure against. An idle collector uses 8m, and with a request of 20m two of them would
# never be one again: half of 70 % is less than what they use at rest.
_GATEWAY, _COLLECTOR, _REPORTER = (
    Resources(requests=ResourceList(cpu=cpu, memory=memory), limits=ResourceList(memory=limit))
    for cpu, memory, limit in (("100m", "192Mi", "768Mi"), ("50m", "128Mi", "512Mi"), ("20m", "128Mi", "512Mi"))
)
_BODY_COPIES = 8
"""Bytes of memory for each byte of the largest body: two bodies in flight, each as text and as objects."""
_NATS = Resources(requests=ResourceList(cpu="50m", memory="256Mi"), limits=ResourceList(memory="1Gi"))
_POSTGRES = Resources(requests=ResourceList(cpu="100m", memory="512Mi"), limits=ResourceList(memory="2Gi"))
_COLLECTOR_CONNECTIONS, _REPORTER_CONNECTIONS, _OTHER_CONNECTIONS = 3, 8, 20


@dataclass(frozen=True)
class Extras:
    """What the values need beside resource, plan and image: known only where the pipeline runs."""

    auth_secret: str
    hashes: SecretHashes = NO_HASHES
    draining: tuple[Workload, ...] = ()
    """Collectors of sources that were removed and still have something pending."""
    nats_image: v.Image | None = None
    postgres_image: v.Image | None = None
    image_pull_secrets: tuple[str, ...] = ()
    operator_namespace: str = "eventpipeline-system"
    monitoring_namespaces: tuple[str, ...] = ("monitoring",)


def plan(pipeline: EventPipeline, namespace: str) -> Plan:
    """The plan as it runs in a cluster: every service in a pod of its own, passwords as `$(NAME)`."""
    return planning.plan(pipeline, addresses(pipeline), stream_prefix=stream_prefix(pipeline, namespace))


def addresses(pipeline: EventPipeline) -> Addresses:
    """Where the services find NATS and Postgres, in Kubernetes' notation."""
    external = pipeline.spec.stream.external
    gateway = f"http://$(PIPELINE)-gateway:{GATEWAY_PORT}"
    store = f"postgresql://$(POSTGRES_USER):$(POSTGRES_PASSWORD)@{_DATABASE_HOST}"
    reader: str | None = store.replace("$(POSTGRES_USER)", "$(POSTGRES_USER)_reporter")
    database, database_tls = pipeline.spec.store.external, None
    if database:
        store, reader = "$(EXTERNAL_DATABASE_URL)", None
        database_tls = f"{TLS_DIR}/postgres" if database.tls else None
    if external:
        # A dollar in somebody's address is a dollar, and no way to read a variable of ours.
        nats = "$(EXTERNAL_NATS_URL)" if external.credentials_secret_ref else external.url.replace("$", "$$")
        tls = f"{TLS_DIR}/nats" if external.tls else None
        return Addresses(
            nats,
            store,
            reporter_database_url=reader,
            nats_tls_dir=tls,
            database_tls_dir=database_tls,
            gateway_url=gateway,
        )
    # Each has a user of its own, whose login and password stand in variables of the same names.
    nats = f"nats://$(NATS_USER):$(NATS_PASSWORD)@$(PIPELINE)-nats:{NATS_PORT}"
    by_service = dict.fromkeys(NATS_PASSWORDS, nats)
    return Addresses(nats, store, by_service, reader, database_tls_dir=database_tls, gateway_url=gateway)


def stream_prefix(pipeline: EventPipeline, namespace: str) -> str:
    """Stands before stream names where the NATS is not the pipeline's own."""
    return f"{namespace}_{pipeline.metadata.name}_" if pipeline.spec.stream.external else ""


def values(pipeline: EventPipeline, the_plan: Plan, image: v.Image, extras: Extras) -> v.Values:
    """The values that make the chart render `the_plan`."""
    spec, store_secret, hashes = pipeline.spec, _store_secret(pipeline), extras.hashes
    nats_certificates, store_certificates = _certificates(pipeline)
    certificates = (*nats_certificates, *store_certificates)
    collectors = tuple(
        v.Collector(
            source=_source(workload),
            certificates=certificates,
            **_service(
                _on_own_address(workload),
                (*_nats_secret(pipeline, "collector"), *store_secret),
                _notes(nats=hashes.nats.get("collector", ""), store=hashes.store),
                _COLLECTOR,
            ),
        )
        for workload in (*the_plan.collectors, *extras.draining)
    )
    return v.Values(
        managed_by=MANAGED_BY,
        image=image,
        image_pull_secrets=extras.image_pull_secrets,
        auth=v.Auth(existing_secret=extras.auth_secret),
        deletion_policy=spec.deletion_policy,
        gateway=v.Gateway(
            ingress=spec.gateway.ingress,
            key_secrets=_key_secrets(
                one for sender in pipeline.spec.authentication.values() for one in sender.references
            ),
            certificates=nats_certificates,
            **_service(
                the_plan.gateway,
                _nats_secret(pipeline, "gateway"),
                _notes(nats=hashes.nats.get("gateway", "")),
                _gateway_resources(pipeline),
            ),
        ),
        collectors=collectors,
        reporter=v.Reporter(
            ingress=spec.reporter.ingress,
            key_secrets=_key_secrets(spec.reporter.authentication.references),
            token_provider=spec.reporter.authentication.oidc is not None,
            certificates=certificates,
            **_service(
                the_plan.reporter,
                (*_nats_secret(pipeline, "reporter"), *_store_secret(pipeline, REPORTER_PASSWORD)),
                _notes(nats=hashes.nats.get("reporter", ""), store=hashes.reporter_store),
                _REPORTER,
            ),
        ),
        migrate=v.Process(
            environment=_migrate(pipeline).environ(),
            secret_environment=(*_owner_secret(pipeline), *_login_secret(pipeline)),
            certificates=store_certificates,
        ),
        maintain=v.Maintain(
            environment=MaintainSettings(
                database_url=_owner(pipeline),
                database_tls_dir=addresses(pipeline).database_tls_dir,
                retention_days=the_plan.retention_days,
            ).environ(),
            secret_environment=_owner_secret(pipeline),
            certificates=store_certificates,
        ),
        nats=_nats(pipeline, the_plan, extras),
        postgres=_postgres(pipeline, the_plan, collectors, extras),
        network_policy=v.NetworkPolicy(
            operator_namespace=extras.operator_namespace, monitoring_namespaces=extras.monitoring_namespaces
        ),
        monitoring=spec.monitoring,
    )


def _service(
    workload: Workload, secret: tuple[v.SecretVariable, ...], notes: v.Annotations, default: Resources
) -> dict[str, Any]:
    return {
        "environment": _environment(workload),
        "secret_environment": secret,
        "autoscaling": workload.autoscaling,
        "resources": completed(workload.resources, default),
        "pod_annotations": notes,
    }


def _environment(workload: Workload) -> dict[str, str]:
    found = workload.settings.environ()
    for name in {"DECLARATIONS", "AUTHENTICATION"} & found.keys():
        found[name] = found[name].replace("$", "$$")  # nothing in it is a variable, whatever somebody writes there
    return found


def _key_secrets(references: Iterable[KeyRef]) -> tuple[v.KeySecret, ...]:
    """Every Secret that the keys are in, each key once."""
    found: dict[str, dict[str, None]] = {}
    for reference in references:
        found.setdefault(reference.name, {})[reference.key] = None
    return tuple(v.KeySecret(name=name, keys=tuple(keys)) for name, keys in found.items())


def _on_own_address(workload: Workload) -> Workload:
    # On a laptop each further collector has the next port; here that would replace pods when sources change places.
    settings = workload.settings.model_copy(update={"port": COLLECTOR_PORT})
    return Workload(workload.name, workload.command, settings, workload.autoscaling, workload.resources)


def _source(workload: Workload) -> str:
    return workload.settings.environ()["SOURCE"]


def completed(given: Resources, default: Resources) -> Resources:
    """`given` with what is missing from `default`, requests never above limits."""
    cpu = given.requests.cpu or default.requests.cpu
    memory = given.requests.memory or default.requests.memory
    limit = given.limits.memory or default.limits.memory
    if given.limits.cpu and cpu and quantity_cpus(cpu) > quantity_cpus(given.limits.cpu):
        cpu = given.limits.cpu
    if memory and limit and quantity_bytes(memory) > quantity_bytes(limit):
        memory, limit = (memory, memory) if given.requests.memory else (limit, limit)
    return Resources(
        requests=ResourceList(cpu=cpu, memory=memory), limits=ResourceList(cpu=given.limits.cpu, memory=limit)
    )


def _gateway_resources(pipeline: EventPipeline) -> Resources:
    needed = 256 * MIB + _BODY_COPIES * pipeline.spec.gateway.max_body_bytes
    return Resources(requests=_GATEWAY.requests, limits=ResourceList(memory=f"{needed // MIB}Mi"))


def _notes(**hashes: str) -> v.Annotations:
    return {f"eventpipeline.dev/{name}-secret-hash": value for name, value in hashes.items() if value}


def _nats_secret(pipeline: EventPipeline, service: str) -> tuple[v.SecretVariable, ...]:
    external = pipeline.spec.stream.external
    if not external:
        return (
            v.SecretVariable(name="NATS_USER", key=NATS_USERS[service]),
            v.SecretVariable(name="NATS_PASSWORD", key=NATS_PASSWORDS[service]),
        )
    reference = external.credentials_secret_ref
    return (_variable("EXTERNAL_NATS_URL", reference.name, reference.key),) if reference else ()


def _store_secret(pipeline: EventPipeline, password: str = PASSWORD) -> tuple[v.SecretVariable, ...]:
    if external := pipeline.spec.store.external:
        return (_variable("EXTERNAL_DATABASE_URL", external.url_secret_ref.name, external.url_secret_ref.key),)
    return (
        v.SecretVariable(name="POSTGRES_USER", key=USER),
        v.SecretVariable(name="POSTGRES_PASSWORD", key=password),
    )


def _certificates(pipeline: EventPipeline) -> tuple[tuple[v.Certificates, ...], tuple[v.Certificates, ...]]:
    """Those for NATS and those for Postgres."""
    stream, store = pipeline.spec.stream.external, pipeline.spec.store.external
    return _certificates_of("nats", stream.tls if stream else None), _certificates_of(
        "postgres", store.tls if store else None
    )


def _certificates_of(server: Literal["nats", "postgres"], tls: ExternalTls | None) -> tuple[v.Certificates, ...]:
    if tls is None:
        return ()
    ca = v.CaKey(name=tls.ca_secret_ref.name, key=tls.ca_secret_ref.key)
    return (v.Certificates(server=server, ca=ca, client_secret=tls.client_secret_name),)


def _owner_secret(pipeline: EventPipeline) -> tuple[v.SecretVariable, ...]:
    if pipeline.spec.store.external:
        return _store_secret(pipeline)
    return (v.SecretVariable(name="POSTGRES_OWNER_PASSWORD", key=OWNER_PASSWORD),)


def _migrate(pipeline: EventPipeline) -> MigrateSettings:
    owner, found = _owner(pipeline), addresses(pipeline)
    if pipeline.spec.store.external:
        return MigrateSettings(database_url=owner, database_tls_dir=found.database_tls_dir)
    # It has the passwords of both.
    reader = (found.reporter_database_url or "").replace("$(POSTGRES_PASSWORD)", "$(POSTGRES_REPORTER_PASSWORD)")
    return MigrateSettings(database_url=owner, service_database_url=found.database_url, reporter_database_url=reader)


def _login_secret(pipeline: EventPipeline) -> tuple[v.SecretVariable, ...]:
    if pipeline.spec.store.external:
        return ()
    return (
        *_store_secret(pipeline),
        v.SecretVariable(name="POSTGRES_REPORTER_PASSWORD", key=REPORTER_PASSWORD),
    )


def _variable(name: str, secret: str, key: str) -> v.SecretVariable:
    return v.SecretVariable(name=name, secret=secret, key=key)


def _owner(pipeline: EventPipeline) -> str:
    """The address for the role that owns the tables."""
    if pipeline.spec.store.external:
        return addresses(pipeline).database_url
    return f"postgresql://{OWNER_ROLE}:$(POSTGRES_OWNER_PASSWORD)@{_DATABASE_HOST}"


def _nats(pipeline: EventPipeline, the_plan: Plan, extras: Extras) -> v.Nats:
    server, spec = the_plan.nats, pipeline.spec.stream.managed
    if server is None or spec is None:
        return v.Nats(enabled=False, resources=_NATS)
    return v.Nats(
        replicas=spec.replicas,
        persistence=v.Persistence(size=spec.storage, storage_class_name=spec.storage_class_name),
        max_file_bytes=server.max_file_bytes,
        resources=_NATS,
        pod_annotations=_notes(nats=extras.hashes.nats_server),
        image=extras.nats_image or v.NATS_IMAGE,
    )


def _postgres(pipeline: EventPipeline, the_plan: Plan, collectors: Sequence[v.Collector], extras: Extras) -> v.Postgres:
    server, spec = the_plan.postgres, pipeline.spec.store.managed
    if server is None or spec is None:
        return v.Postgres(enabled=False, resources=_POSTGRES)
    return v.Postgres(
        persistence=v.Persistence(size=spec.storage, storage_class_name=spec.storage_class_name),
        max_connections=_connections(the_plan, collectors),
        max_wal_size=f"{min(4096, max(80, server.storage_bytes // 5 // MIB))}MB",
        backup=spec.backup,
        resources=_POSTGRES,
        pod_annotations=_notes(postgres=extras.hashes.postgres),
        image=extras.postgres_image or v.POSTGRES_IMAGE,
    )


def _connections(the_plan: Plan, collectors: Sequence[v.Collector]) -> int:
    """Enough for every replica and a rolling update; in steps that double, since a change restarts Postgres."""
    wanted = _OTHER_CONNECTIONS + 1.25 * (
        sum(_COLLECTOR_CONNECTIONS * collector.autoscaling.max_replicas for collector in collectors)
        + _REPORTER_CONNECTIONS * the_plan.reporter.autoscaling.max_replicas
    )
    steps = 100
    while steps < wanted:
        steps *= 2
    return steps
