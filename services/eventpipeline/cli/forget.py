"""`eventpipeline forget`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from eventpipeline.cli.connection import DATA_DIR
from eventpipeline.cli.output import CommandError, OutputFormat, console, fail, meanwhile, print_json, print_table
from eventpipeline.cli.pipeline import known_sources
from eventpipeline.cli.servers import Servers, source_of
from eventpipeline.forget import Forgetting, Forgotten, Options, Show
from eventpipeline.persons import Persons, ids_of
from eventpipeline.store import StoreError, erasures
from eventpipeline.store.erasures import Erasure
from eventpipeline.store.pool import connection
from eventpipeline.stream import StreamError
from eventpipeline.telemetry import silence_logging

_LISTED = 1000
_MENTIONS_SHOWN = 20


def forget(
    *,
    source: str | None = None,
    user: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    user_file: Annotated[str | None, Parameter(allow_leading_hyphen=True)] = None,
    list_: Annotated[bool, Parameter(name="--list", negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    mentions: Annotated[bool, Parameter(negative=())] = False,
    by: str | None = None,
    reference: str | None = None,
    wait: float = 30.0,
    file: Annotated[Path | None, Parameter(name=["--file", "-f"])] = None,
    output: OutputFormat = "table",
    nats_url: str | None = None,
    database_url: str | None = None,
    stream_prefix: str | None = None,
    data_dir: Path = DATA_DIR,
) -> int:
    """Erase a person: from the store, the retained stream and the dead letters. What was counted stays counted.

    Of each of their events the identity, the kind, the amount and the campaign stay, so that a copy that comes late,
    and a replay, is not counted again. Others' events are not touched. It runs beside the services, and what was
    interrupted is finished by running it again. Backups keep the person until they expire.

    Parameters
    ----------
    source
        The source whose user it is.
    user
        The user's id, as the source's declaration has it. It stands in the list of processes and in the shell's
        history; --user-file does not.
    user_file
        A file with the ids of users, a line each; - is the standard input.
    list_
        Show the erasures that there were, without ids: when, how much, and by whom if that was given.
    dry_run
        Only count.
    mentions
        Also drop dead letters that hold the id elsewhere than where the user of an event stands, such as those that are
        no JSON. Without it they are listed.
    by
        Who asks for it, for the record. Not the person to be forgotten.
    reference
        Where the request is kept, such as a ticket's number, for the record.
    wait
        Seconds that collectors get to store what came before; what they did not store by then stays in the stream,
        without the person.
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
        if list_:
            if source or user or user_file or dry_run:
                raise CommandError("--list stands alone: it shows every erasure")
            servers = Servers.of(nats_url, database_url, stream_prefix, data_dir)
            return _print_list(asyncio.run(_erasures(servers)), output)
        persons = _persons(source, user, user_file, file)
        servers = Servers.of(nats_url, database_url, stream_prefix, data_dir)
        options = Options(dry_run, mentions, wait, by, reference)
        with meanwhile.status("Forgetting") as status:
            done = asyncio.run(_forget(servers, persons, options, status.update))
            status.update("vacuuming")
            left = () if done.erasure is None else erasures.vacuum(servers.database_url, done.erasure)
    except (CommandError, OSError) as error:
        return fail(str(error))
    except (StreamError, StoreError) as error:
        return fail(f"{error}. Nothing of others is lost; run it again to finish")
    _print(done, left, output)
    return 0


def _persons(source: str | None, user: str | None, user_file: str | None, file: Path | None) -> Persons:
    if source is None:
        raise CommandError("--source: say of which source the user is")
    if (user is None) == (user_file is None):
        raise CommandError("give either --user or --user-file")
    known = known_sources(file)
    declared = source_of(known, source)
    texts = [user] if user is not None else _lines(str(user_file))
    try:
        return Persons(declared, ids_of(texts), frozenset(known))
    except ValueError as error:
        raise CommandError(str(error)) from None


def _lines(place: str) -> list[str]:
    content = sys.stdin.buffer.read() if place == "-" else Path(place).read_bytes()
    try:
        lines = [line for line in content.decode().splitlines() if line]
    except UnicodeDecodeError:
        raise CommandError(f"--user-file {place} is not text in UTF-8") from None
    if not lines:
        raise CommandError(f"--user-file {place} is empty; it has an id a line")
    return lines


async def _forget(servers: Servers, persons: Persons, options: Options, show: Show) -> Forgotten:
    async with servers.connected("forget") as (stream, pool), connection(pool) as opened:
        return await Forgetting(persons, options, stream, opened, show).run()


async def _erasures(servers: Servers) -> list[Erasure]:
    async with servers.connected("forget") as (_stream, pool), connection(pool) as opened:
        return await erasures.erasures(opened, _LISTED)


def _print(done: Forgotten, left: tuple[str, ...], output: OutputFormat) -> None:
    mentions = sorted(done.mentions)
    if output == "json":
        print_json(
            {
                "erasure": done.erasure,
                "dryRun": done.erasure is None,
                "events": done.events,
                "deadLetters": done.dead_letters,
                "stream": {
                    "messages": done.messages,
                    "events": done.stream_events,
                    "deadLetters": done.stream_dead_letters,
                },
                "mentions": mentions,
                "notVacuumed": left,
            }
        )
        return
    rows = [
        ["events in the store", done.events],
        ["dead letters in the store", done.dead_letters],
        ["messages in the stream", done.messages],
        ["events in them", done.stream_events],
        ["dead letters in them", done.stream_dead_letters],
    ]
    print_table("To be forgotten" if done.erasure is None else f"Forgotten, erasure {done.erasure}", ("", ""), rows)
    if mentions:
        some = ", ".join(mentions[:_MENTIONS_SHOWN]) + (" …" if len(mentions) > _MENTIONS_SHOWN else "")
        console.print(f"{len(mentions):,} dead letters hold the id elsewhere, and are left: {some}")
        console.print("See them with `eventpipeline dead-letters show ID`; --mentions drops them too.")
    if left:
        console.print(f"Not vacuumed, which `eventpipeline maintain` does under the owner's role: {', '.join(left)}")


def _print_list(found: list[Erasure], output: OutputFormat) -> int:
    if output == "json":
        print_json(
            [
                {
                    "erasure": one.id,
                    "startedAt": one.started_at.isoformat(),
                    "finishedAt": one.finished_at.isoformat() if one.finished_at else None,
                    "source": one.source,
                    "users": one.users,
                    "by": one.requested_by,
                    "reference": one.reference,
                    "events": one.events,
                    "messages": one.messages,
                    "deadLetters": one.dead_letters,
                    "vacuumedAt": one.vacuumed_at.isoformat() if one.vacuumed_at else None,
                }
                for one in found
            ]
        )
        return 0
    columns = ("erasure", "finished", "source", "users", "events", "messages", "dead letters", "by", "reference")
    rows = [
        [
            one.id, one.finished_at.isoformat(timespec="seconds") if one.finished_at else "no, run it again",
            one.source, one.users, one.events, one.messages, one.dead_letters, one.requested_by, one.reference,
        ]
        for one in found
    ]  # fmt: skip
    print_table("Erasures", columns, rows)
    return 0
