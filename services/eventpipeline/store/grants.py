"""What the services may in the database, beside the role that owns the tables. They may, where their roles are there.

COLLECTOR reads and writes rows. REPORTER reads, and deletes dead letters. Neither creates, changes or drops a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg import sql

from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement

COLLECTOR, REPORTER = "eventpipeline_service", "eventpipeline_reporter"


def grant(connection: psycopg.Connection[Any]) -> None:
    """Gives the roles what they lack, on all tables that there are now. As the owner of the tables."""
    connection.execute(statement("grants"))


def make_logins(database_url: str, passwords: Mapping[str, str]) -> None:
    """Makes the roles in `passwords` where they are not there, and has them log in. As a superuser.

    Raises StoreUnavailable.
    """
    with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
        there = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles").fetchall()}
        for role, password in passwords.items():
            parts = {"role": sql.Identifier(role), "password": sql.Literal(password)}
            if role not in there:
                connection.execute(sql.SQL("CREATE ROLE {role}").format(**parts))
            connection.execute(sql.SQL("ALTER ROLE {role} LOGIN PASSWORD {password}").format(**parts))
        database = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
