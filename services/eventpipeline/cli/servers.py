"""The servers and the sources of a pipeline, for commands that do what services do beside them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from eventpipeline.cli.connection import live_run
from eventpipeline.cli.output import CommandError
from eventpipeline.settings import StreamSettings
from eventpipeline.sources import Source
from eventpipeline.store.address import address
from eventpipeline.store.pool import Pool, open_pool
from eventpipeline.stream import Stream

if TYPE_CHECKING:
    from eventpipeline.local.datadir import Run

_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class Servers:
    """Where NATS and Postgres of a pipeline are, and what stands before the names of its streams."""

    nats_url: str
    nats_tls_dir: str | None
    database_url: str
    """With its certificates."""
    stream_prefix: str
    nats_inbox_prefix: str = "_INBOX"

    @classmethod
    def of(cls, nats_url: str | None, database_url: str | None, stream_prefix: str | None, data_dir: Path) -> Servers:
        """Those that are given; else of the pipeline that runs from `data_dir`, else of the environment.

        Raises CommandError.
        """
        run = live_run(data_dir)
        nats = nats_url or (run.nats_url if run else os.environ.get("NATS_URL"))
        nats_tls_dir = run.nats_tls_dir if run and not nats_url else os.environ.get("NATS_TLS_DIR")
        database = database_of(database_url, run)
        if not nats or not database:
            raise CommandError(f"no pipeline runs from {data_dir}; give --data-dir, or --nats-url and --database-url")
        prefix = os.environ.get("STREAM_PREFIX", "") if stream_prefix is None else stream_prefix
        # In the environment it belongs to the user of the NATS_URL there.
        of_environment = nats == os.environ.get("NATS_URL")
        inbox = os.environ.get("NATS_INBOX_PREFIX", "_INBOX") if of_environment else "_INBOX"
        return cls(nats, nats_tls_dir, database, prefix, inbox)

    @asynccontextmanager
    async def connected(self, name: str) -> AsyncIterator[tuple[Stream, Pool]]:
        """The streams and the database, to be called `name` there. Raises CommandError where NATS does not answer."""
        settings = StreamSettings(
            nats_url=self.nats_url,
            nats_tls_dir=self.nats_tls_dir,
            stream_prefix=self.stream_prefix,
            nats_inbox_prefix=self.nats_inbox_prefix,
        )
        stream = Stream(settings, name)
        pool = open_pool(self.database_url, name=name, read_only=False, max_size=1)
        await pool.open(wait=False)
        stream.start()
        try:
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    await stream.connected()
            except TimeoutError:
                why = f": {stream.connection_fault}" if stream.connection_fault else ""
                raise CommandError(f"NATS does not answer at {_places(self.nats_url)}{why}") from None
            yield stream, pool
        finally:
            await stream.close()
            await pool.close()


def database_of(database_url: str | None, run: Run | None) -> str | None:
    """Where Postgres is, likewise, with its certificates: those of the pipeline that runs, or of DATABASE_TLS_DIR."""
    if run and not database_url:
        return address(run.database_url, run.database_tls_dir)
    found = database_url or os.environ.get("DATABASE_URL")
    return address(found, os.environ.get("DATABASE_TLS_DIR")) if found else None


def _places(nats_url: str) -> str:
    """Where the servers are, without the passwords that their addresses may have."""
    return ", ".join(address.rsplit("@", 1)[-1].removeprefix("nats://") for address in nats_url.split(","))


def source_of(known: Mapping[str, Source], name: str) -> Source:
    """The source that --source names. Raises CommandError."""
    if name not in known:
        raise CommandError(f"--source {name}: there are {', '.join(known)}; others are declared in a --file")
    return known[name]
