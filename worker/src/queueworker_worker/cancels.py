"""Telling a cancel that is meant for us from one that leaked out of other people's code."""

from __future__ import annotations

import asyncio


def is_cancelled(error: BaseException) -> bool:
    """Tell whether an error is the cancel of the running task: it must go on rising."""
    if not isinstance(error, asyncio.CancelledError):
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
