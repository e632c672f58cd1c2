"""The plan of a pipeline in a cluster, with the collectors of sources that were removed and still drain. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from eventpipeline.plan import Plan, Workload
from eventpipeline.settings import GatewaySettings, ReporterSettings, StreamSettings
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
    """The plan of the sources in the spec, and the collectors of `draining`.

    The byte limits are those of all streams together: the ones that drain still hold their share of the volume.
    """
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
    pipeline: EventPipeline, pending: Mapping[str, int], gateway: WorkloadSeen | None
) -> tuple[str, ...]:
    """Of the removed sources, those whose collector has to stay.

    One may go once it is known to drain, every gateway refuses it, and nothing is pending; not being told how much is
    pending means staying.
    """
    before = {source.name: source.state for source in (pipeline.status.sources if pipeline.status else ())}
    refusing = gateway is not None and gateway.current and gateway.updated == gateway.replicas == gateway.ready
    return tuple(
        name for name in removed_sources(pipeline) if before[name] == "Active" or not refusing or pending.get(name) != 0
    )
