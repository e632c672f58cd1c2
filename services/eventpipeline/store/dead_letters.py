"""Lands dead letters: what the gateway refused, and what Postgres refused after all."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from eventpipeline.store.append import Json, register_json
from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement


async def land(connection: AsyncConnection[Any], packed: bytes) -> int:
    """Stores the dead letters of `packed`, a JSON array of `envelope.dead_letter` objects; returns how many were new.

    Raises Refused or StoreUnavailable.
    """
    register_json(connection)
    with translated():
        cursor = await connection.execute(statement("land_dead_letters"), {"letters": Json(packed)}, prepare=True)
        row = await cursor.fetchone()
    assert row is not None
    return int(row[0])
