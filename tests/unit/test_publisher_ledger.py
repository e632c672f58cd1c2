from __future__ import annotations

from decimal import Decimal

import pytest

from eventpipeline.publisher.batch import Corrupted, Facts, combine
from eventpipeline.publisher.ledger import Fate, Ledger, Refusal, Request


def facts(count: int = 10, revenue: str = "12.50") -> Facts:
    return Facts(
        counts={"facebook/bottom/checkout.complete": count},
        revenue={"facebook": Decimal(revenue)},
        transactions={"facebook": count},
        amounts={"facebook": count - 1},
        corrupted=(Corrupted("timestamp invalid", "tiktok", "top", "e1", "invalid_value"),),
    )


def request(batch: int, status: int | None, *, copy: bool = False, sent: bool = True, latency: float = 0.1) -> Request:
    settled = status in (202, 422)
    return Request(
        batch=batch,
        copy=copy,
        events=11,
        body_bytes=1000,
        sent_at=float(batch),
        late=0.01,
        latency=latency,
        status=status,
        accepted=10 if settled else 0,
        rejected=1 if settled else 0,
        errors=(Refusal(10, "e1", "invalid_value"),) if settled else (),
        correlation_id=f"c{batch}",
        sent=sent,
    )


def ledger(*requests: Request) -> Ledger:
    made = Ledger(seed=1, url="http://localhost:3000/webhook/events")
    for one in requests:
        made.record(facts(), one)
    return made


@pytest.mark.parametrize(
    ("status", "sent", "fate"),
    [
        (202, True, Fate.ACCEPTED),
        (422, True, Fate.REJECTED),
        (413, True, Fate.REFUSED),
        (302, True, Fate.REFUSED),
        (503, True, Fate.UNAVAILABLE),
        (500, True, Fate.UNAVAILABLE),
        (200, True, Fate.UNAVAILABLE),
        (None, True, Fate.UNKNOWN),
        (None, False, Fate.UNSENT),
    ],
)
def test_the_fate_of_a_request(status, sent, fate):
    assert request(0, status, sent=sent).fate is fate


def test_only_what_was_answered_202_is_expected_and_what_was_not_answered_is_possible():
    made = ledger(request(0, 202), request(1, 503), request(2, None), request(3, 413), request(4, None, sent=False))
    assert made.expected().kept == facts()
    assert made.expected().possible == combine([facts(), facts()])


def test_a_batch_that_was_posted_twice_is_expected_once():
    made = ledger(request(0, None), request(0, 202, copy=True), request(0, 202, copy=True))
    assert made.expected().kept == facts()
    assert made.expected().possible == Facts()


def test_totals():
    made = ledger(request(0, 202), request(1, 503, latency=0.3), request(2, None), request(3, None, sent=False))
    totals = made.totals()
    assert (totals.requests, totals.sent, totals.accepted, totals.rejected) == (4, 33, 10, 1)
    assert (totals.refused, totals.refused_requests) == (11, 1)
    assert (totals.unanswered, totals.unanswered_requests, totals.failed_connections) == (11, 1, 1)
    assert totals.body_bytes == 3000
    assert totals.late == 0.01


def test_percentiles_are_by_nearest_rank_over_the_answered_requests():
    latencies = [request(index, 202, latency=index / 1000) for index in range(1, 201)]
    latency = ledger(*latencies, request(900, None, latency=60)).totals().latency
    assert (latency.p50, latency.p99, latency.max) == (0.1, 0.198, 0.2)
    assert ledger().totals().latency.max == 0.0


def test_a_ledger_survives_its_file():
    made = ledger(request(0, 202), request(1, 503), request(2, None))
    read = Ledger.from_json(made.to_json())
    assert read == made
    assert read.expected() == made.expected()
    assert isinstance(read.expected().kept.revenue["facebook"], Decimal)
