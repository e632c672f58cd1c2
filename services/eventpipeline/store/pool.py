"""Connections to Postgres, and the one place where its errors become ours."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Self

import psycopg
from psycopg import AsyncConnection, errors
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventpipeline.certificates import explained
from eventpipeline.store import Refused, SchemaMismatch, StoreUnavailable

Pool = AsyncConnectionPool[AsyncConnection[Any]]

_SESSION = {
    "timezone": "UTC",
    "jit": "off",  # compiling costs more than these statements run
    "random_page_cost": "1.1",  # with the default of 4 a range of a day scans the whole table
    "work_mem": "32MB",  # the rows of one batch stay in memory
    "idle_in_transaction_session_timeout": "60s",
}
_READ_ONLY = {"default_transaction_read_only": "on", "statement_timeout": "30s"}
_READ_WRITE = {"lock_timeout": "30s"}  # who waits longer, for a migration say, tries again and shows that it does


_CHECK_SECONDS = 1.0
"""Shorter than what /readyz gives a check, so that it can say why."""


class _Connection(AsyncConnection[Any]):
    """Keeps why a connection could not be made, which the pool only logs; each pool has a class of its own."""

    fault: ClassVar[str | None] = None

    @classmethod
    async def connect(cls, *arguments: Any, **named: Any) -> Self:
        try:
            made = await super().connect(*arguments, **named)
        except psycopg.ProgrammingError:
            cls.fault = "its address is no URL that Postgres understands"  # what psycopg says quotes parts of it
            raise
        except psycopg.Error as error:
            cls.fault = _one_line(error)
            raise
        cls.fault = None
        return made


def open_pool(database_url: str, *, name: str, read_only: bool, max_size: int) -> Pool:
    """A pool of connections, not yet opened: `await pool.open(wait=False)` lets a service start before Postgres."""
    session = _SESSION | (_READ_ONLY if read_only else _READ_WRITE)
    options = " ".join(f"-c {key}={value}" for key, value in session.items())
    return AsyncConnectionPool(
        database_url,
        connection_class=type("Connection", (_Connection,), {}),
        min_size=1,
        max_size=max_size,
        open=False,
        timeout=5.0 if read_only else 2.0,  # a collector never waits for its own connections, only for Postgres
        # Its waits double without an end until it gives up; then the next caller has it begin anew.
        reconnect_timeout=5.0,
        check=AsyncConnectionPool.check_connection,
        kwargs={
            "autocommit": True,
            "application_name": f"eventpipeline-{name}",
            "options": options,
            "connect_timeout": 5,
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 30_000,
        },
    )


@contextlib.asynccontextmanager
async def connection(pool: Pool, timeout: float | None = None) -> AsyncIterator[AsyncConnection[Any]]:
    """A connection of `pool`, had within `timeout` seconds or the pool's own.

    Raises StoreUnavailable or Refused for what goes wrong in the block.
    """
    with translated():
        try:
            async with pool.connection(timeout) as opened:
                yield opened
        except PoolTimeout as error:
            fault = getattr(pool.connection_class, "fault", None)
            raise StoreUnavailable(f"Postgres did not answer: {fault or _one_line(error)}") from error


@contextlib.contextmanager
def translated() -> Any:
    """Turns psycopg's errors into the store's: what Postgres refuses for ever, and everything else."""
    try:
        yield
    except (errors.DataError, errors.IntegrityError, errors.ProgramLimitExceeded, errors.StatementTooComplex) as error:
        raise Refused(_one_line(error)) from error
    except (errors.UndefinedTable, errors.UndefinedColumn) as error:
        raise SchemaMismatch(
            f"the database has not the schema of this release ({_one_line(error)}); run `eventpipeline migrate`"
        ) from error
    except (psycopg.Error, PoolTimeout, OSError) as error:
        raise StoreUnavailable(f"Postgres did not answer: {_one_line(error)}") from error


def _one_line(error: BaseException) -> str:
    return explained((str(error) or type(error).__name__).splitlines()[0])


async def check(pool: Pool) -> str | None:
    """What is wrong with Postgres, or None where it answers."""
    try:
        async with connection(pool, _CHECK_SECONDS) as opened:
            await opened.execute("SELECT 1")
    except (StoreUnavailable, Refused) as error:
        return str(error)
    return None
