"""Getting the next job for a slot that has none: one slot asks at a time, and sleeps on the queue's marker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from contextlib import suppress

from queueworker_worker.engine.jobs import Nothing, Taken
from queueworker_worker.engine.limit import JobLimit
from queueworker_worker.engine.link import Backoff, DeniedError, LinkError, LinkLostError
from queueworker_worker.engine.marker import Marker
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.scripts import QueueScripts, wall_ms
from queueworker_worker.engine.trouble import Contact

_log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0


class Fetcher:
    """Hands jobs to slots; `last_look` says when a slot last looked for one, on the clock of `time.monotonic`."""

    def __init__(
        self,
        scripts: QueueScripts,
        marker: Marker,
        options: EngineOptions,
        contact: Contact,
        *,
        known: Collection[str],
        limit: JobLimit,
        drained: Callable[[], None] = lambda: None,
        now_ms: Callable[[], int] = wall_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scripts, self._marker, self._options, self._contact = scripts, marker, options, contact
        self._known, self._limit, self._drained = known, limit, drained
        self._now_ms, self._clock = now_ms, clock
        self._turn = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._resumed = asyncio.Event()
        self._resumed.set()
        self._polls = False
        self._held_until = 0.0
        self.empty = False
        """The last look found nothing to take."""
        self.last_look: float | None = None
        """None while no slot is looking."""

    def stop(self) -> None:
        """Let every slot that waits go home."""
        self._stopped.set()

    @property
    def paused(self) -> bool:
        """No slot looks for jobs until `resume`."""
        return not self._resumed.is_set()

    def pause(self) -> None:
        """Look for no more jobs until `resume`."""
        self._resumed.clear()
        self._marker.leave()

    def resume(self) -> None:
        """Look for jobs again."""
        self._resumed.set()

    def hold(self, seconds: float) -> None:
        """Take no job for so long: BullMQ's scripts heed a limit set by hand only where a worker has a limiter."""
        self._held_until = max(self._held_until, self._clock() + seconds)

    @property
    def may_take(self) -> bool:
        """Neither paused nor held."""
        return self._resumed.is_set() and (not self._held_until or self.held_seconds <= 0)

    @property
    def held_seconds(self) -> float:
        """For how long no job may be taken; zero or less where there is no hold."""
        return self._held_until - self._clock()

    async def next(self, token: str, unwanted: Callable[[], bool] = lambda: False) -> Taken | None:
        """Return the next job, locked with the token; None once stopped, or when the slot is unwanted.

        Raises AccessRefusedError.
        """
        async with self._turn:
            try:
                return await self._look(token, unwanted)
            finally:
                self.last_look = None
                self._marker.leave()

    async def _look(self, token: str, unwanted: Callable[[], bool]) -> Taken | None:
        backoff, lost = Backoff(), False
        while not self._stopped.is_set() and not unwanted():
            self.last_look = self._clock()
            try:
                if lost and (adopted := await self._scripts.adopt(token, known=self._known)) is not None:
                    if self._limit.reserve():
                        self._limit.settle(taken=True)
                    return adopted
                lost = False
                if self.paused:
                    await self._until_resumed()
                elif (held := self.held_seconds) > 0:
                    await self._pause(min(held, self._options.drain_delay_seconds))
                elif not self._limit.reserve():
                    await self._until_limit_changes()
                elif isinstance(found := await self._take(token), Taken):
                    return found
                else:
                    await self._sleep(found)
                    backoff.reset()
            except LinkError as error:
                lost = lost or isinstance(error, LinkLostError)
                self._contact.failed(error)
                await self._pause(backoff.pause())
        return None

    async def _take(self, token: str) -> Taken | Nothing:
        found: Taken | Nothing | None = None
        try:
            found = await self._scripts.take(token)
        finally:
            self._limit.settle(taken=isinstance(found, Taken))
        self._contact.ok()
        empty = isinstance(found, Nothing)
        if empty and not self.empty:
            self._drained()
        self.empty = empty
        return found

    async def _until_resumed(self) -> None:
        self._marker.leave()
        # What woke us shall wake another worker.
        await self._marker.set()
        while self.paused and not self._stopped.is_set():
            self.last_look = self._clock()
            waits = {asyncio.create_task(event.wait()) for event in (self._resumed, self._stopped)}
            try:
                await asyncio.wait(waits, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()

    async def _until_limit_changes(self) -> None:
        if self._limit.exhausted:
            return self.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(_POLL_SECONDS):
                await self._limit.changed()

    async def _sleep(self, found: Nothing) -> None:
        """Sleep until there may be a job: the rate limit's end, the next due time, the marker."""
        longest = self._options.drain_delay_seconds
        if found.limited_ms:
            await self._pause(min(longest, found.limited_ms / 1000))
            return
        due_ms, until = found.next_due_ms, self._clock() + longest
        while not self._stopped.is_set() and not self.paused:
            due_in = (due_ms - self._now_ms()) / 1000 if due_ms else longest
            left = min(until - self._clock(), due_in)
            if left <= 0:
                return
            try:
                score = await self._marker.wait(left, self._stopped)
            except DeniedError as error:
                self._say_polling(error)
                return await self._pause(min(left, _POLL_SECONDS))
            if score is None:
                continue
            if score <= self._now_ms():
                return
            # The marker of a delayed job: it is ours to remember now, since it was popped.
            due_ms = min(due_ms or int(score), int(score))

    def _say_polling(self, error: DeniedError) -> None:
        if not self._polls:
            _log.warning("queue %s: %s; looking for jobs every %g s", self._options.queue, error, _POLL_SECONDS)
        self._polls = True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
