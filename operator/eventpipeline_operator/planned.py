"""The plan of a pipeline in a cluster, with the collectors of sources that were removed and still drain. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, replace

from eventpipeline.plan import Plan, Workload
from eventpipeline.settings import GatewaySettings, ReporterSettings, StreamSettings
from eventpipeline.sources import BUILT_IN
from eventpipeline.spec import EventPipeline, SourceRef
from eventpipeline_operator import chart
from eventpipeline_operator.observe import WorkloadSeen


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
        settings = self.plan.gateway.settings
        assert isinstance(settings, StreamSettings)
        url = settings.nats_url
        for name, value in variables.items():
            url = url.replace(name, value)
        return settings.model_copy(update={"nats_url": url})


def planned(pipeline: EventPipeline, draining: tuple[str, ...]) -> Planned:
    """The plan of the sources in the spec, and the collectors of `draining`."""
    spec = pipeline.spec
    everything = spec.model_copy(update={"sources": (*spec.sources, *(SourceRef(name=name) for name in draining))})
    namespace = pipeline.metadata.namespace or ""
    whole = chart.plan(pipeline.model_copy(update={"spec": everything}), namespace)
    count, names = len(spec.sources), tuple(source.name for source in spec.sources)
    gateway, reporter = whole.gateway.settings, whole.reporter.settings
    assert isinstance(gateway, GatewaySettings)
    assert isinstance(reporter, ReporterSettings)
    plan = replace(
        whole,
        gateway=replace(whole.gateway, settings=gateway.model_copy(update={"sources": names})),
        reporter=replace(whole.reporter, settings=reporter.model_copy(update={"sources": names})),
        collectors=whole.collectors[:count],
    )
    return Planned(plan, whole.collectors[count:])


def removed_sources(pipeline: EventPipeline) -> tuple[str, ...]:
    """The sources that ran, and are no longer in the spec."""
    names = {source.name for source in pipeline.spec.sources}
    before = pipeline.status.sources if pipeline.status else ()
    return tuple(source.name for source in before if source.name not in names)


def still_draining(
    pipeline: EventPipeline, pending: Mapping[str, int], removed: Mapping[str, int], *, refused: Container[str]
) -> tuple[str, ...]:
    """Of the sources that are not in the spec, those whose collector has to stay, or come back.

    One may go once every gateway refuses it (`refused`) and nothing is `pending`; not being told how much is pending
    means staying. One of `removed`, which has a stream that nobody asked for, comes back while something is pending
    there: an operator that was away, or a gateway that ended late, leaves nothing behind.
    """
    stay = (name for name in removed_sources(pipeline) if name not in refused or pending.get(name) != 0)
    return (*stay, *(name for name, count in removed.items() if count and name in BUILT_IN))


def refused_sources(names: Iterable[str], gateway: WorkloadSeen | None, taken: Iterable[str]) -> frozenset[str]:
    """Of `names`, those that every gateway refuses; `taken` is what its Deployment says that it takes."""
    return frozenset(names).difference(taken) if gateway and gateway.settled else frozenset()


def may_rotate(workloads: Mapping[str, WorkloadSeen]) -> bool:
    """Whether everything that logs in to Postgres has the present password, which stays valid for one rotation."""
    users = {name: seen for name, seen in workloads.items() if name.endswith("-collector") or name == "reporter"}
    postgres = workloads.get("postgres")
    return postgres is not None and bool(users) and all(seen.settled for seen in (postgres, *users.values()))


def droppable(plans: Planned, streams: Mapping[str, int], collecting: Container[str | None]) -> tuple[str, ...]:
    """Of the `streams` that nobody asked for, with what is pending in each, those that may go: nothing is pending, and
    no pod is left (`collecting`: sources that have one) that would make the stream again."""
    return tuple(
        name for name, count in streams.items() if not count and name not in plans.sources and name not in collecting
    )
