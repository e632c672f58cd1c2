"""What the reporter counts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram

from eventpipeline.problems import Problem
from eventpipeline.readers import REASONS

REPORTS = ("events", "revenue", "demographics")
FORBIDDEN = ("role", "origin")


class ReporterMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._generated = Counter(
            "reporter_reports_generated_total", "Reports that were answered.", ["report"], registry=registry
        )
        self._failed = Counter(
            "reporter_reports_failed_total",
            "Reports that could not be answered, though what was asked was right.",
            ["report"],
            registry=registry,
        )
        self._latency = Histogram(
            "reporter_reports_latency_seconds",
            "From the request to the answer, of reports that were answered.",
            ["report"],
            registry=registry,
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
        )
        self.unauthenticated = Counter(
            "reporter_requests_unauthenticated_total",
            "Requests that did not prove who asks.",
            ["reason"],
            registry=registry,
        )
        self.forbidden = Counter(
            "reporter_requests_forbidden_total",
            "Requests of somebody whose role is not enough (reason role), or from a page of another site (origin).",
            ["reason"],
            registry=registry,
        )
        self.limited = Counter(
            "reporter_requests_limited_total", "Requests of readers above their rate limit.", registry=registry
        )
        for reason in REASONS:
            self.unauthenticated.labels(reason)
        for cause in FORBIDDEN:
            self.forbidden.labels(cause)
        for report in REPORTS:  # a counter that starts at 0 shows its first increase
            self._generated.labels(report)
            self._failed.labels(report)
            self._latency.labels(report)

    @contextlib.contextmanager
    def generating(self, report: str) -> Iterator[None]:
        """Counts one report as generated, as failed, or, where the request was wrong, not at all."""
        started = time.perf_counter()
        try:
            yield
        except Problem:
            raise
        except Exception:
            self._failed.labels(report).inc()
            raise
        self._generated.labels(report).inc()
        self._latency.labels(report).observe(time.perf_counter() - started)
