"""The database: its schema and its partitions."""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime

from eventpipeline.cli.output import fail
from eventpipeline.settings import MaintainSettings, MigrateSettings, SettingsError
from eventpipeline.store import SchemaMismatch, StoreError, StoreUnavailable
from eventpipeline.store.address import address
from eventpipeline.store.erasures import vacuum
from eventpipeline.store.grants import renew_logins
from eventpipeline.store.partitions import maintain as maintain_partitions
from eventpipeline.store.schema import migrate as migrate_schema

_RETRY_SECONDS = 1.0


def migrate(*, wait: float = 0.0) -> int:
    """Bring the database to this release's schema, and make the partitions of the days ahead.

    Reads DATABASE_URL from the environment, and where they are set SERVICE_DATABASE_URL and REPORTER_DATABASE_URL,
    whose roles are given the passwords in them. Safe to run at any time, by any number at once; a database that is
    newer than this release can work with is refused and left alone (exit code 1).

    Parameters
    ----------
    wait
        Seconds to wait for a database that does not answer yet.
    """
    deadline = time.monotonic() + wait
    told = ""
    while True:
        try:
            settings = MigrateSettings.read(os.environ)
            database = address(settings.database_url, settings.database_tls_dir)
            applied = migrate_schema(database)
            maintained = maintain_partitions(database, datetime.now(UTC).date(), None)
            logins = [url for url in (settings.service_database_url, settings.reporter_database_url) if url]
            changed = renew_logins(database, logins)
        except (SettingsError, StoreError) as error:
            if not is_worth_waiting(error) or time.monotonic() >= deadline:
                return fail(str(error))
            if str(error) != told:
                told = str(error)
                print(f"waiting for the database: {told}", file=sys.stderr, flush=True)
            time.sleep(_RETRY_SECONDS)
        else:
            print(f"applied: {', '.join(applied) or 'nothing, the schema is up to date'}")
            print(f"partitions made: {len(maintained.made)}")
            if changed:
                print(f"has a new password: {', '.join(changed)}")
            return 0


def is_worth_waiting(error: Exception) -> bool:
    """Whether it may go away by itself; a schema that does not match never does."""
    return isinstance(error, StoreUnavailable) and not isinstance(error, SchemaMismatch)


def maintain() -> int:
    """Make the partitions of the days ahead, drop the days that are past the retention, vacuum what was forgotten.

    Reads DATABASE_URL and RETENTION_DAYS (without it, nothing is dropped) from the environment. Run it every hour or
    every day; it needs the role that owns the tables.
    """
    try:
        settings = MaintainSettings.read(os.environ)
        database = address(settings.database_url, settings.database_tls_dir)
        maintained = maintain_partitions(database, datetime.now(UTC).date(), settings.retention_days)
        vacuum(database)
    except (SettingsError, StoreError) as error:
        return fail(str(error))
    print(f"partitions made: {len(maintained.made)}, dropped: {len(maintained.dropped)}")
    return 0
