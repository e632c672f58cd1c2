"""Bugs that the oracle must find: the command `eventpipeline` with one of them planted.

    python planted.py BUG COMMAND …

Each is a way in which systems of this kind lose or double events.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BUGS = ("ack-before-commit", "no-unique-key", "rollup-outside-transaction", "discard-old")
_WINDOW_SECONDS = 1.5
"""How long the moment lasts in which a crash does harm: nearly always, so that one crash is enough to show it."""


def entry(bug: str) -> tuple[str, ...]:
    """The command of services that have the bug."""
    return (sys.executable, "-P", str(Path(__file__)), bug)


def ack_before_commit() -> None:
    """A collector acknowledges what it has fetched, and stores it then."""
    from eventpipeline.collector.collect import Collector, Message
    from eventpipeline.stream import acknowledge

    store = Collector._store_events

    async def acknowledge_and_store(self: Collector, messages: Sequence[Message]) -> None:
        await acknowledge(messages)
        await asyncio.sleep(_WINDOW_SECONDS)
        await store(self, messages)

    Collector._store_events = acknowledge_and_store  # type: ignore[method-assign]


def no_unique_key() -> None:
    """Nothing keeps a copy out. The test drops the key; a statement that names no key goes on without one."""


def rollup_outside_transaction() -> None:
    """The rows are committed first, and counted by a second statement."""
    from eventpipeline.store import append, rollups, statements

    text = statements.statement("count")
    uncounted = text.replace(
        "FROM new\n        GROUP BY 1, 2, 3, 4", "FROM new WHERE false\n        GROUP BY 1, 2, 3, 4"
    )
    assert uncounted != text
    _replace_statement(rollups, {"count": uncounted})
    appended = append.Appender.append

    async def append_and_count(self: Any, connection: Any, packed: bytes, requests: Any = ()) -> Any:
        began = (await (await connection.execute("SELECT clock_timestamp()")).fetchone())[0]
        result = await appended(self, connection, packed, requests)
        await asyncio.sleep(_WINDOW_SECONDS)
        await connection.execute(_COUNT, {"events": append.Json(packed), "began": began})
        return result

    append.Appender.append = append_and_count  # type: ignore[method-assign]


def _replace_statement(module: Any, changed: dict[str, str]) -> None:
    original: Callable[[str], Any] = module.statement
    module.statement = lambda name: changed.get(name) or original(name)


_COUNT = """
INSERT INTO rollup_events AS r (step, start, source, funnel_stage, event_type, currency,
                                events, transactions, amounts, revenue)
SELECT step, date_bin(length, e."timestamp", '2000-01-01T00:00:00Z'), e.source, e.funnel_stage, e.event_type, NULL,
       count(*), count(*) FILTER (WHERE e.transaction), count(e.amount), coalesce(sum(e.amount), 0)
FROM events AS e
JOIN jsonb_to_recordset(%(events)s) AS batch ("eventId" text, "timestamp" timestamptz, source text)
  ON batch."eventId" = e.event_id AND batch."timestamp" = e."timestamp" AND batch.source = e.source
CROSS JOIN rollup_steps
WHERE e.stored_at >= %(began)s
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (step, start, source, funnel_stage, event_type, currency) DO UPDATE
SET events = r.events + excluded.events, transactions = r.transactions + excluded.transactions,
    amounts = r.amounts + excluded.amounts, revenue = r.revenue + excluded.revenue
"""


def discard_old() -> None:
    """A stream at its limit drops its oldest events, stored or not."""
    from nats.js.api import DiscardPolicy

    from eventpipeline.stream import config

    config.DiscardPolicy = SimpleNamespace(NEW=DiscardPolicy.OLD)  # type: ignore[misc,assignment]


if __name__ == "__main__":
    {
        "ack-before-commit": ack_before_commit,
        "no-unique-key": no_unique_key,
        "rollup-outside-transaction": rollup_outside_transaction,
        "discard-old": discard_old,
    }[sys.argv.pop(1)]()
    from eventpipeline.cli import main

    main()
