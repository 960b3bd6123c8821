"""The threads that run processors, and what of them may be left when a worker ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

_NAME = "processor"
_SPARE = 100
_POLL_SECONDS = 0.01


@contextmanager
def slot_threads(count: int) -> Iterator[ThreadPoolExecutor | None]:
    """Yield a thread for every slot that may run a `def` processor, so that a job that was taken never waits.

    Threads start when they are needed. The spare ones stand in for those whose attempts timed out and that go on.
    """
    if not count:
        yield None
        return
    with _left_behind(ThreadPoolExecutor(count + _SPARE, thread_name_prefix=_NAME)) as threads:
        yield threads


@contextmanager
def default_threads(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Let `asyncio.to_thread` use threads of ours: for those of the loop's own its end would wait."""
    with _left_behind(ThreadPoolExecutor(thread_name_prefix=_NAME)) as threads:
        loop.set_default_executor(threads)
        yield


async def all_ended(*, seconds: float = 1.0) -> bool:
    """Cancel what processors left behind in this loop, and tell whether that ended and their threads did.

    Nothing can stop a thread, or a task that takes no notice of its cancel.
    """
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    try:
        async with asyncio.timeout(seconds):
            if tasks:
                await asyncio.wait(tasks)
            # Threads end without a word to the loop.
            while any(thread.name.startswith(_NAME) for thread in threading.enumerate()):  # noqa: ASYNC110
                await asyncio.sleep(_POLL_SECONDS)
    except TimeoutError:
        return False
    return True


@contextmanager
def _left_behind(threads: ThreadPoolExecutor) -> Iterator[ThreadPoolExecutor]:
    try:
        yield threads
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
