"""Running a processor in the task of its slot, in a context of its own.

A task per job would cost more than all else that the engine does for a job. What a task would have kept apart is kept
apart here: context variables, and cancels that the processor leaves behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import copy_context
from typing import Any

from queueworker_worker.job import Job

Handler = Callable[[Job], Awaitable[Any]]


async def attempt(handler: Handler, job: Job) -> tuple[Any, BaseException | None]:
    """Return what the processor returned and None, or None and whatever it raised, SystemExit and a cancel too."""
    running = _InContext(_call(handler, job))
    try:
        value, error = await running, None
    except BaseException as raised:
        # Nothing else that a processor raises may end the worker.
        if running.closed:
            raise
        value, error = None, raised
    if absorb_cancels():
        # One that came after the processor's last await would hit ours.
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            absorb_cancels()
    return value, error


def absorb_cancels() -> bool:
    """Take back the cancels of the running task, and tell whether there were any."""
    task = asyncio.current_task()
    if task is None or not task.cancelling():
        return False
    while task.uncancel():
        pass
    return True


async def _call(handler: Handler, job: Job) -> Any:
    return await handler(job)


class _InContext:
    """Awaits a coroutine whose steps all run in a copy of the current context."""

    __slots__ = ("_coroutine", "closed")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.closed = False
        """Whoever awaits is being closed, as at the end of a loop."""

    def __await__(self) -> Generator[Any, Any, Any]:
        run, coroutine = copy_context().run, self._coroutine
        step: Callable[[Any], Any] = coroutine.send
        value: Any = None
        while True:
            try:
                waits_for = run(step, value)
            except StopIteration as end:
                return end.value
            try:
                value = yield waits_for
                step = coroutine.send
            except BaseException as error:  # noqa: BLE001 - the coroutine decides what becomes of it
                self.closed = isinstance(error, GeneratorExit)
                step, value = coroutine.throw, error
