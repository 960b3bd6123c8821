"""Telling a cancel that is meant for us from one that leaked out of other people's code."""

from __future__ import annotations

import asyncio


def is_cancelled(error: BaseException) -> bool:
    """Tell whether an error is the cancel of the running task: it must go on rising."""
    task = asyncio.current_task()
    return isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling() > 0
