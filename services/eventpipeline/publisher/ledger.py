"""The ledger: what was posted, what was answered, and what the reports must therefore say."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

import msgspec

from eventpipeline.publisher.batch import Facts, combine


class Fate(StrEnum):
    """What the sender may conclude from the answer to a request."""

    ACCEPTED = "accepted"
    """202: every valid event of it is counted, exactly once."""
    REJECTED = "rejected"
    """422: every event of it is a dead letter."""
    REFUSED = "refused"
    """Another status below 500: nothing of it is there."""
    UNAVAILABLE = "unavailable"
    """503 and the like: nothing is promised. Parts may be there, each event at most once, since a retry counts once."""
    UNKNOWN = "unknown"
    """It was sent and no answer came: the same as unavailable."""
    UNSENT = "unsent"
    """No connection was made."""

    @property
    def settled(self) -> bool:
        """Whether the gateway said what became of each event."""
        return self in (Fate.ACCEPTED, Fate.REJECTED)

    @property
    def open(self) -> bool:
        """Whether events of it may be there or not."""
        return self in (Fate.UNAVAILABLE, Fate.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Refusal:
    """An event that the answer names as refused."""

    index: int
    event_id: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class Request:
    """One post of a batch, and what came of it. Times are in seconds."""

    batch: int
    copy: bool
    """Whether the same body was posted before."""
    events: int
    body_bytes: int
    sent_at: float
    """Since the start of the run."""
    late: float
    """How long after its tick it was sent: what the publisher, and not the pipeline, was too slow for."""
    latency: float
    """From the first byte sent to the last received, or to giving up."""
    status: int | None = None
    accepted: int = 0
    rejected: int = 0
    errors: tuple[Refusal, ...] = ()
    """As the answer has them, so the first hundred at most."""
    correlation_id: str | None = None
    failure: str | None = None
    """Why there is no answer, or no readable one."""
    sent: bool = True
    """False where no connection was made."""

    @property
    def fate(self) -> Fate:
        match self.status:
            case None:
                return Fate.UNKNOWN if self.sent else Fate.UNSENT
            case 202:
                return Fate.ACCEPTED
            case 422:
                return Fate.REJECTED
            case status if 300 <= status < 500:
                return Fate.REFUSED
            case _:
                return Fate.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Latency:
    """Over all answered requests, in seconds; nearest rank."""

    p50: float
    p99: float
    max: float

    @classmethod
    def of(cls, seconds: Iterable[float]) -> Latency:
        """Of so many answers; zeros where there is none."""
        ordered = sorted(seconds) or [0.0]

        def percentile(percent: int) -> float:
            return ordered[-(-percent * len(ordered) // 100) - 1]

        return cls(percentile(50), percentile(99), ordered[-1])


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over a ledger; events, unless it says requests."""

    requests: int
    sent: int
    accepted: int
    rejected: int
    refused: int
    """Of requests with another answer than 202 and 422."""
    unanswered: int
    refused_requests: int
    unanswered_requests: int
    failed_connections: int
    """Requests that could not be sent."""
    body_bytes: int
    """Of what was sent."""
    latency: Latency
    late: float
    """How many seconds after its tick a request was sent, at worst."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What reports must add up to. Batches that were posted more than once are in it once."""

    kept: Facts
    """Of the batches that were answered 202, or 422: each event is there, exactly once."""
    possible: Facts
    """Of the batches without such an answer that may be there, in part or whole, each event at most once."""


@dataclass
class Ledger:
    """The record of one run; it grows while the run goes on."""

    seed: int
    url: str
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    facts: dict[int, Facts] = field(default_factory=dict)
    """By batch."""
    requests: list[Request] = field(default_factory=list)
    """In the order of their answers."""

    def record(self, facts: Facts, request: Request) -> None:
        self.facts[request.batch] = facts
        self.requests.append(request)

    def expected(self) -> Expected:
        kept = {request.batch for request in self.requests if request.fate.settled}
        possible = {request.batch for request in self.requests if request.fate.open} - kept
        return Expected(
            kept=combine(self.facts[batch] for batch in sorted(kept)),
            possible=combine(self.facts[batch] for batch in sorted(possible)),
        )

    def totals(self) -> Totals:
        """Walks over every request: for a progress line a few times a second, not for each answer."""
        sent = [request for request in self.requests if request.sent]
        settled = [request for request in sent if request.fate.settled]
        refused = [request for request in sent if request.fate in (Fate.REFUSED, Fate.UNAVAILABLE)]
        unanswered = [request for request in sent if request.fate is Fate.UNKNOWN]
        return Totals(
            requests=len(self.requests),
            sent=sum(request.events for request in sent),
            accepted=sum(request.accepted for request in settled),
            rejected=sum(request.rejected for request in settled),
            refused=sum(request.events for request in refused),
            unanswered=sum(request.events for request in unanswered),
            refused_requests=len(refused),
            unanswered_requests=len(unanswered),
            failed_connections=len(self.requests) - len(sent),
            body_bytes=sum(request.body_bytes for request in sent),
            latency=Latency.of(request.latency for request in (*settled, *refused)),
            late=max((request.late for request in self.requests), default=0.0),
        )

    def to_json(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, text: bytes) -> Ledger:
        """The ledger that `to_json` wrote. Raises msgspec.MsgspecError where `text` is none."""
        return msgspec.json.decode(text, type=cls)
