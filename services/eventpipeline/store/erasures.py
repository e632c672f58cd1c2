"""Erasing persons from the tables, and the record of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection, errors, sql
from psycopg.rows import class_row

from eventpipeline.persons import NOBODY, Letter, Persons
from eventpipeline.store import extract
from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement

DEAD_LETTERS = "dead_letters"
_LETTERS_AT_ONCE = 500
_FIRST_ID = "00000000-0000-0000-0000-000000000000"

Connection = AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Erasure:
    """One erasure. It tells no id of a user; `finished_at` is None where it goes on, or was interrupted."""

    id: int
    started_at: datetime
    finished_at: datetime | None
    source: str
    users: int
    requested_by: str | None
    reference: str | None
    events: int
    messages: int
    dead_letters: int
    vacuumed_at: datetime | None


async def begin(
    connection: Connection, source: str, users: int, requested_by: str | None, reference: str | None
) -> int:
    """Writes down that an erasure begins; returns its number. Raises StoreUnavailable."""
    parameters = {"source": source, "users": users, "requested_by": requested_by, "reference": reference}
    with translated():
        row = await (await connection.execute(statement("erasure_begin"), parameters)).fetchone()
    assert row is not None
    return int(row[0])


async def note(
    connection: Connection, erasure: int, *, events: int = 0, messages: int = 0, letters: int = 0,
    table: str | None = None,
) -> None:  # fmt: skip
    """Writes down what was done of an erasure, and in which table. Raises StoreUnavailable."""
    parameters = {"id": erasure, "events": events, "messages": messages, "dead_letters": letters, "table": table}
    with translated():
        await connection.execute(statement("erasure_note"), parameters)


async def finish(connection: Connection, erasure: int) -> None:
    """Writes down that an erasure is done. Raises StoreUnavailable."""
    with translated():
        await connection.execute(statement("erasure_finish"), {"id": erasure})


async def erasures(connection: Connection, limit: int) -> list[Erasure]:
    """The newest erasures, at most `limit`. Raises StoreUnavailable."""
    with translated():
        async with connection.cursor(row_factory=class_row(Erasure)) as cursor:
            await cursor.execute(statement("erasures"), {"limit": limit})
            return await cursor.fetchall()


async def event_partitions(connection: Connection) -> list[str]:
    """The partitions of `events` as they are now, in the order in which they have to be gone through.

    A row may move from the default partition, the last one, into a new one meanwhile: who wants all rows asks again
    after the last. Raises StoreUnavailable.
    """
    with translated():
        rows = await (await connection.execute(statement("forget_partitions"))).fetchall()
    return [name for (name,) in rows]


async def count_events(connection: Connection, persons: Persons, partition: str) -> int:
    """How many events of the persons a partition has. Raises StoreUnavailable."""
    cursor = await _on_partition(connection, "forget_events_count", persons, partition)
    row = await cursor.fetchone() if cursor else None
    return int(row[0]) if row else 0


async def empty_events(connection: Connection, persons: Persons, partition: str, erasure: int) -> int:
    """Empties the events of the persons in a partition; returns how many. Raises StoreUnavailable."""
    with translated():
        async with connection.transaction():
            cursor = await _on_partition(connection, "forget_events", persons, partition)
            emptied = cursor.rowcount if cursor else 0
            if emptied:
                await note(connection, erasure, events=emptied, table=partition)
    return emptied


async def _on_partition(connection: Connection, name: str, persons: Persons, partition: str) -> Any:
    """The cursor of a statement on a partition; None where retention has dropped it meanwhile."""
    query = sql.SQL(statement(name)).format(
        partition=sql.Identifier(partition),
        nobody=sql.Literal(NOBODY),
        whose=sql.SQL(statement("forget_events_whose")).format(user=extract.text(persons.source.user)),
    )
    try:
        async with connection.transaction():
            return await connection.execute(query, {"source": persons.source.name, "users": sorted(persons.ids)})
    except errors.UndefinedTable:
        return None
    except psycopg.Error:
        with translated():
            raise


async def letters(connection: Connection, persons: Persons) -> AsyncIterator[list[Letter]]:
    """The dead letters that may be of the persons, or mention them, a page at a time. Raises StoreUnavailable."""
    after = _FIRST_ID
    while True:
        parameters = {
            "after": after, "limit": _LETTERS_AT_ONCE, "source": persons.source.name,
            "others": sorted(persons.known_sources), "needles": list(persons.needles),
        }  # fmt: skip
        with translated():
            async with connection.cursor(row_factory=class_row(Letter)) as cursor:
                await cursor.execute(statement("forget_letters"), parameters)
                page = await cursor.fetchall()
        if page:
            yield page
            after = page[-1].id
        if len(page) < _LETTERS_AT_ONCE:
            return


async def drop_letters(connection: Connection, ids: Sequence[str], erasure: int) -> int:
    """Drops dead letters; returns how many were there. Raises StoreUnavailable."""
    with translated():
        async with connection.transaction():
            cursor = await connection.execute(statement("forget_letters_drop"), {"ids": list(ids)})
            await note(connection, erasure, letters=cursor.rowcount, table=DEAD_LETTERS)
    return cursor.rowcount


def vacuum(database_url: str, erasure: int | None = None) -> tuple[str, ...]:
    """Takes what was erased off the pages of the tables: of one erasure, or of all that wait for it.

    Returns the tables that the role may not vacuum: those of their owner, whose `maintain` does it. Raises
    StoreUnavailable.
    """
    waiting: dict[int, list[tuple[str, bool]]] = defaultdict(list)
    with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
        for identity, table, may in connection.execute(statement("erasures_to_vacuum"), {"id": erasure}).fetchall():
            waiting[identity] += [(table, may)] if table else []
        forbidden = {table for tables in waiting.values() for table, may in tables if not may}
        for table in {table for tables in waiting.values() for table, may in tables if may}:
            connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(table)))
        done = [identity for identity, tables in waiting.items() if all(may for _table, may in tables)]
        connection.execute("UPDATE erasures SET vacuumed_at = now() WHERE id = ANY (%s)", (done,))
    return tuple(sorted(forbidden))
