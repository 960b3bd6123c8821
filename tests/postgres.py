"""A real PostgreSQL: one server for each module that imports these fixtures, a database of its own for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import asyncpg
import pytest
import pytest_asyncio
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker_processors import migrate, storage
from queueworker_processors.embedded import embedded_postgres

TEMPLATE = "migrated"
_names = count(1)


async def _administer(server: URL, *statements: str) -> None:
    connection = await asyncpg.connect(dsn=server.render_as_string(hide_password=False))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _prepare(server: URL) -> None:
    # Nothing here has to survive a power cut.
    await _administer(server, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()", f"CREATE DATABASE {TEMPLATE}")
    await migrate.upgrade(server.set(database=TEMPLATE))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """Where the server is; its database `migrated` is the template of the others."""
    with embedded_postgres() as text:
        server = storage.database_url({"DATABASE_URL": text})
        asyncio.run(_prepare(server))
        yield server


async def _database(server: URL, template: str) -> AsyncIterator[URL]:
    name = f"test_{next(_names)}"
    await _administer(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield server.set(database=name)
    await _administer(server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def empty_database(postgres_server: URL) -> AsyncIterator[URL]:
    """A database without tables."""
    async for url in _database(postgres_server, "template1"):
        yield url


@pytest_asyncio.fixture
async def database(postgres_server: URL) -> AsyncIterator[URL]:
    """A database with all tables, empty."""
    async for url in _database(postgres_server, TEMPLATE):
        yield url


@pytest_asyncio.fixture
async def engine(database: URL) -> AsyncIterator[AsyncEngine]:
    """An engine on a database with all tables."""
    engine = storage.create_engine(database, size=8)
    yield engine
    await engine.dispose()
