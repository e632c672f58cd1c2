"""What the operator counts of itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from eventpipeline_operator.converge import Changes

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class OperatorMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        prefix = "eventpipeline_operator"
        self._passes = Counter(f"{prefix}_reconcile_total", "Passes.", ["result"], registry=registry)
        self._errors = Counter(
            f"{prefix}_reconcile_errors_total", "Passes and objects that failed.", ["reason"], registry=registry
        )
        self._seconds = Histogram(
            f"{prefix}_reconcile_duration_seconds", "How long a pass takes.", buckets=_BUCKETS, registry=registry
        )
        self._writes = Counter(f"{prefix}_writes_total", "Writes to the API server.", ["what"], registry=registry)
        self.waiting = Gauge(f"{prefix}_waiting", "Pipelines that wait for a pass.", registry=registry)
        self.pipelines = Gauge(f"{prefix}_pipelines", "Pipelines there are.", registry=registry)
        self.deaf = Gauge(f"{prefix}_watch_deaf", "1 where a watch no longer tells of changes.", registry=registry)

    @contextmanager
    def passing(self) -> Iterator[Outcome]:
        outcome = Outcome(self._errors)
        started = time.perf_counter()
        try:
            yield outcome
        except BaseException:
            outcome.result = "error"
            raise
        finally:
            self._seconds.observe(time.perf_counter() - started)
            self._passes.labels(outcome.result).inc()

    def refused(self, reason: str) -> None:
        self._errors.labels(reason).inc()

    def wrote(self, what: str) -> None:
        self._writes.labels(what).inc()

    def applied(self, changes: Changes) -> None:
        counts = {
            "create": len(changes.created),
            "update": len(changes.updated),
            "put_back": len(changes.put_back),
            "prune": len(changes.pruned),
            "grow": len(changes.grown),
        }
        for what, count in counts.items():
            self._writes.labels(what).inc(count)
        for error in changes.refused.values():
            self.refused(error.reason)


class Outcome:
    def __init__(self, errors: Counter) -> None:
        self.result = "success"
        self._errors = errors

    def failed(self, reason: str) -> None:
        self.result = "error"
        self._errors.labels(reason).inc()
