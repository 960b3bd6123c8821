"""Cancels that Python 3.11 loses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def kept_cancels() -> Iterator[None]:
    """Raise CancelledError at the end of the block if the running task was told to end in it and did not feel that.

    Python 3.11's `asyncio.wait_for`, by which redis-py sends, takes no notice of a cancel that comes as it ends;
    3.12's does.
    """
    task = asyncio.current_task()
    before = task.cancelling() if task is not None else 0
    try:
        yield
    finally:
        # Also where the block failed: who tries again would lose the cancel for good.
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
