"""Bring the tables up to date: `python -m queueworker_processors.migrate` with `DATABASE_URL` set.

Any number of processes may do it at once: the first one migrates, the others wait and find nothing to do. All
migrations run in one transaction, so that a failed one leaves the tables as they were.
"""

from __future__ import annotations

import asyncio
import os
import sys

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker.errors import QueueWorkerError
from queueworker_processors import storage

# Any number will do, as long as nobody else takes it: the first bytes of "queueworker", read as one.
_LOCK = int.from_bytes(b"queuewor")
_UNREACHABLE = (OSError, TimeoutError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def upgrade(url: URL) -> tuple[str | None, str | None]:
    """Run the migrations that are missing; return the revision before and after. Raises DatabaseError."""
    engine = storage.create_engine(url, size=1)
    try:
        async with engine.begin() as connection:
            # Held until the transaction ends, and it works through a connection pooler too.
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            return await connection.run_sync(_upgrade)
    except _UNREACHABLE as error:
        raise storage.unreachable(url, error) from error
    finally:
        await engine.dispose()


async def check(engine: AsyncEngine, url: URL) -> None:
    """Raise DatabaseError unless the tables are at least as new as these processors need.

    A revision that is not known here is newer: migrations add first and remove a release later, so that workers of
    two releases can share the tables.
    """
    try:
        async with engine.connect() as connection:
            found = await connection.run_sync(_revision)
    except _UNREACHABLE as error:
        raise storage.unreachable(url, error) from error
    scripts = ScriptDirectory.from_config(_config())
    known = {script.revision for script in scripts.walk_revisions()}
    if found is None or (found in known and found != scripts.get_current_head()):
        needed = scripts.get_current_head()
        raise storage.DatabaseError(
            f"the database {storage.address(url)} is at revision {found or 'none'}, {needed} is needed: run "
            "`python -m queueworker_processors.migrate`, or set DATABASE_MIGRATE=true"
        )


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "queueworker_processors:migrations")
    config.attributes["connection"] = connection
    return config


def _upgrade(connection: Connection) -> tuple[str | None, str | None]:
    before = _revision(connection)
    command.upgrade(_config(connection), "head")
    return before, _revision(connection)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def main() -> int:
    """Migrate the database of DATABASE_URL; return the exit code."""
    try:
        url = storage.database_url(os.environ)
        before, after = asyncio.run(upgrade(url))
    except QueueWorkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    where = storage.address(url)
    print(f"{where} is at {after} already" if before == after else f"{where}: {before or 'no tables'} -> {after}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
