"""Every metric that the services have, found by making them: for the docs, and for the tests of what queries them."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.gateway.metrics import GatewayMetrics
from eventpipeline.reporter.metrics import ReporterMetrics
from eventpipeline.sources import BUILT_IN, built_in
from eventpipeline.telemetry import new_registry

PREFIXES = tuple(built_in(source).metrics_prefix for source in BUILT_IN)


def registries() -> dict[str, CollectorRegistry]:
    """By the name of the workload."""
    found = {name: new_registry() for name in ("gateway", *(f"{source}-collector" for source in BUILT_IN), "reporter")}
    GatewayMetrics(found["gateway"], BUILT_IN)
    ReporterMetrics(found["reporter"])
    for source in BUILT_IN:
        CollectorMetrics(found[f"{source}-collector"], built_in(source))
    return found


def series() -> set[str]:
    """The names of series as Prometheus stores them: `_total`, `_bucket`, `_sum`, `_count` and plain ones."""
    return {
        sample.name for registry in registries().values() for metric in registry.collect() for sample in metric.samples
    }


def table() -> str:
    """The services' own metrics in Markdown; those of a source are told once, with the prefixes they have."""
    lines = ["| metric | kind | labels | what it counts |", "|---|---|---|---|"]
    told: set[str] = set()
    for metric in _own():
        name = _name(metric)
        prefix = next((one for one in PREFIXES if name.startswith(one)), None)
        rest = name.removeprefix(prefix) if prefix else name
        if rest in told:
            continue
        told.add(rest)
        names = [f"{one}{rest}" for one in PREFIXES] if prefix else [name]
        labels = sorted({label for sample in metric.samples for label in sample.labels} - {"le"})
        shown = ", ".join(f"`{one}`" for one in names)
        lines.append(
            f"| {shown} | {metric.type} | {', '.join(f'`{label}`' for label in labels)} | {metric.documentation} |"
        )
    return "\n".join(lines)


def _own() -> Iterator[Metric]:
    for registry in registries().values():
        for metric in registry.collect():
            if not metric.name.startswith(("process_", "python_")):
                yield metric


def _name(metric: Metric) -> str:
    return f"{metric.name}_total" if metric.type == "counter" else metric.name
