"""PostgreSQL for processors: where it is, how many connections a process may open, and the registry of its tables.

Environment: `DATABASE_URL` (required), `DATABASE_POOL_SIZE` (default: the slots of the queues that this process
serves).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import asyncpg
from sqlalchemy import MetaData
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from queueworker.errors import QueueWorkerError, SettingsError

DATABASE_URL = "DATABASE_URL"
_DRIVERS = {"postgres", "postgresql", "postgresql+asyncpg"}
_DEFAULT_SLOTS = 10
_CONNECT_TIMEOUT_SECONDS = 10
_STATEMENT_TIMEOUT_SECONDS = 60
_MOST_CONNECTIONS = 100

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class DatabaseError(QueueWorkerError):
    """The database cannot be reached, or its tables are not the ones that the processors need."""


def database_url(environment: Mapping[str, str]) -> URL:
    """Read `DATABASE_URL`: `postgresql://user:password@host/database`, with libpq's parameters if need be.

    Raises SettingsError, whose text never holds the password.
    """
    text = environment.get(DATABASE_URL, "")
    if not text:
        raise SettingsError(f"{DATABASE_URL} is not set: set it to postgresql://user:password@host/database")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        # The error's own text repeats what it could not parse, which may hold a password.
        raise SettingsError(f"{DATABASE_URL} is no URL: set it to postgresql://user:password@host/database") from None
    if url.drivername not in _DRIVERS:
        raise SettingsError(f"{DATABASE_URL} begins with {url.drivername}://: only PostgreSQL (postgresql://) is known")
    return url.set(drivername="postgresql")


def pool_size(environment: Mapping[str, str]) -> int:
    """Return how many connections a process may open: one for each job that it can run at a time."""
    text = environment.get("DATABASE_POOL_SIZE", "")
    if text:
        if not text.isdecimal() or not 1 <= int(text) <= _MOST_CONNECTIONS:
            raise SettingsError(f"DATABASE_POOL_SIZE is {text!r}: a number from 1 to {_MOST_CONNECTIONS} is needed")
        return int(text)
    try:
        slots = sum(int(queue.get("concurrency", 1)) for queue in json.loads(environment["QUEUEWORKER_QUEUES"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        # What the queues are is the worker's to judge, not ours.
        slots = _DEFAULT_SLOTS
    return max(1, min(slots, _MOST_CONNECTIONS))


def create_engine(url: URL, *, size: int) -> AsyncEngine:
    """Return an engine that opens up to `size` connections when they are needed; the caller disposes of it."""

    async def connect() -> Any:
        # asyncpg reads the URL itself, so that libpq's parameters (sslmode, sslrootcert, host=/socket) mean the same.
        return await asyncpg.connect(
            dsn=url.render_as_string(hide_password=False),
            timeout=_CONNECT_TIMEOUT_SECONDS,
            command_timeout=_STATEMENT_TIMEOUT_SECONDS,
            server_settings={"application_name": "queueworker"},
        )

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=size,
        max_overflow=0,
        pool_pre_ping=True,
        isolation_level="READ COMMITTED",
        # Rows would end up in the failure reason of a job.
        hide_parameters=True,
    )


def unreachable(url: URL, error: Exception) -> DatabaseError:
    """Return what to say of a database that did not answer; holds no password."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return DatabaseError(f"PostgreSQL at {address(url)} cannot be used: {type(cause).__name__}: {cause}")


def address(url: URL) -> str:
    """What to call this database in a message: host, port and name."""
    socket = url.query.get("host")
    return f"{url.host or socket or 'localhost'}:{url.port or 5432}/{url.database or ''}"
