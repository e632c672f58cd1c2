"""`eventpipeline up`."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventpipeline.cli.connection import DATA_DIR
from eventpipeline.cli.output import CommandError, console, fail
from eventpipeline.cli.pipeline import pipeline_of, tell, tell_ready
from eventpipeline.local import LocalError, Options, Running
from eventpipeline.local import up as run_up
from eventpipeline.telemetry import silence_logging


def up(
    *,
    file: Annotated[Path | None, Parameter(name=["--file", "-f"])] = None,
    name: str | None = None,
    data_dir: Path = DATA_DIR,
    port_offset: int = 0,
    nats_url: str | None = None,
    database_url: str | None = None,
    nats_tls_dir: Path | None = None,
    database_tls_dir: Path | None = None,
    keys_dir: Path | None = None,
) -> int:
    """Run a pipeline on this machine, its own nats-server and Postgres included, until Ctrl-C.

    The gateway listens on port 3000, the collectors on 3001 and 3002, the reporter on 3003, collectors of further
    sources from 3004 on, NATS on 4222 and Postgres on 5432, all on loopback only. Data stays in the data dir; a
    program that dies is started again. Ctrl-C drains in the order of the data; a second one ends everything at once.
    Of a source that is no longer in the file, what was accepted is stored first; then its stream is dropped.

    Parameters
    ----------
    file
        An EventPipeline file; without it, both sources with every default.
    name
        Which pipeline, where the file holds several.
    data_dir
        Where events, logs and the database are kept. One pipeline at a time runs from it.
    port_offset
        Added to every port, so that several pipelines can run.
    nats_url
        A NATS that runs already, instead of one started here: nats://user:password@host:4222.
    database_url
        A Postgres that runs already, instead of one started here: postgresql://user:password@host/database.
    nats_tls_dir
        A folder with the certificates for that NATS: ca.crt, and tls.crt with tls.key where it asks for one.
    database_tls_dir
        A folder with the certificates for that Postgres, likewise.
    keys_dir
        Where the keys of senders are, each in a file NAME/KEY; by default the folder keys in the data dir. A key may
        also be in an environment variable EVENTPIPELINE_KEY_NAME_KEY.
    """

    async def work(run: Running) -> None:
        tell_ready(run)
        await asyncio.Event().wait()

    silence_logging()
    try:
        options = Options(data_dir, port_offset, nats_url, database_url, nats_tls_dir, database_tls_dir, keys_dir)
        pipeline = pipeline_of(file, name)
        console.print(f"Starting [bold]{pipeline.metadata.name}[/bold] [dim](data in {data_dir.absolute()})[/dim]")
        asyncio.run(run_up(pipeline, options, tell, work))
    except (CommandError, LocalError) as error:
        return fail(str(error))
    return 0
