"""Appends events: one statement a batch, which also notes what it adds to the rollups."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

import orjson
from psycopg import AsyncConnection, errors, sql
from psycopg.adapt import Dumper
from psycopg.pq import Format

from eventpipeline.envelope import RequestRun
from eventpipeline.sources import Source
from eventpipeline.store import SchemaMismatch, extract
from eventpipeline.store.columns import TextArray, TextArrayDumper, columns
from eventpipeline.store.pool import translated
from eventpipeline.store.rollups import counted
from eventpipeline.store.schema import VERSION
from eventpipeline.store.statements import statement

_WARY_BATCHES = 16


@dataclass(frozen=True, slots=True)
class Appended:
    """What became of a batch."""

    new: int
    """Events that were not stored before, and are counted now."""
    beyond_retention: tuple[int, ...] = ()
    """Positions in the batch, from 0, of events of a day that retention has dropped; they were not stored."""


class Json(bytes):
    """JSON text that goes to Postgres as it is."""


class _JsonDumper(Dumper):
    format = Format.TEXT
    oid = 3802  # jsonb

    def dump(self, obj: Json) -> bytes:
        return obj


def register_json(connection: AsyncConnection[Any]) -> None:
    """Lets `connection` take `Json` values."""
    connection.adapters.register_dumper(Json, _JsonDumper)


class Appender:
    """Appends the events of one source.

    Copies are rare, and to leave them out Postgres has to announce each row and look its key up twice: a tenth of an
    append. So batches are appended without, until one has a copy; after that, with, until a number of batches had none.
    """

    def __init__(self, source: Source) -> None:
        self._without_copies = _Statements.of(source, on_copy="")
        self._leaving_out_copies = _Statements.of(source, on_copy="ON CONFLICT DO NOTHING")
        self._wary = 0
        """How many batches are still to be appended as if they had copies."""

    async def append(
        self, connection: AsyncConnection[Any], packed: bytes, requests: Sequence[RequestRun] = ()
    ) -> Appended:
        """Stores the events of `packed`, a JSON array, and commits.

        `requests` says with which request each event came, in order. Raises Refused where Postgres refuses one of
        the events (none is stored then), SchemaMismatch, or StoreUnavailable.
        """
        starts, position = [], 1
        for run in requests:
            starts.append(position)
            position += run.count
        register_json(connection)
        connection.adapters.register_dumper(TextArray, TextArrayDumper)
        parameters: dict[str, Any] = columns(packed) or {"events": Json(packed)}
        parameters |= {
            "starts": starts,
            # No array of texts: to find an element of it takes a walk over all before, for each event.
            "correlation_ids": Json(orjson.dumps([run.correlation_id or None for run in requests])),
        }
        with translated():
            row = await self._execute(connection, parameters)
        version, min_compatible, new, beyond_retention = row
        if version is None or version < VERSION:
            raise SchemaMismatch(
                f"the database has schema {version}, this release needs {VERSION}; run `eventpipeline migrate`"
            )
        if min_compatible > VERSION:
            raise SchemaMismatch(
                f"the database has schema {version}, which needs a release that knows schema {min_compatible}; "
                f"this one knows {VERSION}: use the newer release"
            )
        self._wary = _WARY_BATCHES if new < position - 1 - len(beyond_retention or ()) else max(0, self._wary - 1)
        return Appended(new, tuple(beyond_retention or ()))

    async def _execute(self, connection: AsyncConnection[Any], parameters: dict[str, Any]) -> tuple[Any, ...]:
        if not self._wary:
            with contextlib.suppress(errors.UniqueViolation):
                return await self._without_copies.execute(connection, parameters)
        return await self._leaving_out_copies.execute(connection, parameters)


@dataclass(frozen=True, slots=True)
class _Statements:
    """The same statement for events as columns, and for what is a JSON array, or none: Postgres says what it is."""

    of_columns: sql.Composed
    of_json: sql.Composed

    @classmethod
    def of(cls, source: Source, *, on_copy: LiteralString) -> _Statements:
        return cls(*(_append(source, statement(name), on_copy) for name in ("append_columns", "append_json")))

    async def execute(self, connection: AsyncConnection[Any], parameters: dict[str, Any]) -> tuple[Any, ...]:
        query = self.of_json if "events" in parameters else self.of_columns
        cursor = await connection.execute(query, parameters, prepare=True)
        row: tuple[Any, ...] | None = await cursor.fetchone()
        assert row is not None
        return row


def _append(source: Source, events: LiteralString, on_copy: LiteralString) -> sql.Composed:
    return sql.SQL(statement("append")).format(
        events=sql.SQL(events),
        version=sql.Literal(VERSION),
        source=sql.Literal(source.name),
        user_id=extract.user_id(source),
        campaign_id=extract.campaign_id(source),
        is_transaction=extract.is_transaction(source),
        amount=extract.amount(source),
        currency=extract.currency(source),
        counted=counted(source),
        on_copy=sql.SQL(on_copy),
    )
