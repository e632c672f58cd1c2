"""What a collector counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from eventpipeline.sources import Source


class CollectorMetrics:
    def __init__(self, registry: CollectorRegistry, source: Source) -> None:
        prefix = source.metrics_prefix
        self.accepted = Counter(
            f"{prefix}_events_accepted_total", "Events taken from the stream; one that comes again counts again.",
            registry=registry,
        )  # fmt: skip
        self.processed = Counter(
            f"{prefix}_events_processed_total", "Events stored, copies included.", registry=registry
        )
        self.failed = Counter(
            f"{prefix}_events_failed_total", "Events that the store refused; they are dead letters.", registry=registry
        )
        self.duplicates = Counter(
            f"{prefix}_events_duplicate_total", "Events that were stored already.", registry=registry
        )
        self.batch_events = Histogram(
            f"{prefix}_batch_events", "Events stored by one statement.", registry=registry,
            buckets=(1, 10, 100, 500, 1000, 2500, 5000, 10000, 20000),
        )  # fmt: skip
        self.batch_seconds = Histogram(
            f"{prefix}_batch_seconds", "From the batch to its commit.", registry=registry,
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
        )  # fmt: skip
        self.outages = Counter(
            f"{prefix}_store_outages_total", "Attempts that failed since the store was away.", registry=registry
        )
        self.lag_messages = Gauge(
            f"{prefix}_lag_messages", "Messages of this source that are not stored yet.", registry=registry
        )
        self.oldest_seconds = Gauge(
            f"{prefix}_oldest_unprocessed_seconds", "Age of the oldest message not stored yet.", registry=registry
        )
        self.stream_bytes = Gauge(f"{prefix}_stream_bytes", "Bytes in the source's stream.", registry=registry)
        self.dead_letters = Counter(
            "collector_dead_letters_total", "Dead letters that this collector landed.", registry=registry
        )
