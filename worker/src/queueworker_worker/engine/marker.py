"""Waiting for a queue's marker, which BullMQ sets when there may be a job to take."""

from __future__ import annotations

import asyncio
import logging

from queueworker_worker.engine.link import Link, LinkError

_log = logging.getLogger(__name__)
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
            if not self._popping.cancelled():
                self._popping.exception()
            self._popping = None

    async def aclose(self) -> None:
        """Stop listening for good, and leave the marker set: what would have woken us shall wake another worker."""
        popping, self._popping = self._popping, None
        if popping is not None:
            # Our wait ends by a marker of our own: one that came after our close, and before the server has noticed
            # it, would be popped for nobody. Where another worker is served first, that one is awake.
            self._listening = True
            await self.set()
            await asyncio.wait({popping}, timeout=_LAST_POP_SECONDS)
        self._listening = False
        await self._blocking.aclose()
        if popping is not None:
            popping.cancel()
            await asyncio.gather(popping, *self._returning, return_exceptions=True)
            await self.set()

    async def set(self) -> None:
        """Set the marker, if Redis can be reached: a worker that waits for it looks for jobs."""
        try:
            await self._link.execute("ZADD", self._key, 0, "0")
        except LinkError:
            _log.debug("the marker was not set again: others look for jobs by their own timers")

    async def _pop(self) -> float | None:
        block = self._longest_block
        reply = await self._blocking.execute("BZPOPMIN", self._key, f"{block:.3f}", wait=block)
        score = float(reply[2]) if reply else None
        if score is not None and not self._listening:
            self._popping = None
            task = asyncio.create_task(self._put_back(str(reply[1]), score))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)
        return score

    async def _put_back(self, member: str, score: float) -> None:
        try:
            await self._link.execute("ZADD", self._key, int(score), member)
        except LinkError as error:
            _log.debug("the marker was not put back: %s", error)
