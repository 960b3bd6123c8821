"""Running a processor in a task of its own: nothing that it does to its task or its context reaches another job."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from queueworker_worker.job import Job

Handler = Callable[[Job], Awaitable[Any]]
Ended = tuple[Any, BaseException | None]
"""What a processor returned and None, or None and whatever it raised, SystemExit and a cancel too."""


def begin(handler: Handler, job: Job) -> asyncio.Task[Ended]:
    """Start the processor."""
    loop = asyncio.get_running_loop()
    if sys.version_info >= (3, 12):
        # Its first step is run here and now, which spares a turn of the loop.
        return asyncio.Task(_guarded(handler, job), loop=loop, eager_start=True)
    return loop.create_task(_guarded(handler, job))


async def end_of(attempt: asyncio.Task[Ended]) -> Ended:
    """Wait for the processor's end."""
    try:
        return await attempt
    except asyncio.CancelledError as cancelled:
        waiter = asyncio.current_task()
        if not attempt.cancelled() or waiter is None or waiter.cancelling():
            raise
        # It was cancelled before its first step, when there was nothing yet that could catch it.
        return None, cancelled


async def _guarded(handler: Handler, job: Job) -> Ended:
    try:
        return await handler(job), None
    except BaseException as error:  # noqa: BLE001 - nothing that a processor raises may end the worker
        return None, error
