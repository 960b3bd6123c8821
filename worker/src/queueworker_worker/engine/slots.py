"""The slots of a worker: as many as it may run jobs at a time, each a task that lives as long as the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from queueworker_worker.engine.attempt import Ended, Handler, begin, end_of
from queueworker_worker.job import Job

_CANCELS = 10
_CANCEL_SECONDS = 0.5


class Slot:
    """One place for one job at a time."""

    __slots__ = ("_attempt", "_job", "retired", "task", "token")

    def __init__(self, token: str) -> None:
        self.token = token
        """The lock token of its jobs."""
        self.retired = False
        """It takes no more jobs."""
        self.task: asyncio.Task[None] | None = None
        self._job: Job | None = None
        self._attempt: asyncio.Task[Ended] | None = None

    def is_retired(self) -> bool:
        """Tell whether it is."""
        return self.retired

    async def run(self, handler: Handler, job: Job) -> Ended:
        """Run a job's processor."""
        self._job, self._attempt = job, begin(handler, job)
        try:
            return await end_of(self._attempt)
        finally:
            self._job = self._attempt = None

    def cancel(self, chosen: Callable[[Job], bool], reason: str | None) -> bool:
        """Cancel the processor that runs, if its job is a chosen one."""
        if self._job is None or self._attempt is None or not chosen(self._job):
            return False
        self._job.cancel_reason = reason or self._job.cancel_reason
        return self._attempt.cancel()


class Slots:
    """Runs `serve` in every slot; more of them and fewer while it runs."""

    def __init__(self, serve: Callable[[Slot], Awaitable[None]], wanted: int) -> None:
        self._serve = serve
        self._slots: list[Slot] = []
        self._name = ""
        self._made = 0
        self._over: asyncio.Future[None] | None = None
        self.wanted = _counted(wanted)
        """How many there are, but for those that still end."""

    async def run(self, name: str, *, beside: Iterable[asyncio.Task[Any]]) -> None:
        """Run until the last slot ends; raises what a slot, or one of the tasks beside them, raises."""
        self._name, self._over = name, asyncio.get_running_loop().create_future()
        for task in beside:
            task.add_done_callback(self._beside_ended)
        self.resize(self.wanted)
        await self._over

    def resize(self, wanted: int) -> None:
        """Have so many slots; those too many end with the jobs that they run. Raises ValueError below 1."""
        self.wanted = _counted(wanted)
        if self._over is None or self._over.done():
            return
        serving = [slot for slot in self._slots if not slot.retired]
        for slot in serving[wanted:]:
            slot.retired = True
        missing = wanted - len(serving)
        # Of an idle worker those too many still wait for their turn to look, and to end.
        ending = [slot for slot in self._slots if slot.retired and slot.task is not None and not slot.task.done()]
        for slot in ending[: max(0, missing)]:
            slot.retired = False
            missing -= 1
        for _ in range(missing):
            self._start()

    def cancel(self, chosen: Callable[[Job], bool], reason: str | None) -> int:
        """Throw CancelledError into the processors of the chosen jobs, and return how many."""
        return sum(slot.cancel(chosen, reason) for slot in self._slots)

    async def ended(self, *, within_seconds: float) -> None:
        """Wait until all slots have ended, but not longer than that."""
        tasks = [slot.task for slot in self._slots if slot.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=within_seconds)

    def abandon(self) -> None:
        """Cancel the slots that are left and wait for them no more: `run` returns."""
        for slot in self._slots:
            if slot.task is not None:
                slot.task.cancel()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    def _start(self) -> None:
        slot = Slot(f"{self._name}-{self._made}")
        self._made += 1
        self._slots.append(slot)
        slot.task = asyncio.ensure_future(self._serve(slot))
        slot.task.add_done_callback(lambda task: self._ended(slot, task))

    def _ended(self, slot: Slot, task: asyncio.Future[None]) -> None:
        self._slots.remove(slot)
        error = _error_of(task)
        if self._over is None or self._over.done():
            return
        if error is not None:
            self._over.set_exception(error)
        elif not self._slots:
            self._over.set_result(None)

    def _beside_ended(self, task: asyncio.Task[Any]) -> None:
        error = _error_of(task)
        if error is not None and self._over is not None and not self._over.done():
            self._over.set_exception(error)


def _error_of(task: asyncio.Future[Any]) -> BaseException | None:
    if task.cancelled():
        # We cancel these only when all is over; a worker that went on without one of them would be deaf in part.
        return RuntimeError("a task of the worker was cancelled by something else in this process")
    return task.exception()


async def end_all(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for their end, five seconds at most.

    Once is not enough: a cancel that meets a timeout of redis-py, or of Python 3.11 itself, may be swallowed.
    """
    left = {task for task in tasks if not task.done()}
    for _ in range(_CANCELS):
        if not left:
            return
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_CANCEL_SECONDS)


def _counted(wanted: int) -> int:
    if wanted < 1:
        raise ValueError(f"concurrency {wanted}: a worker needs at least one slot; to take no jobs, pause it")
    return wanted
