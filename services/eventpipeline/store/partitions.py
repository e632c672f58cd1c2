"""Partitions by day: made ahead for the days to come, dropped when retention says so. Needs the owner's role."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import psycopg
from psycopg import sql

from eventpipeline.store.grants import grant
from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement

DAYS_AHEAD = 7
GRACE_DAYS = 1
"""A day is dropped so long after the gateway began to refuse its events: what is still in the stream gets in."""


@dataclass(frozen=True)
class Maintained:
    """The days for which partitions were made, and those that were dropped."""

    made: tuple[date, ...]
    dropped: tuple[date, ...]


def maintain(database_url: str, today: date, retention_days: int | None) -> Maintained:
    """Makes the partitions of yesterday to a week ahead, and drops the days that are past the retention.

    Rows of a day that are in the default partition move into the new one. Raises StoreUnavailable.
    """
    with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
        connection.execute("SET timezone = 'UTC'")
        connection.execute("SET lock_timeout = '30s'")
        there = _days(connection)
        ahead = (today + timedelta(days=offset) for offset in range(-1, DAYS_AHEAD + 1))
        made = tuple(day for day in ahead if day not in there and _make(connection, day))
        dropped: tuple[date, ...] = ()
        if retention_days is not None:
            last = today - timedelta(days=retention_days + GRACE_DAYS)
            dropped = tuple(_drop(connection, day) for day in sorted(there) if day < last)
            _drop_from_default(connection, last)
        grant(connection)
    return Maintained(made, dropped)


def _name(day: date) -> str:
    return f"events_{day:%Y%m%d}"


def _days(connection: psycopg.Connection[Any]) -> set[date]:
    names = connection.execute(statement("partitions")).fetchall()
    return {date(int(name[7:11]), int(name[11:13]), int(name[13:15])) for (name,) in names}


def _bounds(day: date) -> dict[str, sql.Composable]:
    first, last = f"{day.isoformat()}T00:00:00Z", f"{(day + timedelta(days=1)).isoformat()}T00:00:00Z"
    return {"partition": sql.Identifier(_name(day)), "first": sql.Literal(first), "last": sql.Literal(last)}


def _make(connection: psycopg.Connection[Any], day: date) -> bool:
    with connection.transaction():
        # Nobody may add a row of this day to the default partition between the move and the attaching.
        connection.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
        if day in _days(connection):
            return False
        for step in ("make_partition", "fill_partition", "attach_partition"):
            connection.execute(sql.SQL(statement(step)).format(**_bounds(day)))
    return True


def _drop(connection: psycopg.Connection[Any], day: date) -> date:
    with connection.transaction():
        connection.execute("INSERT INTO dropped_days (day) VALUES (%s) ON CONFLICT DO NOTHING", (day,))
        # Another `maintain` may have been here meanwhile.
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(_name(day))))
    return day


def _drop_from_default(connection: psycopg.Connection[Any], last: date) -> None:
    with connection.transaction():
        # An append that waits for a row that goes must see, when it goes on, that its day is dropped.
        connection.execute("LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(statement("drop_from_default"), {"last": last})
