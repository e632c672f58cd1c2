"""The verdict: whether the reports say exactly what the ledger makes them owe. Pure.

What is compared is what a run added: the reports after it, less the reports before it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Generic, Self

from eventpipeline.publisher.batch import Amount, Corrupted, Facts, add_up, event_key
from eventpipeline.publisher.ledger import Expected, Ledger, Request


@dataclass(frozen=True)
class Reports:
    """The events and the revenue report of one moment, without filters."""

    counts: Mapping[str, int] = field(default_factory=dict)
    """Events by `event_key`."""
    revenue: Mapping[str, Decimal] = field(default_factory=dict)
    transactions: Mapping[str, int] = field(default_factory=dict)
    total: int = 0
    revenue_total: Decimal = Decimal(0)
    transactions_total: int = 0
    averages: Mapping[str, Decimal | None] = field(default_factory=dict)
    """Average order values by source; None where no transaction has an amount."""

    @classmethod
    def of(cls, events: Mapping[str, Any], revenue: Mapping[str, Any]) -> Self:
        """From the JSON of `/reports/events` and `/reports/revenue`.

        Raises KeyError, TypeError or ValueError (decimal.InvalidOperation) where it is no such report.
        """
        return cls(
            counts=add_up(
                {event_key(item["source"], item["funnelStage"], item["eventType"]): int(item["count"])}
                for item in events["items"]
            ),
            revenue=add_up({item["source"]: Decimal(item["revenue"])} for item in revenue["items"]),
            transactions=add_up({item["source"]: int(item["transactions"])} for item in revenue["items"]),
            total=int(events["total"]),
            revenue_total=Decimal(revenue["total"]),
            transactions_total=int(revenue["transactions"]),
            averages={item["source"]: _decimal_or_none(item["averageOrderValue"]) for item in revenue["items"]},
        )


@dataclass(frozen=True)
class DeadLetter:
    """An entry of `/dead-letters`, as far as it is compared."""

    id: str
    source: str | None
    event_id: str | None
    reason: str
    correlation_id: str | None

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """From its JSON. Raises KeyError where it is no dead letter."""
        return cls(str(item["id"]), item["source"], item["eventId"], item["reason"], item["correlationId"])


@dataclass(frozen=True)
class Verdict:
    summary: str
    """One line."""
    differences: tuple[str, ...]
    """Each a sentence; none where all is well."""
    lost: int
    """Events that were answered 202 and are not counted."""
    doubled: int
    """Events that are counted beyond what was sent, as far as counting events twice explains them."""
    invented: int
    """Events beyond that: of a kind that was not sent, or more often than twice."""

    @property
    def ok(self) -> bool:
        return not self.differences


def verify(ledger: Ledger, before: Reports, after: Reports, dead_letters: Sequence[DeadLetter]) -> Verdict:
    """Compares the ledger with what the run added: reports `before` and `after` it, and the dead letters in between."""
    expected = ledger.expected()
    counts = _ranges(expected.kept.counts, expected.possible.counts, before.counts, after.counts, 0)
    differences = (
        *_answers(ledger),
        *_sums("before the run", before),
        *_sums("after the run", after),
        *_outside("events of", counts),
        *_money(expected, before, after),
        *_dead(ledger, dead_letters),
    )
    lost = sum(max(0, count.low - count.added) for count in counts)
    excess = sum(max(0, count.added - count.high) for count in counts)
    doubled = sum(min(count.high, max(0, count.added - count.high)) for count in counts)
    summary = _sent(ledger)
    if differences:
        many = f"{len(differences)} difference{'s' if len(differences) > 1 else ''}"
        summary += f": {many}; {lost:,} events lost, {doubled:,} doubled, {excess - doubled:,} invented"
    else:
        summary += f": every one is counted exactly once{_corrupted(ledger)}"
    return Verdict(summary, differences, lost, doubled, invented=excess - doubled)


def _corrupted(ledger: Ledger) -> str:
    """What became of the corrupted events, where there were some."""
    settled = {request.batch for request in ledger.requests if request.fate.settled}
    corrupted = [event for batch in settled for event in ledger.facts[batch].corrupted]
    stray = sum(event.valid for event in corrupted)
    text = ""
    if invalid := len(corrupted) - stray:
        letters = "events are dead letters" if invalid > 1 else "event is a dead letter"
        text += f"; {invalid:,} corrupted {letters}, with the reason"
    if stray:
        text += f"; {stray:,} whose corruption is a stray field {'are' if stray > 1 else 'is'} counted"
    return text


def _sent(ledger: Ledger) -> str:
    totals = ledger.totals()
    text = f"{totals.accepted:,} events accepted in {totals.requests:,} requests"
    copies = totals.accepted - ledger.expected().kept.valid
    if copies > 0:
        text += f", {copies:,} of them copies"
    if totals.refused_requests:
        text += f"; {totals.refused_requests:,} requests refused"
    if totals.unanswered_requests:
        text += f"; {totals.unanswered_requests:,} without an answer"
    if totals.failed_connections:
        text += f"; {totals.failed_connections:,} not sent"
    return text


def _answers(ledger: Ledger) -> Iterator[str]:
    """Whether each answer says what the batch deserves."""
    for request in ledger.requests:
        if not request.fate.settled:
            continue
        name, facts = _name(request), ledger.facts[request.batch]
        if request.failure:
            yield f"{name}: {request.failure}."
        if (request.accepted, request.rejected) != (facts.valid, facts.invalid):
            yield (
                f"{name} was answered {request.accepted} accepted and {request.rejected} rejected; "
                f"{facts.valid} of its events are valid and {facts.invalid} are not."
            )
        named = [(error.event_id, error.reason) for error in request.errors]
        deserved = [(event.event_id, event.reason) for event in facts.corrupted if not event.valid][:100]
        if named != deserved:
            yield f"{name} was answered with the errors {_pairs(named)}; right is {_pairs(deserved)}."


def _sums(when: str, reports: Reports) -> Iterator[str]:
    """Whether the totals of a report are the sums of its items."""
    for what, total, parts in (
        ("events", reports.total, sum(reports.counts.values())),
        ("revenue", reports.revenue_total, sum(reports.revenue.values())),
        ("transactions", reports.transactions_total, sum(reports.transactions.values())),
    ):
        if total != parts:
            yield f"The total of {what} {when} is {total}, but its items add up to {parts}."


def _money(expected: Expected, before: Reports, after: Reports) -> Iterator[str]:
    kept, possible = expected.kept, expected.possible
    zero = Decimal("0.00")
    yield from _outside("revenue of", _ranges(kept.revenue, possible.revenue, before.revenue, after.revenue, zero))
    transactions = _ranges(kept.transactions, possible.transactions, before.transactions, after.transactions, 0)
    yield from _outside("transactions of", transactions)
    if not possible.events and not before.transactions_total:
        yield from _averages(kept, after)


def _averages(kept: Facts, after: Reports) -> Iterator[str]:
    """Whether the average order values are right; they can only be told where all orders are of this run."""
    for source, average in after.averages.items():
        orders = kept.amounts.get(source, 0)
        if not orders or average is None:
            continue
        right = (kept.revenue[source] / orders).quantize(average, ROUND_HALF_EVEN)
        if average != right or -int(average.as_tuple().exponent) < 2:
            yield f"The average order value of {source} is {average}, expected is {right} over {orders:,} orders."


@dataclass(frozen=True)
class _Range(Generic[Amount]):
    key: str
    low: Amount
    """The least that must have been added."""
    high: Amount
    """The most that may."""
    added: Amount


def _ranges(
    kept: Mapping[str, Amount],
    possible: Mapping[str, Amount],
    before: Mapping[str, Amount],
    after: Mapping[str, Amount],
    zero: Amount,
) -> list[_Range[Amount]]:
    ranges = []
    for key in sorted({*kept, *possible, *before, *after}):
        low = kept.get(key, zero)
        added = after.get(key, zero) - before.get(key, zero)
        ranges.append(_Range(key, low, low + possible.get(key, zero), added))
    return ranges


def _outside(what: str, ranges: Iterable[_Range[Amount]]) -> Iterator[str]:
    for found in ranges:
        low, high, added = found.low, found.high, found.added
        if low <= added <= high:
            continue
        right = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        miss = f"{low - added:,} too few" if added < low else f"{added - high:,} too many"
        yield f"The {what} {found.key} grew by {added:,}, expected is {right}: {miss}."


def _dead(ledger: Ledger, dead_letters: Sequence[DeadLetter]) -> Iterator[str]:
    """Whether the dead letters are those of the invalid events, each once for each request that carried it."""
    owed, allowed = _owed(ledger)
    found: defaultdict[tuple[str | None, str | None], list[DeadLetter]] = defaultdict(list)
    for letter in dead_letters:
        found[letter.correlation_id, letter.event_id].append(letter)
    for request, event in owed:
        name = f"The dead letter of {_spoiled(event)} of {_name(request)}"
        letters = found[request.correlation_id, event.event_id]
        if not letters:
            yield f"{name} is missing."
            continue
        letter = letters.pop()
        if letter.reason != event.reason:
            yield f"{name} has reason {letter.reason}, not {event.reason}."
        if letter.source != event.source:
            yield f"{name} has source {letter.source}, not {event.source}."
    for letter in (letter for letters in found.values() for letter in letters):
        key = (letter.event_id, letter.reason)
        if allowed[key]:
            allowed[key] -= 1
        else:
            yield (
                f"The dead letter {letter.id} is of no invalid event that was sent, or is there twice: {letter.reason} "
                f"of event {letter.event_id}, source {letter.source}, correlation id {letter.correlation_id}."
            )


def _owed(ledger: Ledger) -> tuple[list[tuple[Request, Corrupted]], Counter[tuple[str | None, str | None]]]:
    """The dead letters that must be there, and how many may be there of requests whose fate is open."""
    owed: list[tuple[Request, Corrupted]] = []
    allowed: Counter[tuple[str | None, str | None]] = Counter()
    for request in ledger.requests:
        for event in ledger.facts[request.batch].corrupted:
            if not event.valid and request.fate.settled:
                owed.append((request, event))
            elif not event.valid and request.fate.open:
                allowed[event.event_id, event.reason] += 1
    return owed, allowed


def _name(request: Request) -> str:
    return f"request {request.correlation_id or '?'} (batch {request.batch}{', posted again' if request.copy else ''})"


def _spoiled(event: Corrupted) -> str:
    return f"the {event.source} {event.stage} event {event.event_id or 'without eventId'} ({event.corruption})"


def _pairs(pairs: Sequence[tuple[str | None, str | None]]) -> str:
    return ", ".join(f"{reason} of event {event_id}" for event_id, reason in pairs) or "none"


def _decimal_or_none(value: str | None) -> Decimal | None:
    return None if value is None else Decimal(value)
