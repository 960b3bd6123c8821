"""Running the workers of a process side by side: until a signal, a broken loop, or the end of the work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from typing import Any

from queueworker_worker.engine.worker import Worker
from queueworker_worker.health import Health
from queueworker_worker.settings import WorkerSettings

_log = logging.getLogger(__name__)
_LAST_WAIT_SECONDS = 6.0


class Ending:
    """When to end: `drain` at the first SIGTERM or SIGINT, `now` at a second SIGINT."""

    def __init__(self) -> None:
        self.drain = asyncio.Event()
        self.now = asyncio.Event()
        self.last_words = ""
        """What the last line of the log says besides."""

    def terminate(self) -> None:
        """SIGTERM: finish what runs."""
        self.drain.set()

    def interrupt(self) -> None:
        """SIGINT: the same, and the second time at once."""
        (self.now if self.drain.is_set() else self.drain).set()


class Lifecycle:
    """The workers of one process, from their start to the process's exit code."""

    def __init__(self, workers: Sequence[Worker], settings: WorkerSettings, *, ending: Ending, health: Health) -> None:
        self._workers, self._settings, self._ending, self._health = workers, settings, ending, health
        self._name = settings.name
        self._runs: dict[asyncio.Task[None], Worker] = {}
        self._code = 0

    async def run(self, beside: Iterable[asyncio.Future[None]] = ()) -> int:
        """Run to the end and return the exit code: 0, or 1 where a loop broke or jobs could not be given back.

        What runs `beside` the workers is cancelled when they end; where it breaks they end too.
        """
        self._runs = {asyncio.create_task(worker.run()): worker for worker in self._workers}
        others = [asyncio.create_task(self._say_ready()), *beside]
        for one in others:
            one.add_done_callback(self._ended_beside)
        try:
            await self._until_the_end()
            if not all(run.done() for run in self._runs):
                await self._drain()
        except asyncio.CancelledError:
            # A program that embeds the workers ends them so.
            await self._give_back(list(self._runs))
            raise
        finally:
            for one in others:
                one.cancel()
            await asyncio.gather(*others, return_exceptions=True)
        return self._say_the_end()

    def _ended_beside(self, one: asyncio.Future[None]) -> None:
        if not one.cancelled() and (error := one.exception()) is not None:
            _log.error("worker %s ends: %s: %s", self._name, type(error).__name__, error)
            self._code = 1
            self._ending.terminate()

    async def _until_the_end(self) -> None:
        """Wait for a signal, for a loop that breaks, or until all loops have ended by themselves."""
        told = asyncio.create_task(self._ending.drain.wait())
        waiting: set[asyncio.Task[Any]] = {told, *self._runs}
        try:
            while waiting != {told}:
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                broken = [run for run in self._runs if run in done and _error_of(run) is not None]
                if broken:
                    self._health.end(", ".join(self._runs[run].queue for run in broken))
                if broken or told in done:
                    return
        finally:
            told.cancel()

    async def _drain(self) -> None:
        running = sum(worker.jobs_running for worker in self._workers)
        seconds = self._settings.drain_timeout_seconds
        _log.info("worker %s drains: %d jobs running, at most %g s", self._name, running, seconds)
        for worker in self._workers:
            worker.drain()
        left = await self._wait(seconds)
        if not left:
            return
        why = "interrupted again" if self._ending.now.is_set() else f"not ended after {seconds:g} s"
        running = sum(self._runs[run].jobs_running for run in left)
        _log.warning("worker %s gives back %d jobs: %s", self._name, running, why)
        await self._give_back(left)

    async def _give_back(self, runs: Collection[asyncio.Task[None]]) -> None:
        await asyncio.gather(*(self._runs[run].give_back() for run in runs if not run.done()))
        await asyncio.wait(runs, timeout=_LAST_WAIT_SECONDS)

    async def _wait(self, seconds: float) -> set[asyncio.Task[None]]:
        """Wait until all have ended, the time is up or there is a hurry; return those that have not ended."""
        everything = asyncio.ensure_future(asyncio.wait(self._runs))
        hurry = asyncio.create_task(self._ending.now.wait())
        await asyncio.wait({everything, hurry}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for one in (everything, hurry):
            one.cancel()
        return {run for run in self._runs if not run.done()}

    async def _say_ready(self) -> None:
        await until_ready(self._workers)
        _log.info("worker %s is ready", self._name)

    def _say_the_end(self) -> int:
        for run, worker in self._runs.items():
            if (error := _error_of(run)) is not None:
                _log.error("queue %s: the worker's loop broke: %s: %s", worker.queue, type(error).__name__, error)
                self._code = 1
        if left := sum(worker.jobs_left for worker in self._workers):
            _log.error("worker %s: %d jobs are left to the stalled check of other workers", self._name, left)
            self._code = 1
        done = sum(worker.jobs_done for worker in self._workers)
        back = sum(worker.jobs_given_back for worker in self._workers)
        _log.info("worker %s ends: %d jobs ended, %d given back%s", self._name, done, back, self._ending.last_words)
        return self._code


async def until_ready(workers: Sequence[Worker]) -> None:
    """Wait until all workers are ready."""
    # Many parts of a worker make up its readiness, and nobody else wants to be woken by it.
    while not all(worker.ready for worker in workers):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


def _error_of(run: asyncio.Task[None]) -> BaseException | None:
    if run.done() and run.cancelled():
        return RuntimeError("it was cancelled by something else in this process")
    return run.exception() if run.done() else None
