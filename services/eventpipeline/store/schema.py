"""Migrations: numbered SQL files, applied in order under an advisory lock.

A migration only expands; what it makes superfluous goes in a later release (expand and contract), so old and new
services run side by side. `min_compatible` of a migration is the oldest schema version whose services may still
write after it. A migration that adds a rollup locks `events` against writers while it fills it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

import psycopg

from eventpipeline.store import SchemaMismatch, StoreError
from eventpipeline.store.grants import grant
from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement

MIGRATIONS = Path(__file__).parent / "migrations"
_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")
_MIN_COMPATIBLE = re.compile(r"^-- min_compatible: (\d+)$", re.MULTILINE)
_LOCK = 0x45505F4D49475241  # "EP_MIGRA"


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    text: LiteralString
    min_compatible: int

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(folder: Path = MIGRATIONS) -> tuple[Migration, ...]:
    """The migrations in `folder`, in order. A file names its `min_compatible` in a comment; the default is 1."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        match = _NAME.match(path.name)
        if not match:
            raise ValueError(f"{path.name} is not named NNNN_name.sql")
        text: LiteralString = path.read_text(encoding="utf-8")
        compatible = _MIN_COMPATIBLE.search(text)
        found.append(Migration(int(match[1]), path.stem, text, int(compatible[1]) if compatible else 1))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("migrations must be numbered 0001, 0002, … without a gap")
    return tuple(found)


VERSION = migrations()[-1].version
"""The schema version that this release knows."""


def migrate(database_url: str, available: tuple[Migration, ...] | None = None) -> tuple[str, ...]:
    """Brings the database to the newest schema that this release knows; returns the names of what was applied.

    Each migration is one transaction, all under an advisory lock, so that any number of services may call this at
    the same time. Raises SchemaMismatch where the database is newer than this release can work with, or where an
    applied migration was changed since; StoreError where a migration fails; StoreUnavailable.
    """
    available = migrations() if available is None else available
    with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        connection.execute("SET lock_timeout = '30s'")
        connection.execute(statement("schema_versions"))
        applied = _applied(connection)
        _check(applied, available)
        done = tuple(_apply(connection, migration) for migration in available if migration.version not in applied)
        grant(connection)
    return done


@dataclass(frozen=True)
class _Applied:
    name: str
    checksum: str
    min_compatible: int


def _applied(connection: psycopg.Connection[Any]) -> dict[int, _Applied]:
    rows = connection.execute("SELECT version, name, checksum, min_compatible FROM schema_versions").fetchall()
    return {version: _Applied(*rest) for version, *rest in rows}


def _check(applied: dict[int, _Applied], available: tuple[Migration, ...]) -> None:
    known = available[-1].version
    needed = max((row.min_compatible for row in applied.values()), default=1)
    if needed > known:
        raise SchemaMismatch(
            f"the database has schema {max(applied)}, which needs a release that knows schema {needed}; "
            f"this one knows {known}: use the newer release, or restore a backup from before the upgrade"
        )
    for migration in available:
        row = applied.get(migration.version)
        if row and row.checksum != migration.checksum:
            raise SchemaMismatch(f"migration {row.name} was applied in another form than this release has it")


def _apply(connection: psycopg.Connection[Any], migration: Migration) -> str:
    try:
        with connection.transaction():
            connection.execute(migration.text)
            connection.execute(
                "INSERT INTO schema_versions (version, name, checksum, min_compatible) VALUES (%s, %s, %s, %s)",
                (migration.version, migration.name, migration.checksum, migration.min_compatible),
            )
    except psycopg.OperationalError:
        raise  # Postgres is away, or somebody holds a lock
    except psycopg.Error as error:
        raise StoreError(f"migration {migration.name} failed, and nothing of it was applied: {error}") from error
    return migration.name
