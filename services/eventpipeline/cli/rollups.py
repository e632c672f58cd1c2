"""`eventpipeline rollups`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from eventpipeline.cli.connection import DATA_DIR, live_run
from eventpipeline.cli.output import CommandError, OutputFormat, fail, print_json
from eventpipeline.cli.pipeline import known_sources
from eventpipeline.cli.servers import database_of
from eventpipeline.store import StoreError
from eventpipeline.store import rebuild as store

app = App(name="rollups", help="What reports are made of: compare it with the events, or make it anew from them.")

File = Annotated[Path | None, Parameter(name=["--file", "-f"])]
_SHOWN = 20


@app.command
def check(
    *,
    file: File = None,
    output: OutputFormat = "table",
    database_url: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """Compare the rollups with all events, one by one. The exit code is 1 where something differs.

    Everything may go on meanwhile. It takes about as long as storing the events took, and the role that owns the
    tables.

    Parameters
    ----------
    file
        The EventPipeline file, where it declares sources of its own.
    output
        `table` for people, `json` for scripts.
    database_url
        Where Postgres is; by default that of the pipeline in --data-dir, or DATABASE_URL of the environment.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    try:
        found = store.check(_database(database_url, data_dir), list(known_sources(file).values()))
    except (CommandError, StoreError) as error:
        return fail(str(error))
    if output == "json":
        print_json([asdict(difference) | {"start": difference.start.isoformat()} for difference in found])
    else:
        _print_differences(found)
    return 1 if found else 0


def _print_differences(found: list[Any]) -> None:
    for difference in found[:_SHOWN]:
        print(difference)
    if len(found) > _SHOWN:
        print(f"… and {len(found) - _SHOWN:,} more; --output json lists them")
    print("the rollups are not those of the events; rebuild them" if found else "the rollups are those of the events")


@app.command
def rebuild(*, file: File = None, database_url: str | None = None, data_dir: Path = DATA_DIR) -> int:
    """Make the rollups anew from all events.

    Collectors wait meanwhile, and what the gateway takes stays in the stream; reports show what was there before. Days
    that retention has dropped keep their rollups. It needs the role that owns the tables.

    Parameters
    ----------
    file
        The EventPipeline file, where it declares sources of its own.
    database_url
        Where Postgres is; by default that of the pipeline in --data-dir, or DATABASE_URL of the environment.
    data_dir
        Where `eventpipeline up` keeps the pipeline.
    """
    try:
        sources = known_sources(file)
        events = store.rebuild(_database(database_url, data_dir), list(sources.values()))
    except (CommandError, StoreError) as error:
        return fail(str(error))
    print(f"counted {events:,} events of {', '.join(sources)}")
    return 0


def _database(database_url: str | None, data_dir: Path) -> str:
    found = database_of(database_url, live_run(data_dir))
    if not found:
        raise CommandError(f"no pipeline runs from {data_dir}; give --data-dir or --database-url")
    return found
