"""The database of processors: one engine per process, opened once its tables are the ones expected.

Environment: that of `queueworker_processors.storage`, and `DATABASE_MIGRATE=true` (bring the tables up to date when
the worker starts).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker_processors import migrate, storage


@asynccontextmanager
async def open_database() -> AsyncIterator[AsyncEngine]:
    """Yield the engine of this process, its tables checked; a dependency of processors.

    Raises SettingsError, and DatabaseError where the database cannot be reached or its tables are too old.
    """
    url = storage.database_url(os.environ)
    engine = storage.create_engine(url, size=storage.pool_size(os.environ))
    try:
        if os.environ.get("DATABASE_MIGRATE", "").lower() in {"true", "1"}:
            await migrate.upgrade(url)
        else:
            await migrate.check(engine, url)
        yield engine
    finally:
        await engine.dispose()
