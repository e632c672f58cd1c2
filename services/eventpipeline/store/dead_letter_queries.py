"""Dead letters: how many there are and why, a page of them, one with its bytes; and dropping one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, LiteralString
from uuid import UUID

from psycopg import errors, sql
from psycopg.rows import class_row

from eventpipeline.store import NotAllowed
from eventpipeline.store.pool import Pool, connection
from eventpipeline.store.reports import Connection
from eventpipeline.store.statements import statement
from eventpipeline.store.windows import ALL_TIME, Window

_LAST_ID = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the list of dead letters: just after the one received then, with this id."""

    received_at: datetime
    id: UUID


@dataclass(frozen=True, slots=True)
class DeadLetterFilter:
    """Which dead letters are meant, by when they were received and what is known of them; None is all."""

    window: Window = ALL_TIME
    source: str | None = None
    reason: str | None = None
    funnel_stage: str | None = None
    event_id: str | None = None

    def parameters(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "reason": self.reason,
            "funnel_stage": self.funnel_stage,
            "event_id": self.event_id,
            **self.window.parameters(),
        }


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """`detail` is a list of `{"loc", "msg", "type"}`; `payload_bytes` is the length of the whole event."""

    id: UUID
    received_at: datetime
    source: str | None
    funnel_stage: str | None
    event_type: str | None
    event_id: str | None
    reason: str
    detail: Any
    correlation_id: str | None
    payload_bytes: int

    @property
    def position(self) -> Position:
        return Position(self.received_at, self.id)


@dataclass(frozen=True, slots=True)
class DeadLetterPayload(DeadLetter):
    """`payload` is the event as it came, or the beginning of one that is over the size limit."""

    payload: bytes
    payload_sha256: str


@dataclass(frozen=True, slots=True)
class DeadLetterCount:
    """`source` is None for those of no known source."""

    reason: str
    source: str | None
    count: int


async def list_dead_letters(
    connection: Connection, selected: DeadLetterFilter, limit: int, after: Position | None = None
) -> list[DeadLetter]:
    """At most `limit` dead letters, newest first. Raises StoreUnavailable."""
    parameters = {
        **selected.parameters(),
        "after_time": after.received_at.isoformat() if after else "infinity",
        "after_id": after.id if after else _LAST_ID,
        "limit": limit,
    }
    async with connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
        await cursor.execute(_of_selected("dead_letters_list"), parameters)
        return await cursor.fetchall()


async def show_dead_letter(connection: Connection, identity: UUID) -> DeadLetterPayload | None:
    """One dead letter, or None where there is none of this id. Raises StoreUnavailable."""
    async with connection.cursor(row_factory=class_row(DeadLetterPayload)) as cursor:
        await cursor.execute(statement("dead_letters_show"), {"id": identity})
        return await cursor.fetchone()


async def count_dead_letters(connection: Connection, sources: tuple[str, ...]) -> list[DeadLetterCount]:
    """How many there are of each reason and source. Raises StoreUnavailable."""
    async with connection.cursor(row_factory=class_row(DeadLetterCount)) as cursor:
        await cursor.execute(statement("dead_letters_count"), {"sources": list(sources)})
        return await cursor.fetchall()


async def count_selected(connection: Connection, selected: DeadLetterFilter) -> int:
    """How many are meant. Raises StoreUnavailable."""
    cursor = await connection.execute(_of_selected("dead_letters_count_selected"), selected.parameters())
    row = await cursor.fetchone()
    assert row is not None
    return int(row[0])


async def drop_dead_letter(pool: Pool, identity: UUID) -> bool:
    """Drops one dead letter; False where there is none of this id. Raises NotAllowed or StoreUnavailable."""
    return await _dropped(pool, statement("dead_letters_drop"), {"id": identity}) > 0


async def drop_dead_letters(pool: Pool, selected: DeadLetterFilter) -> int:
    """Drops all that are meant, in one transaction, and says how many. Raises NotAllowed or StoreUnavailable."""
    return await _dropped(pool, _of_selected("dead_letters_drop_selected"), selected.parameters())


def _of_selected(name: str) -> sql.Composed:
    """The statement of this name, with the condition that a dead letter is meant."""
    return sql.SQL(statement(name)).format(selected=sql.SQL(statement("dead_letters_selected")))


async def _dropped(pool: Pool, query: LiteralString | sql.Composed, parameters: dict[str, Any]) -> int:
    async with connection(pool) as opened:
        try:
            async with opened.transaction():
                await opened.execute("SET TRANSACTION READ WRITE")
                return (await opened.execute(query, parameters)).rowcount
        except errors.InsufficientPrivilege as error:
            raise NotAllowed("the reporter's role in the database may not drop dead letters") from error
