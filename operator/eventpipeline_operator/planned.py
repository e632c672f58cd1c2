"""The plan of a pipeline in a cluster, with the collectors of sources that were removed and still drain. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from pydantic import TypeAdapter, ValidationError

from eventpipeline.plan import Plan, Workload
from eventpipeline.settings import Declarations, GatewaySettings, ReporterSettings, StreamSettings
from eventpipeline.sources import BUILT_IN, Declaration
from eventpipeline.spec import EventPipeline, SourceRef
from eventpipeline_operator import chart
from eventpipeline_operator.objects import DEPLOYMENT, Key, Object
from eventpipeline_operator.observe import WorkloadSeen

NOTHING_DECLARED: Mapping[str, Declaration] = {}
_declarations: TypeAdapter[dict[str, Declaration] | None] = TypeAdapter(Declarations)


@dataclass(frozen=True)
class Planned:
    plan: Plan
    draining: tuple[Workload, ...] = ()

    @property
    def sources(self) -> tuple[str, ...]:
        """Every source that has a stream, those that drain included."""
        return tuple(w.name.removesuffix("-collector") for w in (*self.plan.collectors, *self.draining))

    def stream_settings(self, variables: Mapping[str, str]) -> StreamSettings:
        """The settings of the operator's own connection, with `variables` for what stands in the address."""
        url = self.plan.stream.nats_url
        for name, value in variables.items():
            url = url.replace(name, value)
        return self.plan.stream.model_copy(update={"nats_url": url})


def declared_live(live: Mapping[Key, Object]) -> dict[str, Declaration]:
    """The declarations that the running collectors have, by source.

    They outlast the spec: a declared source that was removed from it drains by the one that its collector has.
    """
    found: dict[str, Declaration] = {}
    for key, item in live.items():
        if key.kind == DEPLOYMENT and key.name.endswith("-collector"):
            for container in item["spec"]["template"]["spec"]["containers"]:
                for variable in container.get("env", []):
                    if variable["name"] == "DECLARATIONS":
                        found |= _read(variable.get("value", ""))
    return found


def _read(written: str) -> dict[str, Declaration]:
    try:
        return _declarations.validate_python(written.replace("$$", "$")) or {}
    except ValidationError:  # somebody else has changed it; what is in the spec will be put back
        return {}


def planned(
    pipeline: EventPipeline, draining: tuple[str, ...], declared: Mapping[str, Declaration] = NOTHING_DECLARED
) -> Planned:
    """The plan of the sources in the spec, and the collectors of `draining`, whose declarations are in `declared`."""
    spec = pipeline.spec
    removed = (SourceRef(name=name, declaration=declared.get(name)) for name in draining)
    everything = spec.model_copy(update={"sources": (*spec.sources, *removed)})
    namespace = pipeline.metadata.namespace or ""
    whole = chart.plan(pipeline.model_copy(update={"spec": everything}), namespace)
    count, names = len(spec.sources), tuple(source.name for source in spec.sources)
    known = {"sources": names, "declarations": spec.declarations or None}
    gateway, reporter = whole.gateway.settings, whole.reporter.settings
    assert isinstance(gateway, GatewaySettings)
    assert isinstance(reporter, ReporterSettings)
    plan = replace(
        whole,
        gateway=replace(whole.gateway, settings=gateway.model_copy(update=known)),
        reporter=replace(whole.reporter, settings=reporter.model_copy(update=known)),
        collectors=whole.collectors[:count],
    )
    return Planned(plan, whole.collectors[count:])


def removed_sources(pipeline: EventPipeline, declared: Mapping[str, Declaration] = NOTHING_DECLARED) -> tuple[str, ...]:
    """The sources that ran, and are no longer in the spec.

    One of them is left out where nobody knows what it was: not built in, and its collector was deleted.
    """
    names = {source.name for source in pipeline.spec.sources}
    before = pipeline.status.sources if pipeline.status else ()
    known = {*BUILT_IN, *declared}
    return tuple(source.name for source in before if source.name not in names and source.name in known)


def still_draining(
    pipeline: EventPipeline,
    pending: Mapping[str, int],
    removed: Mapping[str, int],
    *,
    refused: Container[str],
    declared: Mapping[str, Declaration] = NOTHING_DECLARED,
) -> tuple[str, ...]:
    """Of the sources that are not in the spec, those whose collector has to stay, or come back.

    One may go once every gateway refuses it (`refused`) and nothing is `pending`; not being told how much is pending
    means staying. One of `removed`, which has a stream that nobody asked for, comes back while something is pending
    there: an operator that was away, or a gateway that ended late, leaves nothing behind.
    """
    known = {*BUILT_IN, *declared}
    stay = (name for name in removed_sources(pipeline, declared) if name not in refused or pending.get(name) != 0)
    return (*stay, *(name for name, count in removed.items() if count and name in known))


def refused_sources(names: Iterable[str], gateway: WorkloadSeen | None, taken: Iterable[str]) -> frozenset[str]:
    """Of `names`, those that every gateway refuses; `taken` is what its Deployment says that it takes."""
    return frozenset(names).difference(taken) if gateway and gateway.settled else frozenset()


def may_rotate_database(workloads: Mapping[str, WorkloadSeen]) -> bool:
    """Whether everything that logs in to Postgres has the present password, which stays valid for one rotation."""
    return _settled("postgres", {name: seen for name, seen in workloads.items() if name not in ("gateway", "nats")})


def may_rotate_nats(workloads: Mapping[str, WorkloadSeen]) -> bool:
    """The same of NATS."""
    return _settled("nats", {name: seen for name, seen in workloads.items() if name != "postgres"})


def _settled(server: str, workloads: Mapping[str, WorkloadSeen]) -> bool:
    users = workloads.keys() - {server}
    return server in workloads and bool(users) and all(seen.settled for seen in workloads.values())


def droppable(plans: Planned, streams: Mapping[str, int], collecting: Container[str | None]) -> tuple[str, ...]:
    """Of the `streams` that nobody asked for, with what is pending in each, those that may go: nothing is pending, and
    no pod is left (`collecting`: sources that have one) that would make the stream again."""
    return tuple(
        name for name, count in streams.items() if not count and name not in plans.sources and name not in collecting
    )
