"""Getting the next job for a slot that has none: one slot asks at a time, and sleeps on the queue's marker."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection

from queueworker_worker.engine.jobs import Nothing, Taken, text_of
from queueworker_worker.engine.link import Backoff, Link, LinkError, LinkLostError, RefusedError
from queueworker_worker.engine.options import EngineOptions
from queueworker_worker.engine.scripts import QueueScripts, wall_ms
from queueworker_worker.engine.trouble import Contact

_log = logging.getLogger(__name__)
_POLL_SECONDS = 1.0
_LAST_POP_SECONDS = 0.25


class Marker:
    """Waits for the queue's marker with BZPOPMIN on a connection of its own.

    The wait is ended by a timer of ours where a delayed job is due, not by the server's timeout, which is late by up to
    its own tick. The server then still waits for us; what it pops while no slot listens is put back for other workers.
    """

    def __init__(self, link: Link, blocking: Link, key: str, *, longest_block: float) -> None:
        self._link, self._blocking = link, blocking
        self._key = key
        self._longest_block = longest_block
        self._popping: asyncio.Task[float | None] | None = None
        self._returning: set[asyncio.Task[None]] = set()
        self._listening = False

    async def wait(self, seconds: float, stopped: asyncio.Event) -> float | None:
        """Wait for the marker, the time or the stop; return the marker's score (0 or a due time in ms), else None."""
        self._listening = True
        if self._popping is None:
            self._popping = asyncio.create_task(self._pop())
        stop = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({self._popping, stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._popping is None or not self._popping.done():
            return None
        popping, self._popping = self._popping, None
        return popping.result()

    def leave(self) -> None:
        """No slot listens any more: what is popped from now on belongs to others."""
        self._listening = False
        if self._popping is not None and self._popping.done():
            # A job was taken meanwhile, and taking one sets the marker again.
            self._popping.exception()
            self._popping = None

    async def aclose(self) -> None:
        """Stop listening for good, and leave the marker set: what would have woken us shall wake another worker."""
        popping, self._popping = self._popping, None
        if popping is not None:
            # Our wait ends by a marker of our own: one that came after our close, and before the server has noticed
            # it, would be popped for nobody. Where another worker is served first, that one is awake.
            self._listening = True
            await self._set()
            await asyncio.wait({popping}, timeout=_LAST_POP_SECONDS)
        self._listening = False
        await self._blocking.aclose()
        if popping is not None:
            popping.cancel()
            await asyncio.gather(popping, *self._returning, return_exceptions=True)
            await self._set()

    async def _set(self) -> None:
        try:
            await self._link.execute("ZADD", self._key, 0, "0")
        except LinkError:
            _log.debug("the marker was not set again: others look for jobs by their own timers")

    async def _pop(self) -> float | None:
        block = self._longest_block
        reply = await self._blocking.execute("BZPOPMIN", self._key, f"{block:.3f}", wait=block)
        score = float(text_of(reply[2])) if reply else None
        if score is not None and not self._listening:
            self._popping = None
            task = asyncio.create_task(self._put_back(text_of(reply[1]), score))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)
        return score

    async def _put_back(self, member: str, score: float) -> None:
        try:
            await self._link.execute("ZADD", self._key, int(score), member)
        except LinkError as error:
            _log.debug("the marker was not put back: %s", error)


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
        now_ms: Callable[[], int] = wall_ms,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._scripts, self._marker, self._options, self._contact = scripts, marker, options, contact
        self._known = known
        self._now_ms, self._clock = now_ms, clock
        self._turn = asyncio.Lock()
        self._stopped = asyncio.Event()
        self._polls = False
        self.last_look: float | None = None
        """None while no slot is looking."""

    def stop(self) -> None:
        """Let every slot that waits go home."""
        self._stopped.set()

    async def next(self, token: str) -> Taken | None:
        """Return the next job, locked with the token, or None once stopped; raises AccessRefusedError."""
        async with self._turn:
            try:
                return await self._look(token)
            finally:
                self.last_look = None
                self._marker.leave()

    async def _look(self, token: str) -> Taken | None:
        backoff, lost = Backoff(), False
        while not self._stopped.is_set():
            self.last_look = self._clock()
            try:
                if lost and (adopted := await self._scripts.adopt(token, known=self._known)) is not None:
                    return adopted
                lost = False
                found = await self._scripts.take(token)
                self._contact.ok()
                if isinstance(found, Taken):
                    return found
                await self._sleep(found)
                backoff.reset()
            except LinkError as error:
                lost = lost or isinstance(error, LinkLostError)
                self._contact.failed(error)
                await self._pause(backoff.pause())
        return None

    async def _sleep(self, found: Nothing) -> None:
        """Sleep until there may be a job: the rate limit's end, the next due time, the marker."""
        longest = self._options.drain_delay_seconds
        if found.limited_ms:
            await self._pause(min(longest, found.limited_ms / 1000))
            return
        due_ms, until = found.next_due_ms, self._clock() + longest
        while not self._stopped.is_set():
            due_in = (due_ms - self._now_ms()) / 1000 if due_ms else longest
            left = min(until - self._clock(), due_in)
            if left <= 0:
                return
            try:
                score = await self._marker.wait(left, self._stopped)
            except RefusedError as error:
                # If it is more than this one command, the next fetch says so.
                self._say_polling(error)
                return await self._pause(min(left, _POLL_SECONDS))
            if score is None:
                continue
            if score <= self._now_ms():
                return
            # The marker of a delayed job: it is ours to remember now, since it was popped.
            due_ms = min(due_ms or int(score), int(score))

    def _say_polling(self, error: RefusedError) -> None:
        if not self._polls:
            _log.warning("queue %s: %s; looking for jobs every %g s", self._options.queue, error, _POLL_SECONDS)
        self._polls = True

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopped.wait()
        except TimeoutError:
            return
