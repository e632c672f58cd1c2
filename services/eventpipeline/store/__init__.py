"""Postgres: append, reports, dead letters, migrations. The only package that speaks to psycopg.

StoreError
├── StoreUnavailable       Postgres is away or in trouble; the same call may be made again
├── Refused                Postgres refuses these values (SQLSTATE class 22 or 23) and always will
└── SchemaMismatch         the database's schema is too old or too new for this release
"""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreUnavailable(StoreError):  # noqa: N818
    """Postgres does not answer, or cannot go on."""


class Refused(StoreError):  # noqa: N818
    """Postgres refuses the values themselves."""


class SchemaMismatch(StoreError):  # noqa: N818
    """The schema of the database and this release do not go together; the message says what to do."""
