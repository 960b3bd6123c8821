"""`--burst`: work until no queue holds a job that could be taken, then end."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from queueworker.errors import RedisReadError
from queueworker.keys import QueueKeys

if TYPE_CHECKING:
    from queueworker.snapshot import QueueSnapshot

_log = logging.getLogger(__name__)
PATIENCE_SECONDS = 60.0
"""How long idle workers wait for jobs that are there and that they may not take."""

_LOOK_SECONDS = 0.05
_LOOK_AGAIN_SECONDS = 0.25

Read = Callable[[Sequence[QueueKeys]], Awaitable[Mapping[QueueKeys, "QueueSnapshot | RedisReadError"]]]


class Working(Protocol):
    """What a burst wants to know of a worker."""

    @property
    def idle(self) -> bool:
        """It holds no job, and its last look found none that it could take."""

    @property
    def jobs_done(self) -> int:
        """Attempts whose end was recorded."""


class Burst:
    """Finds out when there is nothing more to take.

    A paused queue counts as empty, and how many jobs wait there is told. A queue whose jobs may not be taken now (rate
    limit, global concurrency) is waited for; where no job at all has ended for `patience` seconds the burst is over and
    what is left is told. Delayed jobs that are not due are left and counted. While Redis cannot be read the burst goes
    on: unknown is not empty.
    """

    def __init__(
        self,
        workers: Sequence[Working],
        queues: Sequence[QueueKeys],
        read: Read,
        *,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._workers, self._queues, self._read = workers, queues, read
        self._patience, self._clock = patience, clock
        self._unknown = False
        self.delayed = 0
        """Delayed jobs that were left."""

    async def over(self) -> None:
        """Return when the burst is over."""
        done, since = -1, self._clock()
        while True:
            while not self._idle:  # noqa: ASYNC110 - whoever is idle tells nobody
                await asyncio.sleep(_LOOK_SECONDS)
            if done != self._jobs_done:
                done, since = self._jobs_done, self._clock()
            found = await self._snapshots()
            # A job that was taken meanwhile may have made others.
            if found is not None and self._idle and done == self._jobs_done:
                waits = any(one.backlog and not one.paused for one in found)
                if not waits or self._clock() - since >= self._patience:
                    return self._say_left(found)
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    @property
    def _idle(self) -> bool:
        return all(worker.idle for worker in self._workers)

    @property
    def _jobs_done(self) -> int:
        return sum(worker.jobs_done for worker in self._workers)

    async def _snapshots(self) -> Collection[QueueSnapshot] | None:
        found: list[QueueSnapshot] = []
        for keys, outcome in (await self._read(self._queues)).items():
            if isinstance(outcome, RedisReadError):
                if not self._unknown:
                    _log.warning("queue %s: whether it is empty is not known: %s", keys.queue, outcome)
                self._unknown = True
                return None
            found.append(outcome)
        self._unknown = False
        return found

    def _say_left(self, found: Collection[QueueSnapshot]) -> None:
        for one in found:
            if one.backlog:
                _log.warning("queue %s: %d jobs are left: %s", one.queue, one.backlog, self._why(one))
        self.delayed = sum(one.delayed - one.delayed_due for one in found)

    def _why(self, one: QueueSnapshot) -> str:
        if one.paused:
            return "the queue is paused"
        if one.rate_limited_for_ms:
            return f"its rate limit holds for {one.rate_limited_for_ms / 1000:g} s more"
        if one.global_concurrency is not None and one.active >= one.global_concurrency:
            return f"other workers run the {one.global_concurrency} jobs of its global concurrency"
        return f"none could be taken for {self._patience:g} s"
