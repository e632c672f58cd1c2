"""Postgres: append, reports, dead letters, migrations. The only package that speaks to psycopg.

StoreError
├── StoreUnavailable       Postgres is away or in trouble; the same call may be made again
│   └── SchemaMismatch     the database's schema is too old or too new for this release
├── Refused                Postgres refuses these values (SQLSTATE class 22, 23 or 54) and always will
└── NotAllowed             the role of this service may not do it
"""

from __future__ import annotations


class StoreError(Exception):
    """The store cannot do what was asked."""


class StoreUnavailable(StoreError):  # noqa: N818
    """Postgres does not answer, or cannot go on."""


class SchemaMismatch(StoreUnavailable):
    """The schema of the database and this release do not go together; the message says what to do."""


class Refused(StoreError):  # noqa: N818
    """Postgres refuses the values themselves."""


class NotAllowed(StoreError):  # noqa: N818
    """The role that this service has in Postgres lacks the right."""
