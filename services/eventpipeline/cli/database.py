"""The database: its schema and its partitions."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from eventpipeline.cli.output import fail
from eventpipeline.settings import MaintainSettings, SettingsError
from eventpipeline.store import StoreError
from eventpipeline.store.partitions import maintain as maintain_partitions
from eventpipeline.store.schema import migrate as migrate_schema


def migrate() -> int:
    """Bring the database to this release's schema, and make the partitions of the days ahead.

    Reads DATABASE_URL from the environment. Safe to run at any time, by any number at once; a database that is newer
    than this release can work with is refused and left alone (exit code 1).
    """
    try:
        settings = MaintainSettings.read(os.environ)
        applied = migrate_schema(settings.database_url)
        maintained = maintain_partitions(settings.database_url, datetime.now(UTC).date(), None)
    except (SettingsError, StoreError) as error:
        return fail(str(error))
    print(f"applied: {', '.join(applied) or 'nothing, the schema is up to date'}")
    print(f"partitions made: {len(maintained.made)}")
    return 0


def maintain() -> int:
    """Make the partitions of the days ahead, and drop the days that are past the retention.

    Reads DATABASE_URL and RETENTION_DAYS (without it, nothing is dropped) from the environment. Run it every hour or
    every day; it needs the role that owns the tables.
    """
    try:
        settings = MaintainSettings.read(os.environ)
        maintained = maintain_partitions(settings.database_url, datetime.now(UTC).date(), settings.retention_days)
    except (SettingsError, StoreError) as error:
        return fail(str(error))
    print(f"partitions made: {len(maintained.made)}, dropped: {len(maintained.dropped)}")
    return 0
