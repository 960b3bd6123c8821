"""Reading again and again, through times in which the API server does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from queueworker.cli.output import message
from queueworker_operator.cluster.kubernetes.errors import NotFoundError
from queueworker_operator.cluster.port import ClusterUnavailableError, ConflictError

T = TypeVar("T")
POLL_SECONDS = 1.0


async def readings(read: Callable[[], Awaitable[T]], *, pause: float = POLL_SECONDS) -> AsyncIterator[T]:
    """Yield what is read, again and again, `pause` seconds between two; raises ClusterError.

    That the API server does not answer ends the first reading alone: later ones are tried again, which stderr tells.
    """
    yield await read()
    while True:
        await asyncio.sleep(pause)
        yield await _patiently(read, pause)


async def _patiently(read: Callable[[], Awaitable[T]], pause: float) -> T:
    told = False
    while True:
        try:
            found = await read()
        except NotFoundError:
            raise
        # A list that changes faster than its pages are read is one to be read again, too.
        except (ClusterUnavailableError, ConflictError) as error:
            if not told:
                message(f"warning: {error}; trying again")
            told = True
            wanted = error.retry_after_seconds if isinstance(error, ClusterUnavailableError) else None
            await asyncio.sleep(max(pause, wanted or 0.0))
            continue
        if told:
            message("the API server answers again")
        return found
