"""Migrations on a real PostgreSQL, and what a worker does with the tables that it finds."""

import asyncio
import os
import subprocess
import sys

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from postgres import database, empty_database, engine, postgres_server
from sqlalchemy import Connection, inspect, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker_processors import migrate, storage
from queueworker_processors.database import open_database
from queueworker_processors.storage import DatabaseError, metadata

__all__ = ["database", "empty_database", "engine", "postgres_server"]


def dsn(url: URL) -> str:
    return url.render_as_string(hide_password=False)


def tables_of(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names())


async def test_migrated_tables_are_the_declared_ones(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        differences = await connection.run_sync(lambda c: compare_metadata(MigrationContext.configure(c), metadata))

    assert differences == []


async def test_an_empty_database_is_migrated_and_a_second_time_nothing_happens(empty_database: URL) -> None:
    first = await migrate.upgrade(empty_database)
    second = await migrate.upgrade(empty_database)

    assert first == (None, "0001")
    assert second == ("0001", "0001")


async def test_eight_workers_that_start_at_once_migrate_once(empty_database: URL) -> None:
    results = await asyncio.gather(*(migrate.upgrade(empty_database) for _ in range(8)))

    assert sorted(before or "" for before, _ in results) == ["", *["0001"] * 7]


async def test_a_migration_that_fails_leaves_the_tables_as_they_were(empty_database: URL) -> None:
    engine = storage.create_engine(empty_database, size=1)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("CREATE TABLE market_prices (other int)"))
        with pytest.raises(DatabaseError, match="market_prices"):
            await migrate.upgrade(empty_database)
        async with engine.connect() as connection:
            assert await connection.run_sync(tables_of) == {"market_prices"}
    finally:
        await engine.dispose()


async def test_a_worker_refuses_tables_that_are_too_old(empty_database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn(empty_database))

    with pytest.raises(DatabaseError, match=r"is at revision none, 0001 is needed: run `python -m"):
        async with open_database():
            pytest.fail("the tables are missing")


async def test_a_worker_migrates_where_it_is_told_to(empty_database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn(empty_database))
    monkeypatch.setenv("DATABASE_MIGRATE", "true")

    async with open_database() as engine, engine.connect() as connection:
        assert "killmails" in await connection.run_sync(tables_of)


async def test_a_worker_accepts_tables_of_a_newer_release(database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", dsn(database))
    engine = storage.create_engine(database, size=1)
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    await engine.dispose()

    async with open_database() as engine, engine.connect() as connection:
        assert await connection.scalar(text("SELECT 1")) == 1


async def test_an_unreachable_database_is_one_line_without_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:hunter2@127.0.0.1:1/killboard")

    with pytest.raises(DatabaseError, match=r"^PostgreSQL at 127\.0\.0\.1:1/killboard cannot be used: ") as caught:
        async with open_database():
            pytest.fail("nobody listens there")

    assert "hunter2" not in str(caught.value)


def migrate_command(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "queueworker_processors.migrate"]
    environment = {**os.environ, "DATABASE_URL": url}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_the_command_says_what_it_did(empty_database: URL) -> None:
    first, second = migrate_command(dsn(empty_database)), migrate_command(dsn(empty_database))

    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert "no tables -> 0001" in first.stdout
    assert "is at 0001 already" in second.stdout


def test_the_command_fails_with_one_line() -> None:
    failed = migrate_command("mysql://user:hunter2@host/db")

    assert failed.returncode == 1
    assert failed.stderr.startswith("error: DATABASE_URL begins with mysql://")
    assert len(failed.stderr.splitlines()) == 1
