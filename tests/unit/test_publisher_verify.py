from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from decimal import Decimal

import pytest
from publisher_fakes import FakePipeline

from eventpipeline.publisher.ledger import Ledger
from eventpipeline.publisher.publish import Options, publish
from eventpipeline.publisher.verify import DeadLetter, Reports, Verdict, verify

OPTIONS = Options(batches=20, rate=1e6, batch=(50, 80), seed=11, corrupt=0.6, wait=True)


class Run:
    """A run that went well, and the JSON of the reporter after it, in which a test plants an error."""

    def __init__(self, ledger: Ledger, pipeline: FakePipeline, before: Reports) -> None:
        self.ledger, self.before = ledger, before
        self.events = pipeline.report("/reports/events")
        self.revenue = pipeline.report("/reports/revenue")
        self.dead_letters = deepcopy(pipeline.dead_letters)

    def verdict(self) -> Verdict:
        letters = [DeadLetter.of(letter) for letter in self.dead_letters]
        return verify(self.ledger, self.before, Reports.of(self.events, self.revenue), letters)

    def count(self, index: int, by: int) -> None:
        self.events["items"][index]["count"] += by
        self.events["total"] += by


async def run_with(
    options: Options = OPTIONS, statuses: dict[int, int] | None = None, earlier: int | None = None
) -> Run:
    pipeline = FakePipeline()
    if earlier is not None:
        await publish("http://gateway", replace(options, seed=earlier), transport=pipeline.transport)
    before = Reports.of(pipeline.report("/reports/events"), pipeline.report("/reports/revenue"))
    old = len(pipeline.dead_letters)
    pipeline.statuses = {len(pipeline.bodies) + number: status for number, status in (statuses or {}).items()}
    ledger = await publish("http://gateway", options, transport=pipeline.transport)
    run = Run(ledger, pipeline, before)
    run.dead_letters = run.dead_letters[old:]
    return run


@pytest.fixture
async def run() -> Run:
    return await run_with()


async def test_a_run_that_went_well(run):
    verdict = run.verdict()
    assert verdict.ok, verdict.differences
    assert "every one is counted exactly once; 9 corrupted events are dead letters" in verdict.summary
    assert len(run.dead_letters) > 3
    assert any(event.valid for facts in run.ledger.facts.values() for event in facts.corrupted)


async def test_only_what_the_run_added_is_compared():
    assert (await run_with(earlier=12)).verdict().ok


async def test_copies_are_expected_once():
    run = await run_with(replace(OPTIONS, duplicates=0.5))
    assert any(request.copy for request in run.ledger.requests)
    assert run.verdict().ok, run.verdict().differences
    assert "of them copies" in run.verdict().summary


async def test_a_lost_event_is_found(run):
    run.count(0, -1)
    verdict = run.verdict()
    assert not verdict.ok
    assert (verdict.lost, verdict.doubled, verdict.invented) == (1, 0, 0)
    assert "1 too few" in verdict.differences[0]
    assert "1 events lost" in verdict.summary


async def test_a_doubled_event_is_found(run):
    run.count(3, 1)
    verdict = run.verdict()
    assert (verdict.lost, verdict.doubled, verdict.invented) == (0, 1, 0)
    assert "1 too many" in verdict.differences[0]


async def test_loss_of_one_kind_does_not_hide_behind_doubling_of_another(run):
    run.count(0, -2)
    run.count(1, 2)
    assert (run.verdict().lost, run.verdict().doubled) == (2, 2)


async def test_an_invented_event_is_found(run):
    run.events["items"].append({"source": "snap", "funnelStage": "top", "eventType": "like", "count": 1})
    run.events["total"] += 1
    assert (run.verdict().lost, run.verdict().doubled, run.verdict().invented) == (0, 0, 1)


async def test_a_total_that_is_not_the_sum_is_found(run):
    run.events["total"] += 1
    (difference,) = run.verdict().differences
    assert difference.startswith("The total of events after the run")


async def test_a_cent_too_little_is_found(run):
    for owner, name in ((run.revenue["items"][0], "revenue"), (run.revenue, "total")):
        owner[name] = str(Decimal(owner[name]) - Decimal("0.01"))
    assert "0.01 too few" in run.verdict().differences[0]


async def test_a_missing_transaction_is_found(run):
    run.revenue["items"][1]["transactions"] -= 1
    run.revenue["transactions"] -= 1
    assert "transactions of" in run.verdict().differences[0]


async def test_an_average_over_all_transactions_is_found(run):
    item = run.revenue["items"][0]
    item["averageOrderValue"] = f"{Decimal(item['revenue']) / item['transactions']:.2f}"
    (difference,) = run.verdict().differences
    assert difference.startswith("The average order value of")


async def test_a_missing_dead_letter_is_found(run):
    run.dead_letters.pop(0)
    (difference,) = run.verdict().differences
    assert difference.endswith("is missing.")


async def test_a_wrong_reason_is_found(run):
    run.dead_letters[0]["reason"] = "too_large"
    (difference,) = run.verdict().differences
    assert "has reason too_large, not " in difference


async def test_a_dead_letter_of_the_wrong_request_is_found(run):
    run.dead_letters[0]["correlationId"] = "someone-else"
    assert len(run.verdict().differences) == 2


async def test_a_doubled_dead_letter_is_found(run):
    run.dead_letters.append(run.dead_letters[0] | {"id": "again"})
    (difference,) = run.verdict().differences
    assert "or is there twice" in difference


async def test_a_dead_letter_of_a_valid_event_is_found(run):
    run.dead_letters.append(run.dead_letters[0] | {"id": "new", "eventId": "valid"})
    assert len(run.verdict().differences) == 1


async def test_an_answer_that_miscounts_is_found(run):
    run.ledger.requests[2] = replace(run.ledger.requests[2], accepted=1)
    (difference,) = run.verdict().differences
    assert "was answered 1 accepted" in difference


async def test_an_answer_with_the_wrong_reason_is_found(run):
    at, request = next((at, request) for at, request in enumerate(run.ledger.requests) if request.errors)
    run.ledger.requests[at] = replace(request, errors=(replace(request.errors[0], reason="too_large"),))
    (difference,) = run.verdict().differences
    assert "too_large" in difference


async def test_what_was_refused_is_not_expected():
    run = await run_with(statuses={1: 413, 4: 503, 5: -1})
    assert run.verdict().ok, run.verdict().differences
    assert "2 requests refused" in run.verdict().summary
    assert "1 not sent" in run.verdict().summary


@pytest.mark.parametrize("status", [503, 0])
async def test_what_was_not_answered_may_be_there_in_part_but_not_twice(status):
    run = await run_with(statuses={4: status})
    (possible,) = [run.ledger.facts[request.batch] for request in run.ledger.requests if request.fate.open]
    key, many = next(iter(possible.counts.items()))
    source, stage, event_type = key.split("/")
    names = {"source": source, "funnelStage": stage, "eventType": event_type}
    index = next(at for at, item in enumerate(run.events["items"]) if names.items() <= item.items())
    run.count(index, many)
    assert run.verdict().ok, run.verdict().differences
    run.count(index, 1)
    assert run.verdict().doubled == 1


async def test_what_was_refused_for_good_must_not_be_there():
    run = await run_with(statuses={4: 413})
    run.count(0, 1)
    assert not run.verdict().ok
