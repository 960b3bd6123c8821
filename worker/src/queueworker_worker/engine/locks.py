"""Keeping the locks of running jobs, until the last of them ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator

from queueworker_worker.engine.link import Backoff, LinkError
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.scripts import QueueScripts

_log = logging.getLogger(__name__)


class LockKeeper(Collection[str]):
    """The jobs that we hold, as a collection of their ids; `run` renews their locks at half of their life."""

    def __init__(
        self, scripts: QueueScripts, options: EngineOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._scripts, self._options, self._clock = scripts, options, clock
        self._tokens: dict[str, str] = {}

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._tokens

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)

    def hold(self, job_id: str, token: str) -> None:
        """Renew the lock of a job from now on."""
        self._tokens[job_id] = token

    def release(self, job_id: str, token: str) -> None:
        """Renew the lock of a job no more."""
        if self._tokens.get(job_id) == token:
            del self._tokens[job_id]

    def held(self) -> dict[str, str]:
        """Return the jobs held, id to token."""
        return dict(self._tokens)

    async def run(self) -> None:
        """Renew for ever; after a failure sooner, because half of the life is already gone."""
        interval, backoff = self._options.lock_ms / 2000, Backoff(cap=0.5)
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
        held = self.held()
        if not held:
            return True
        try:
            lost = await self._scripts.extend_locks(held)
        except LinkError as error:
            _log.warning("queue %s: %d locks not renewed: %s", self._options.queue, len(held), error)
            return False
        for job_id in lost:
            token = held[job_id]
            if self._tokens.get(job_id) == token:
                self.release(job_id, token)
                _log.error("queue %s: job %s lost its lock: another worker may run it too", self._options.queue, job_id)
        return True

    def _complain_of_lag(self, seconds: float) -> None:
        if seconds > self._options.lock_ms / 2000:
            _log.error(
                "queue %s: the event loop stood still for %.1f s, longer than half a lock: "
                "declare processors that block as `def`, they run in threads",
                self._options.queue,
                seconds,
            )
