"""Keeping the locks of running jobs, until the last of them ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from queueworker_worker.engine.link import Backoff, LinkError
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.scripts import QueueScripts

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Hold:
    """One time of holding a job: the same job taken again is another one."""

    token: str


class LockKeeper(Collection[str]):
    """The jobs that we hold, as a collection of their ids; `run` renews their locks."""

    def __init__(
        self, scripts: QueueScripts, options: EngineOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._scripts, self._options, self._clock = scripts, options, clock
        self._holds: dict[str, _Hold] = {}

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._holds

    def __iter__(self) -> Iterator[str]:
        return iter(self._holds)

    def __len__(self) -> int:
        return len(self._holds)

    def hold(self, job_id: str, token: str) -> None:
        """Renew the lock of a job from now on."""
        self._holds[job_id] = _Hold(token)

    def release(self, job_id: str, token: str) -> None:
        """Renew the lock of a job no more."""
        hold = self._holds.get(job_id)
        if hold is not None and hold.token == token:
            del self._holds[job_id]

    def held(self) -> dict[str, str]:
        """Return the jobs held, id to token."""
        return {job_id: hold.token for job_id, hold in self._holds.items()}

    async def run(self) -> None:
        """Renew for ever; after a failure sooner, because half of the life is already gone."""
        interval, backoff = self._options.lock_renew_seconds, Backoff(cap=0.5)
        planned = self._clock() + interval
        while True:
            await asyncio.sleep(max(0.0, planned - self._clock()))
            self._complain_of_lag(self._clock() - planned)
            planned = self._clock() + interval
            if not await self._renew():
                planned = self._clock() + min(interval, backoff.pause())
            else:
                backoff.reset()

    async def _renew(self) -> bool:
        held = self._holds.copy()
        if not held:
            return True
        try:
            lost = await self._scripts.extend_locks({job_id: hold.token for job_id, hold in held.items()})
        except LinkError as error:
            _log.warning("queue %s: %d locks not renewed: %s", self._options.queue, len(held), error)
            return False
        for job_id in lost:
            # A job that ended meanwhile has no lock, and may even have been taken again.
            if self._holds.get(job_id) is held[job_id]:
                del self._holds[job_id]
                _log.error("queue %s: job %s lost its lock: another worker may run it too", self._options.queue, job_id)
        return True

    def _complain_of_lag(self, seconds: float) -> None:
        if seconds > self._options.lock_duration_ms / 2000:
            _log.error(
                "queue %s: the event loop stood still for %.1f s, longer than half a lock: "
                "declare processors that block as `def`, they run in threads",
                self._options.queue,
                seconds,
            )
