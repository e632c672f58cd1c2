"""Events of one source, sent all the while to a pipeline on the cluster, and what became of them."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx2
from pipelines import Pipeline

from cluster.access import wait_for
from eventpipeline.publisher import Options, publish
from stored import facebook, tiktok

EVENTS: dict[str, Callable[[int], dict[str, Any]]] = {"facebook": facebook, "tiktok": tiktok}
BATCH, EVERY_SECONDS = 100, 0.1
_seeds = itertools.count(1)
"""No two runs send the same events."""


@dataclass
class Sent:
    """What the gateway answered about the events of one source, over all senders of it."""

    numbers: itertools.count[int] = field(default_factory=itertools.count)
    accepted: int = 0
    rejected: int = 0
    """Events of a source that the pipeline does not take, or no longer."""
    refused: list[str] = field(default_factory=list)
    """Requests without an answer, or with another than that."""


class Sender:
    """Posts small batches until the end of the block, on a connection that is kept and on new ones by turns."""

    def __init__(self, pipeline: Pipeline, source: str, sent: Sent) -> None:
        self._url = f"{pipeline.url('gateway')}/webhook/events"
        self._event, self._sent = EVENTS[source], sent
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"sender of {source}")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx2.Client(trust_env=False, timeout=30.0) as kept:
            while not self._stop.wait(EVERY_SECONDS):
                self._post(kept)
                with httpx2.Client(trust_env=False, timeout=30.0) as fresh:
                    self._post(fresh)

    def _post(self, client: httpx2.Client) -> None:
        batch = [self._event(number) for number in itertools.islice(self._sent.numbers, BATCH)]
        started = time.strftime("%H:%M:%S")
        try:
            answer = client.post(self._url, content=json.dumps(batch), headers={"content-type": "application/json"})
        except httpx2.HTTPError as error:
            self._sent.refused.append(f"{started}: {type(error).__name__}: {error}")
            return
        body = answer.json() if answer.status_code in (202, 422) else {}
        reasons = {item["reason"] for item in body.get("errors", [])}
        if answer.status_code == 202 and body["accepted"] == BATCH:
            self._sent.accepted += BATCH
        elif answer.status_code == 422 and reasons == {"unknown_source"}:
            self._sent.rejected += BATCH
        else:
            self._sent.refused.append(f"{started}: {answer.status_code}: {answer.text[:300]}")


@contextmanager
def publishing(pipeline: Pipeline, sent: dict[str, Sent]) -> Iterator[None]:
    """The public publisher's load, of both sources in each body, until the end of the block; smaller, for one node."""
    loop, stop = asyncio.new_event_loop(), asyncio.Event()
    load = Options(seconds=600.0, batch=(200, 2_000), seed=next(_seeds), corrupt=0.0)
    work = publish(pipeline.url("gateway"), load, stop=stop)
    with ThreadPoolExecutor(1, "publisher") as thread:
        running = thread.submit(loop.run_until_complete, work)
        try:
            yield
        finally:
            loop.call_soon_threadsafe(stop.set)
            ledger = running.result()
            loop.close()
    for request in ledger.requests:
        if request.status != 202 or request.failure:
            text = f"publisher, {request.sent_at:.1f} s after its start: {request.status} {request.failure}"
            sent["facebook"].refused.append(text)
    for key, count in ledger.expected().kept.counts.items():
        sent[key.partition("/")[0]].accepted += count


def reported(pipeline: Pipeline) -> dict[str, int]:
    """Events by source, as the reporter counts them now."""
    answer = httpx2.get(f"{pipeline.url('reporter')}/reports/events", trust_env=False, timeout=30.0)
    answer.raise_for_status()
    counts: dict[str, int] = {}
    for item in answer.json()["items"]:
        counts[item["source"]] = counts.get(item["source"], 0) + item["count"]
    return counts


def until_exact(pipeline: Pipeline, sent: dict[str, Sent], seconds: float = 90) -> None:
    """Waits until the reports say exactly what was accepted, and still do a moment later."""
    expected = {source: found.accepted for source, found in sent.items() if found.accepted}
    seen: list[dict[str, int]] = [{}]

    def is_exact() -> bool:
        try:
            seen.append(reported(pipeline))
        except httpx2.HTTPError as error:
            raise AssertionError(str(error)) from error
        return seen[-1] == seen[-2] == expected

    wait_for(is_exact, what=lambda: f"{expected} in the reports; they say {seen[-1]}", seconds=seconds)
