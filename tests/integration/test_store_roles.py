"""What each role of the database may do, on a Postgres that has them: what its service needs, and nothing of others."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import psycopg
import pytest

from eventpipeline.sources import built_in
from eventpipeline.store import StoreUnavailable, reports
from eventpipeline.store.append import Appender
from eventpipeline.store.grants import COLLECTOR, REPORTER, make_logins, renew_logins
from eventpipeline.store.partitions import maintain
from eventpipeline.store.pool import open_pool
from eventpipeline.store.schema import migrate
from servers import postgres_server
from stored import facebook

TODAY = datetime.now(UTC).date()
LOGINS = ("eventpipeline_a", "eventpipeline_a_reporter")


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    with postgres_server(tmp_path_factory.mktemp("roles")) as superuser:
        place = superuser.rpartition("@")[2]
        make_logins(superuser, {COLLECTOR: "first", REPORTER: "it's"})
        make_logins(superuser, {COLLECTOR: "c"})
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CREATE ROLE eventpipeline_owner LOGIN CREATEROLE PASSWORD 'o'")
            # As the chart's start of Postgres does.
            for login in LOGINS:
                connection.execute(f"CREATE ROLE {login} NOLOGIN PASSWORD NULL")  # type: ignore[call-overload]
                connection.execute(  # type: ignore[call-overload]
                    f"GRANT {login} TO eventpipeline_owner WITH ADMIN TRUE, INHERIT FALSE, SET FALSE"
                )
            connection.execute("ALTER DATABASE eventpipeline OWNER TO eventpipeline_owner")
        found = {
            "owner": f"postgresql://eventpipeline_owner:o@{place}",
            COLLECTOR: f"postgresql://{COLLECTOR}:c@{place}",
            REPORTER: f"postgresql://{REPORTER}:it's@{place}",
        }
        migrate(found["owner"])
        maintain(found["owner"], TODAY, None)
        yield found


def rights(urls: dict[str, str], role: str) -> dict[str, set[str]]:
    """What a role may do with each table, view and partition."""
    with psycopg.connect(urls["owner"]) as connection:
        rows = connection.execute(
            """
            SELECT relation.relname, privilege
            FROM pg_class AS relation
            CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER',
                                    'MAINTAIN']) AS privilege
            WHERE relation.relnamespace = 'public'::regnamespace AND relation.relkind IN ('r', 'p', 'v', 'm', 'f')
              AND has_table_privilege(%s, relation.oid, privilege)
            """,
            (role,),
        ).fetchall()
    found: dict[str, set[str]] = {}
    for table, privilege in rows:
        found.setdefault(table, set()).add(privilege)
    return found


def tables(urls: dict[str, str]) -> set[str]:
    with psycopg.connect(urls["owner"]) as connection:
        rows = connection.execute(
            "SELECT relname FROM pg_class "
            "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'f')"
        ).fetchall()
    return {name for (name,) in rows}


def test_the_roles_have_these_rights_on_every_table_and_no_others(urls: dict[str, str]) -> None:
    everything = tables(urls)
    assert f"events_{TODAY:%Y%m%d}" in everything
    only_read = {"schema_versions", "dropped_days"}
    rows = {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert rights(urls, COLLECTOR) == {name: {"SELECT"} if name in only_read else rows for name in everything}
    assert rights(urls, REPORTER) == {
        name: {"SELECT", "DELETE"} if name == "dead_letters" else {"SELECT"} for name in everything
    }


def test_a_partition_that_is_made_later_has_them_too(urls: dict[str, str]) -> None:
    later = TODAY + timedelta(days=30)
    maintain(urls["owner"], later, None)
    name = f"events_{later:%Y%m%d}"
    assert rights(urls, COLLECTOR)[name] == {"SELECT", "INSERT", "UPDATE", "DELETE"}
    assert rights(urls, REPORTER)[name] == {"SELECT"}


async def test_the_collector_stores_and_the_reporter_reads(urls: dict[str, str]) -> None:
    async with await psycopg.AsyncConnection.connect(urls[COLLECTOR], autocommit=True) as connection:
        await connection.execute("SET timezone = 'UTC'")
        assert (await Appender(built_in("facebook")).append(connection, orjson.dumps([facebook(1)]))).new == 1
    pool = open_pool(urls[REPORTER], name="reporter", read_only=True, max_size=1)
    await pool.open()
    try:
        async with reports.snapshot(pool) as store:
            assert (await reports.totals(store))["facebook"].events == 1
    finally:
        await pool.close()


_NOBODY = (
    "DROP TABLE events",
    "DROP TABLE dead_letters",
    "DROP SCHEMA public CASCADE",
    "DROP DATABASE eventpipeline",
    "TRUNCATE events",
    "ALTER TABLE events DETACH PARTITION events_default",
    "ALTER TABLE events ADD COLUMN more text",
    "DELETE FROM schema_versions",
    "INSERT INTO dropped_days (day) VALUES ('2026-01-01')",
    "CREATE TABLE mine (id int)",
    "CREATE TEMPORARY TABLE mine (id int)",
    "CREATE ROLE other SUPERUSER",
    "ALTER ROLE eventpipeline_owner PASSWORD 'x'",
    "SET ROLE eventpipeline_owner",
    "COPY events TO PROGRAM 'cat'",
    "SELECT pg_read_file('PG_VERSION')",
)  # fmt: skip
_REPORTER = (
    "INSERT INTO events SELECT * FROM events",
    "UPDATE events SET user_id = 'x'",
    "DELETE FROM events",
    "DELETE FROM events_default",
    "UPDATE rollup_events SET events = 0",
    "DELETE FROM rollup_users",
    "INSERT INTO dead_letters SELECT * FROM dead_letters",
    "UPDATE dead_letters SET reason = 'x'",
    "INSERT INTO erasures (source, users) VALUES ('facebook', 1)",
    "BEGIN; LOCK TABLE events IN SHARE MODE",
)


@pytest.mark.parametrize(
    ("role", "statement"),
    [*((role, one) for role in (COLLECTOR, REPORTER) for one in _NOBODY), *((REPORTER, one) for one in _REPORTER)],
)
def test_who_may_not_cannot(role: str, statement: str, urls: dict[str, str]) -> None:
    with psycopg.connect(urls[role], autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")  # that would be its own choice
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)


def test_the_reporter_drops_dead_letters_and_nothing_else(urls: dict[str, str]) -> None:
    with psycopg.connect(urls[REPORTER], autocommit=True) as connection:
        assert connection.execute("DELETE FROM dead_letters WHERE reason = 'none'").rowcount == 0


def test_a_database_of_an_earlier_release_gets_the_roles_at_the_next_migrate(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as superuser:
        with psycopg.connect(superuser, autocommit=True) as connection:
            connection.execute("CREATE ROLE eventpipeline_service")
            connection.execute(
                "ALTER DEFAULT PRIVILEGES GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO eventpipeline_service"
            )
        migrate(superuser)
        maintain(superuser, date(2026, 11, 1), None)
        make_logins(superuser, {COLLECTOR: "c", REPORTER: "r"})
        assert migrate(superuser) == ()
        urls = {"owner": superuser}
        assert rights(urls, COLLECTOR)["schema_versions"] == {"SELECT"}
        assert rights(urls, REPORTER).keys() == tables(urls)


def test_a_database_without_the_roles_belongs_to_its_one_role(tmp_path: Path) -> None:
    with postgres_server(tmp_path) as superuser:
        migrate(superuser)
        maintain(superuser, TODAY, None)
        assert migrate(superuser) == ()


def test_the_owner_gives_the_services_new_passwords_while_they_are_connected(urls: dict[str, str]) -> None:
    place = urls["owner"].rpartition("@")[2]

    def all_with(password: str) -> list[str]:
        return [f"postgresql://{login}:{password}@{place}" for login in LOGINS]

    assert renew_logins(urls["owner"], all_with("first")) == list(LOGINS)
    assert renew_logins(urls["owner"], all_with("first")) == [], "they can log in"
    with ExitStack() as stack:
        opened = [stack.enter_context(psycopg.connect(url)) for url in all_with("first")]
        # Every collector that starts does this.
        with ThreadPoolExecutor(4) as pool:
            done = [pool.submit(renew_logins, urls["owner"], all_with("second")) for _ in range(8)]
        assert {login for one in done for login in one.result()} == set(LOGINS)
        assert [one.execute("SELECT 1").fetchone() for one in opened] == [(1,), (1,)]
    for url in all_with("second"):
        psycopg.connect(url).close()
    for url in all_with("first"):
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            psycopg.connect(url)


def test_whoever_may_not_give_passwords_says_so(urls: dict[str, str]) -> None:
    place = urls["owner"].rpartition("@")[2]
    for by, role in (("owner", "postgres"), ("owner", "nobody_of_this_name"), (COLLECTOR, LOGINS[0])):
        with pytest.raises(
            StoreUnavailable, match=rf"{role} cannot log in, and cannot be given its password: .*next start"
        ):
            renew_logins(urls[by], [f"postgresql://{role}:wrong@{place}"])


def test_the_owner_is_no_service_and_reads_no_password(urls: dict[str, str]) -> None:
    with psycopg.connect(urls["owner"], autocommit=True) as connection:
        for login in LOGINS:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(f"SET ROLE {login}")  # type: ignore[call-overload]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT rolpassword FROM pg_authid")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER ROLE postgres PASSWORD 'x'")
