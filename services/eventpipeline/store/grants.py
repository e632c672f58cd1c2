"""What the services may in the database, beside the role that owns the tables. They may, where their roles are there.

COLLECTOR reads and writes rows. REPORTER reads, and deletes dead letters. Neither creates, changes or drops a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import psycopg
from psycopg import errors, sql
from psycopg.conninfo import conninfo_to_dict

from eventpipeline.store import StoreUnavailable
from eventpipeline.store.pool import translated
from eventpipeline.store.statements import statement

COLLECTOR, REPORTER = "eventpipeline_service", "eventpipeline_reporter"


def grant(connection: psycopg.Connection[Any]) -> None:
    """Gives the roles what they lack, on all tables that there are now. As the owner of the tables."""
    connection.execute(statement("grants"))


def renew_logins(database_url: str, urls: Iterable[str]) -> list[str]:
    """Gives the roles of `urls` the passwords that stand there, where they cannot log in with them yet.

    So a password is changed while the server runs. As a role with CREATEROLE that has ADMIN on them. Returns the roles
    that it has changed. Raises StoreUnavailable, also where that role may not; the server may at its next start.
    """
    changed = []
    for url in urls:
        login = conninfo_to_dict(url)
        role, password = str(login.get("user")), str(login.get("password"))
        if _logs_in(url):
            continue
        with translated(), psycopg.connect(database_url, autocommit=True, connect_timeout=5) as connection:
            # The password itself would be in the log of a server that logs statements.
            verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
            with connection.transaction():
                # Of two that change one row of the catalogue at once, one fails.
                connection.execute("SELECT pg_advisory_xact_lock(hashtext('eventpipeline logins'))")
                statement = sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}")
                try:
                    connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))
                except (errors.InsufficientPrivilege, errors.UndefinedObject) as error:
                    why = f"{role} cannot log in, and cannot be given its password: {error.diag.message_primary}"
                    raise StoreUnavailable(f"{why}; Postgres does it at its next start") from error
        changed.append(role)
    return changed


def _logs_in(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


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
