"""What the gateway counts."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from eventpipeline.events import Reason

UNKNOWN = "unknown"
"""The label of events whose source is none of the pipeline's: strangers must not make label values."""
STREAM_UNAVAILABLE = "stream_unavailable"
"""The reason of events that were valid and that JetStream did not acknowledge."""


class GatewayMetrics:
    def __init__(self, registry: CollectorRegistry, sources: tuple[str, ...]) -> None:
        self.accepted = Counter(
            "gateway_events_accepted_total", "Events that were valid.", ["source"], registry=registry
        )
        self.processed = Counter(
            "gateway_events_processed_total", "Events that JetStream acknowledged.", ["source"], registry=registry
        )
        self.failed = Counter(
            "gateway_events_failed_total",
            f"Events that were refused as invalid, or valid and not acknowledged (reason {STREAM_UNAVAILABLE}).",
            ["source", "reason"],
            registry=registry,
        )
        self.dead_letters_lost = Counter(
            "gateway_dead_letters_lost_total",
            "Refused events that could not be kept, since the stream of dead letters is full.",
            registry=registry,
        )
        self.unauthenticated = Counter(
            "gateway_requests_unauthenticated_total",
            "Requests that did not prove that they may send, by the source of the path (events: the path of all).",
            ["source", "reason"],
            registry=registry,
        )
        self.limited = Counter(
            "gateway_requests_limited_total", "Requests above a source's rate limit.", ["source"], registry=registry
        )
        self.requests = Counter("gateway_requests_total", "Requests by answer.", ["status"], registry=registry)
        self.request_seconds = Histogram(
            "gateway_request_seconds",
            "From the end of the headers to the answer.",
            registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )
        self.in_flight_bytes = Gauge(
            "gateway_in_flight_bytes", "Bytes of request bodies that are held now.", registry=registry
        )
        # A counter that starts at 0 shows its first increase; and to find it by its labels costs more than to count.
        self.accepted_of = {source: self.accepted.labels(source) for source in sources}
        self.processed_of = {source: self.processed.labels(source) for source in sources}
        for source in sources:
            self.failed.labels(source, STREAM_UNAVAILABLE)
        for source in (*sources, UNKNOWN):
            for reason in get_args(Reason):
                self.failed.labels(source, reason)
        self._requests_of = {status: self.requests.labels(str(status)) for status in (202, 503)}

    def answered(self, status: int, seconds: float) -> None:
        """Counts a request that was answered."""
        (self._requests_of.get(status) or self.requests.labels(str(status))).inc()
        self.request_seconds.observe(seconds)
