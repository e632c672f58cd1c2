"""`eventpipeline replay`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventpipeline.cli.connection import DATA_DIR
from eventpipeline.cli.output import CommandError, OutputFormat, console, fail, print_json, print_table
from eventpipeline.cli.pipeline import known_sources
from eventpipeline.cli.servers import Servers, source_of
from eventpipeline.collector.batches import BatchStore
from eventpipeline.collector.metrics import CollectorMetrics
from eventpipeline.collector.replay import Replayed, Show, replay_events, replay_letters
from eventpipeline.sources import Source
from eventpipeline.store import StoreError
from eventpipeline.store.pool import Pool
from eventpipeline.stream import StreamError
from eventpipeline.telemetry import Health, new_registry, silence_logging


def replay(
    *,
    from_: Annotated[str | None, Parameter(name="--from")] = None,
    to: str | None = None,
    source: str | None = None,
    file: Annotated[Path | None, Parameter(name=["--file", "-f"])] = None,
    output: OutputFormat = "table",
    nats_url: str | None = None,
    database_url: str | None = None,
    stream_prefix: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """Store again what the stream still has: the way back after the database was lost or restored.

    An event that is stored already is not counted again, so a replay may overlap with anything. Into an emptied
    database (after `eventpipeline migrate`) it rebuilds the same reports; after a restore, begin before the time of the
    backup, by more than the collectors were behind then. How far back the stream goes is
    spec.stream.retentionSeconds, space permitting.

    Parameters
    ----------
    from_
        Only what the stream took since then: ISO 8601 with an offset. By default all that it has.
    to
        Only what it took before then; by default before now.
    source
        Only this source, and no dead letters. Without it dead letters come back too, dropped ones as well.
    file
        The EventPipeline file, where it declares sources of its own.
    output
        `table` for people, `json` for scripts.
    nats_url
        Where NATS is; by default that of the pipeline in --data-dir, or NATS_URL of the environment.
    database_url
        Where Postgres is; by default that of the pipeline in --data-dir, or DATABASE_URL of the environment.
    stream_prefix
        Stands before the stream names where several pipelines share a server; by default STREAM_PREFIX.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    silence_logging()
    try:
        start, end = _instant("--from", from_), _instant("--to", to) or datetime.now(UTC)
        if start and start >= end:
            raise CommandError("--to must be later than --from")
        known = known_sources(file)
        if source is not None:
            source_of(known, source)
        servers = Servers.of(nats_url, database_url, stream_prefix, data_dir)
        with _shown() as show:
            done = asyncio.run(_replay(servers, known, source, start, end, show))
    except (CommandError, StreamError, StoreError) as error:
        return fail(f"{error}. Nothing is counted twice; it can be run again")
    if output == "json":
        print_json([{"name": one.name, "events": one.events, "new": one.new, "refused": one.refused} for one in done])
        return 0
    rows = [[one.name, one.messages, one.events, one.new, one.refused] for one in done]
    print_table("Replayed", ("", "messages", "events", "new", "refused"), rows)
    return 0


def _instant(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise CommandError(f"{name} {text}: write an ISO 8601 time with an offset, such as 2024-05-01T12:00:00Z")
    return moment.astimezone(UTC)


@contextmanager
def _shown() -> Iterator[Show]:
    with console.status("Replaying") as status:
        yield lambda done: status.update(f"Replaying {done.name}: {done.events:,} events, {done.new:,} of them new")


async def _replay(
    servers: Servers,
    known: Mapping[str, Source],
    source: str | None,
    start: datetime | None,
    end: datetime,
    show: Show,
) -> list[Replayed]:
    async with servers.connected("replay") as (stream, pool):
        names = tuple(known) if source is None else (source,)
        if source is None and (strange := (await stream.sources()).keys() - known.keys()):
            listed = ", ".join(sorted(strange))
            raise CommandError(f"the stream has events of {listed}, which a resource declares; give it with --file")
        stores = {name: _store(known[name], pool) for name in names}
        done = [await replay_events(stream, stores[name], name, start, end, show) for name in names]
        if source is None:
            done.append(await replay_letters(stream, stores[names[0]], start, end, show))
        return done


def _store(declared: Source, pool: Pool) -> BatchStore:
    store = BatchStore(declared, pool, CollectorMetrics(new_registry(), declared), Health())
    # A person waits for it: an outage is told at once.
    store.give_up()
    return store
