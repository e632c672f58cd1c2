"""Looking at the reporter: the reports and dead letters of this moment, and waiting until all is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from eventpipeline.publisher.ledger import Ledger
from eventpipeline.publisher.verify import DeadLetter, Reports, Verdict, verify


class ObserveError(Exception):
    """The reporter does not answer, or not with reports; the message says how it failed."""


@dataclass(frozen=True)
class Observation:
    """What the reporter said at one moment."""

    reports: Reports
    dead_letters: Mapping[str, DeadLetter]
    """By id."""


class Observer:
    """Reads from the reporter behind `client`, whose base address is the reporter's."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    async def observe(self) -> Observation:
        """What the reporter says now. Raises ObserveError."""
        try:
            events = await self._get("/reports/events", {})
            revenue = await self._get("/reports/revenue", {})
            return Observation(Reports.of(events, revenue), await self._dead_letters())
        except httpx2.HTTPError as error:
            raise ObserveError(f"the reporter cannot be read: {type(error).__name__}: {error}") from error
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise ObserveError(f"the reporter's answer is no report: {error!r}") from error

    async def observe_stored(
        self, ledger: Ledger, before: Observation, quiet: float = 15.0, poll: float = 0.5
    ) -> Observation:
        """What the reporter says once all that must be there is, or once nothing was added for `quiet` seconds.

        A reporter that does not answer counts as one that adds nothing. Raises ObserveError if it never answered.
        """
        clock = asyncio.get_running_loop().time
        seen: Observation | None = None
        failure: ObserveError | None = None
        moved = clock()
        while True:
            try:
                now = await self.observe()
            except ObserveError as error:
                failure = error
            else:
                # Twice the same: an event that is counted twice may come a moment after the last one that was due.
                if now == seen and _is_stored(ledger, before, now):
                    return now
                moved, seen = (moved if now == seen else clock()), now
            if clock() - moved > quiet:
                if seen is None:
                    raise failure or ObserveError("the reporter did not answer in time")
                return seen
            await asyncio.sleep(poll)

    async def _dead_letters(self) -> dict[str, DeadLetter]:
        letters: dict[str, DeadLetter] = {}
        page: str | None = None
        while True:
            answer = await self._get("/dead-letters", {} if page is None else {"after": page})
            letters |= {letter.id: letter for letter in map(DeadLetter.of, answer["items"])}
            page = answer["next"]
            if page is None:
                return letters

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        response = await self._client.get(path, params=query)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


def judge(ledger: Ledger, before: Observation, after: Observation) -> Verdict:
    """The verdict over what came between two observations."""
    added = [letter for id_, letter in after.dead_letters.items() if id_ not in before.dead_letters]
    return verify(ledger, before.reports, after.reports, added)


def _is_stored(ledger: Ledger, before: Observation, now: Observation) -> bool:
    """Whether as much has been added as must be; more, or other things, are for the verdict to find."""
    expected = ledger.expected().kept
    dead = sum(ledger.facts[request.batch].invalid for request in ledger.requests if request.fate.settled)
    events = now.reports.total - before.reports.total
    return events >= expected.valid and len(now.dead_letters) - len(before.dead_letters) >= dead
