"""One Postgres and one nats-server for all integration tests that do not treat them badly."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import psycopg
import pytest

from eventpipeline.store.schema import migrate
from servers import nats_server, postgres_server

_numbers = count(1)


@pytest.fixture(scope="session")
def shared_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with nats_server(tmp_path_factory.mktemp("nats"), max_file_bytes=8 * 2**30) as url:
        yield url


@pytest.fixture
def empty_database(shared_postgres: str) -> Iterator[str]:
    """The URL of a database with nothing in it."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(shared_postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
        yield shared_postgres.rsplit("/", 1)[0] + f"/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]


@pytest.fixture
def database(empty_database: str) -> str:
    """The URL of a database with the schema of this release."""
    migrate(empty_database)
    return empty_database


@pytest.fixture
def stream_prefix() -> str:
    """A prefix of stream names that no other test has."""
    return f"t{next(_numbers)}-"
