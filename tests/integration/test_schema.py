"""Migrations: once, by any number at a time, and releases of different age side by side."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest

from eventpipeline.sources import built_in
from eventpipeline.store import SchemaMismatch, StoreError, StoreUnavailable
from eventpipeline.store.append import Appended, Appender
from eventpipeline.store.partitions import maintain
from eventpipeline.store.pool import connection, open_pool
from eventpipeline.store.schema import VERSION, Migration, migrate, migrations
from servers import wait_for
from stored import assert_holds, facebook, parsed, scalar

FIRST = migrations()[:1]
NAMES = tuple(migration.name for migration in migrations())


def next_release(
    text: str = "ALTER TABLE events ADD COLUMN note text", min_compatible: int = 1
) -> tuple[Migration, ...]:
    """The migrations of the release after this one."""
    return (*migrations(), Migration(VERSION + 1, f"{VERSION + 1:04}_next", text, min_compatible))  # type: ignore[arg-type]


async def append(database: str, *numbers: int) -> Appended:
    pool = open_pool(database, name="test", read_only=False, max_size=1)
    await pool.open()
    try:
        async with connection(pool) as one:
            events = json.dumps([facebook(number) for number in numbers]).encode()
            return await Appender(built_in("facebook")).append(one, events)
    finally:
        await pool.close()


def stored(*numbers: int) -> list[dict[str, object]]:
    return parsed(json.dumps([facebook(number) for number in numbers]).encode())


def test_an_empty_database_is_migrated_once(empty_database: str) -> None:
    assert migrate(empty_database) == NAMES
    assert migrate(empty_database) == ()


def test_eight_at_the_same_time_apply_each_migration_once(empty_database: str) -> None:
    with ThreadPoolExecutor(8) as threads:
        applied = list(threads.map(migrate, [empty_database] * 8))

    assert sorted(applied) == [()] * 7 + [NAMES]


def test_a_migration_that_was_changed_is_refused(database: str) -> None:
    (first, *rest) = migrations()
    changed = Migration(first.version, first.name, first.text + "\n-- other", first.min_compatible)  # type: ignore[arg-type]

    with pytest.raises(SchemaMismatch, match=f"migration {first.name} was applied in another form"):
        migrate(database, (changed, *rest))


async def test_data_of_an_earlier_schema_are_kept_and_migrated(empty_database: str) -> None:
    migrate(empty_database, FIRST)
    with psycopg.connect(empty_database) as connection:
        connection.execute(
            'INSERT INTO events (source, event_id, "timestamp", funnel_stage, event_type, user_id, transaction, data) '
            "VALUES ('facebook', 'old', '2024-05-01T12:00:00Z', 'top', 'ad.view', 'u', false, '{}')"
        )
    added = "ALTER TABLE events ADD COLUMN note text; CREATE TABLE rollup_note AS SELECT count(*) AS n FROM events"

    assert migrate(empty_database, next_release(added))[-1] == f"{VERSION + 1:04}_next"

    assert scalar(empty_database, "SELECT n FROM rollup_note") == 1
    assert (await append(empty_database, 1)).new == 1
    assert scalar(empty_database, "SELECT array_agg(event_id ORDER BY event_id) FROM events") == ["e1", "old"]


KEYS = """
SELECT tree.relid::regclass::text, pg_get_constraintdef(oid), conparentid <> 0
FROM pg_partition_tree('events') AS tree JOIN pg_constraint ON conrelid = tree.relid AND contype = 'p' ORDER BY 1"""
INDEXES = """
SELECT tree.relid::regclass::text, array_agg(indexrelid::regclass::text ORDER BY indexrelid::regclass::text)
FROM pg_partition_tree('events') AS tree JOIN pg_index ON indrelid = tree.relid AND indisvalid GROUP BY 1 ORDER BY 1"""


def indexes(connection: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """The names of the indexes of `events` and of each partition."""
    return dict(connection.execute(INDEXES).fetchall())


async def test_a_key_that_began_with_the_id_begins_with_the_time(empty_database: str) -> None:
    """In a store of before, with days of their own, as in a new one; copies of what it holds are still copies."""
    before = migrations()[:3]
    migrate(empty_database, before)
    maintain(empty_database, date(2025, 3, 2), None)
    numbers = range(0, 300, 3)
    with psycopg.connect(empty_database) as connection:
        assert "events_timestamp" in indexes(connection)["events"]
        for event in (facebook(number) for number in numbers):
            connection.execute(
                'INSERT INTO events (source, event_id, "timestamp", funnel_stage, event_type, user_id, transaction,'
                " data) VALUES ('facebook', %s, %s, 'top', 'ad.view', 'u', false, '{}')",
                (event["eventId"], event["timestamp"]),
            )

    assert migrate(empty_database) == NAMES[3:]

    days = [f"events_202503{day:02}" for day in range(1, 10)]
    with psycopg.connect(empty_database) as connection:
        keys = connection.execute(KEYS).fetchall()
        assert keys == [
            (table, 'PRIMARY KEY ("timestamp", event_id, source)', table != "events")
            for table in ("events", *days, "events_default")
        ]
        found = indexes(connection)
        assert found["events"] == ["events_pkey", "events_transactions"]
        assert {len(names) for names in found.values()} == {2}
    assert (await append(empty_database, *range(300))).new == 200
    assert scalar(empty_database, "SELECT count(*) FROM events") == 300
    # A day that is made later has the indexes of the others.
    maintain(empty_database, date(2025, 3, 3), None)
    with psycopg.connect(empty_database) as connection:
        found = indexes(connection)
        assert found["events_20250310"][0] == "events_20250310_pkey"
        assert {len(names) for names in found.values()} == {2}


async def test_reports_go_on_while_the_keys_are_made(empty_database: str) -> None:
    """Appends wait for a migration; whoever reads waits only at its end, when the new keys take their place."""
    migrate(empty_database, migrations()[:3])
    making, rest = migrations()[3].text.split("ALTER TABLE events DROP CONSTRAINT", 1)
    slow = f"{making} PERFORM pg_sleep(0.8); ALTER TABLE events DROP CONSTRAINT{rest}"
    halfway = Migration(4, NAMES[3], slow, 1)  # type: ignore[arg-type]
    migrating = asyncio.create_task(asyncio.to_thread(migrate, empty_database, (*migrations()[:3], halfway)))
    sleeps = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
    await asyncio.to_thread(wait_for, lambda: scalar(empty_database, sleeps) == 1, what=lambda: "the new keys")

    assert scalar(empty_database, "SELECT count(*) FROM events") == 0

    assert not migrating.done()
    assert await migrating == (NAMES[3],)


async def test_a_newer_schema_that_this_release_can_write_is_left_alone(database: str) -> None:
    migrate(database, next_release(min_compatible=VERSION))

    assert migrate(database) == ()
    assert (await append(database, 1, 2)).new == 2
    assert_holds(database, stored(1, 2))


async def test_a_newer_schema_that_this_release_cannot_write_stops_it(database: str) -> None:
    migrate(database, next_release(min_compatible=VERSION + 1))

    with pytest.raises(SchemaMismatch, match=f"has schema {VERSION + 1}, .* this one knows {VERSION}: use the newer"):
        migrate(database)
    with pytest.raises(SchemaMismatch, match=f"a release that knows schema {VERSION + 1}"):
        await append(database, 1)
    assert_holds(database, [])

    # As after a rollback of the upgrade.
    with psycopg.connect(database) as connection:
        connection.execute("DELETE FROM schema_versions WHERE version > %s", (VERSION,))
    assert (await append(database, 1)).new == 1


async def test_an_older_schema_takes_nothing_and_says_what_to_do(empty_database: str) -> None:
    with pytest.raises(SchemaMismatch, match="run `eventpipeline migrate`"):
        await append(empty_database, 1)
    migrate(empty_database)
    with psycopg.connect(empty_database) as connection:
        connection.execute("UPDATE schema_versions SET version = version - 1")
    with pytest.raises(SchemaMismatch, match=f"has schema {VERSION - 1}, this release needs {VERSION}; run"):
        await append(empty_database, 1)
    assert_holds(empty_database, [])


async def test_an_append_that_waits_for_a_migration_sees_what_it_did(database: str) -> None:
    """A rollup that a migration fills must not miss the events of a collector that knows nothing of it."""
    slow = "LOCK TABLE events IN SHARE ROW EXCLUSIVE MODE; SELECT pg_sleep(0.6)"
    migrating = asyncio.create_task(asyncio.to_thread(migrate, database, next_release(slow, VERSION + 1)))
    locked = "SELECT count(*) FROM pg_locks WHERE relation = 'events'::regclass AND mode = 'ShareRowExclusiveLock'"
    await asyncio.to_thread(wait_for, lambda: scalar(database, locked) == 1, what=lambda: "the migration's lock")

    with pytest.raises(SchemaMismatch):
        await append(database, 1)

    assert len(await migrating) == 1
    assert_holds(database, [])


def test_a_migration_that_fails_midway_leaves_nothing(database: str) -> None:
    broken = "CREATE TABLE half (n int); INSERT INTO half VALUES (1); SELECT 1 / 0"

    with pytest.raises(
        StoreError, match=rf"{VERSION + 1:04}_next failed, and nothing of it was applied: division by zero"
    ):
        migrate(database, next_release(broken))

    assert scalar(database, "SELECT to_regclass('half')") is None
    assert scalar(database, "SELECT max(version) FROM schema_versions") == VERSION
    assert migrate(database, next_release())[-1] == f"{VERSION + 1:04}_next"


def test_a_database_that_is_away_is_said_to_be() -> None:
    with pytest.raises(StoreUnavailable, match="Postgres did not answer"):
        migrate("postgresql://nobody@127.0.0.1:9/none")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["0001_a.sql", "0003_b.sql"], "without a gap"),
        (["0001_a.sql", "0001_b.sql"], "without a gap"),
        (["0002_a.sql"], "without a gap"),
        (["1_a.sql"], r"1_a.sql is not named NNNN_name.sql"),
        (["0001-a.sql"], r"0001-a.sql is not named NNNN_name.sql"),
    ],
)
def test_wrong_numbers_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        (tmp_path / name).write_text("SELECT 1")

    with pytest.raises(ValueError, match=message):
        migrations(tmp_path)


def test_a_file_says_which_releases_may_still_write(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1")
    (tmp_path / "0002_b.sql").write_text("-- Adds a rollup.\n-- min_compatible: 2\nSELECT 1")

    assert [migration.min_compatible for migration in migrations(tmp_path)] == [1, 2]
