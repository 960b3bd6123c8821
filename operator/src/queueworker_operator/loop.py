"""The loop: which key is looked at when. One task per key, none waits for another."""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from queueworker_operator.cluster.port import ClusterError, ClusterUnavailableError

K = TypeVar("K", bound=Hashable)
logger = logging.getLogger(__name__)

_VOID_ENTRIES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopSettings:
    """How the loop spends its time; seconds."""

    concurrency: int = 64
    """Keys looked at at the same time;"""
    urgent_concurrency: int = 16
    """so many more where they are urgent."""
    deadline: float = 60.0
    """A look that takes longer has failed."""
    backoff: float = 1.0
    """Pause after the first failure of a key; doubles with each further one."""
    longest_backoff: float = 60.0
    beat: float = 5.0
    """The heartbeat is never older, while the loop lives."""


class Loop(Generic[K]):
    """Calls `reconcile(key)` for every key that was woken, one call per key at a time.

    `reconcile` answers in how many seconds it wants to be called again at the latest, None for "when woken". A call
    that fails is repeated after a pause that doubles; a wake does not shorten that pause unless it is `fresh`.
    """

    def __init__(
        self,
        reconcile: Callable[[K], Awaitable[float | None]],
        *,
        clock: Callable[[], float],
        random: Callable[[], float],
        settings: LoopSettings | None = None,
        on_failure: Callable[[K, Exception], None] | None = None,
    ) -> None:
        self._reconcile = reconcile
        self._clock = clock
        self._random = random
        self._settings = settings or LoopSettings()
        self._on_failure = on_failure
        self._due: dict[K, float] = {}
        self._queue: list[tuple[float, int, K]] = []
        self._urgent: dict[K, None] = {}
        self._sequence = 0
        self._running: dict[K, asyncio.Task[None]] = {}
        self._failures: dict[K, int] = {}
        self._not_before: dict[K, float] = {}
        self._changed = asyncio.Event()
        self.heartbeat: float = clock()
        """When the loop last went round, by its clock."""

    def wake(self, key: K, *, fresh: bool = False, urgent: bool = False) -> None:
        """Look at the key soon.

        `fresh`: the object itself changed, so its earlier failures say nothing. `urgent`: before all that are not.
        """
        if fresh:
            self._failures.pop(key, None)
            self._not_before.pop(key, None)
        now = self._clock()
        self._schedule(key, now)
        if urgent and self._not_before.get(key, now) <= now:
            self._urgent[key] = None
            self._changed.set()

    def wake_in(self, key: K, seconds: float) -> None:
        """Look at the key after so many seconds at the latest."""
        self._schedule(key, self._clock() + max(0.0, seconds))

    async def run(self) -> None:
        """Serve until cancelled; calls under way are cancelled then, and waited for."""
        try:
            while True:
                self.heartbeat = self._clock()
                self._changed.clear()
                self._start_due()
                await self._sleep()
        finally:
            await self._stop()

    def _schedule(self, key: K, when: float) -> None:
        when = max(when, self._not_before.get(key, when))
        if key in self._due and self._due[key] <= when:
            return
        self._due[key] = when
        self._sequence += 1
        heapq.heappush(self._queue, (when, self._sequence, key))
        if len(self._queue) > 2 * len(self._due) + _VOID_ENTRIES:
            self._sweep()
        self._changed.set()

    def _sweep(self) -> None:
        """Rid the queue of void entries: each look leaves one behind that would stay until its time comes."""
        self._queue = [entry for entry in self._queue if self._due.get(entry[2]) == entry[0]]
        heapq.heapify(self._queue)

    def _start_due(self) -> None:
        now, settings = self._clock(), self._settings
        for key in [key for key in self._urgent if key not in self._running]:
            if len(self._running) >= settings.concurrency + settings.urgent_concurrency:
                break
            del self._urgent[key]
            if self._due.get(key, math.inf) <= now:
                self._start(key)
        while self._queue and self._queue[0][0] <= now and len(self._running) < settings.concurrency:
            when, _, key = heapq.heappop(self._queue)
            # An entry that a sooner one overtook is void; for a key at work the end of its call puts the wake back.
            if self._due.get(key) == when and key not in self._running:
                self._start(key)

    def _start(self, key: K) -> None:
        del self._due[key]
        self._running[key] = asyncio.create_task(self._call(key), name=f"reconcile {key}")

    async def _call(self, key: K) -> None:
        again: float | None
        try:
            async with asyncio.timeout(self._settings.deadline):
                again = await self._reconcile(key)
            self._failures.pop(key, None)
            self._not_before.pop(key, None)
        except Exception as error:  # noqa: BLE001 - whatever one key does, the others go on
            again = self._failed(key, error)
        finally:
            del self._running[key]
            self._changed.set()
        if again is not None:
            self.wake_in(key, again)
        self._requeue(key)

    def _requeue(self, key: K) -> None:
        """Put a wake that came during the call back into the queue, whose entry was dropped meanwhile."""
        when = self._due.pop(key, None)
        if when is not None:
            self._schedule(key, when)

    def _failed(self, key: K, error: Exception) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        settings = self._settings
        pause = min(settings.longest_backoff, settings.backoff * 2.0 ** min(failures - 1, 16))
        pause *= 0.8 + 0.4 * self._random()
        if isinstance(error, ClusterUnavailableError) and error.retry_after_seconds is not None:
            pause = max(pause, error.retry_after_seconds)
        self._not_before[key] = self._clock() + pause
        self._report(key, error, pause)
        return pause

    def _report(self, key: K, error: Exception, pause: float) -> None:
        if isinstance(error, ClusterError):
            logger.warning("%s: %s; again in %.0f s", key, error, pause)
        else:
            logger.error("%s: the reconcile failed; again in %.0f s", key, pause, exc_info=error)
        if self._on_failure is not None:
            self._on_failure(key, error)

    async def _sleep(self) -> None:
        pause = self._settings.beat
        if self._queue and len(self._running) < self._settings.concurrency:
            pause = min(pause, max(0.0, self._queue[0][0] - self._clock()))
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._changed.wait()

    async def _stop(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
