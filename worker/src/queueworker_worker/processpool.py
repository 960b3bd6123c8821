"""The child processes of a worker: one job at a time each, started on first use, replaced when they die."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from queueworker_worker.childprocess import CLOSE_SECONDS, START_SECONDS, Child, ChildDiedError
from queueworker_worker.registry import Processor

_log = logging.getLogger(__name__)
_REAP_SECONDS = 2.0


class ProcessPool:
    """Lends children to attempts; there are as many as attempts run at once.

    All its methods belong to one event loop.
    """

    def __init__(self) -> None:
        self._idle: list[Child] = []
        self._children: set[Child] = set()

    @asynccontextmanager
    async def child(self, processor: Processor) -> AsyncIterator[Child]:
        """Lend a child that is ready for one attempt; raises ChildDiedError, or what a dependency raised.

        A child whose attempt did not come to its end, because it was cancelled or late, is killed.
        """
        child = await self._waiting(processor) or await self._start(processor)
        try:
            child.raise_trouble()
            yield child
        finally:
            worn = processor.max_jobs_per_child is not None and child.jobs >= processor.max_jobs_per_child
            if child.busy or child.dead:
                self._drop(child)
            elif worn:
                self._children.discard(child)
                child.dismiss()
            else:
                self._idle.append(child)

    async def aclose(self, *, seconds: float = CLOSE_SECONDS + 0.5) -> None:
        """End the children: idle ones close their dependencies, in a bounded time; all others are killed."""
        for child in self._children:
            if child.busy:
                child.kill()
            else:
                child.dismiss()
        ending = {child.exited for child in self._children if not child.exited.done()}
        if ending:
            _, late = await asyncio.wait(ending, timeout=seconds)
            for child in self._children:
                child.kill()
            if late:
                _log.warning("%d child processes did not end within %g s: killed", len(late), seconds)
                await asyncio.wait(late, timeout=_REAP_SECONDS)
        self._children.clear()
        self._idle.clear()

    async def _waiting(self, processor: Processor) -> Child | None:
        while self._idle:
            child = self._idle.pop()
            try:
                await child.prepare(processor)
                return child
            except (ChildDiedError, TimeoutError) as error:
                # No attempt has begun there: none is lost.
                _log.warning("an idle child is replaced: %s", str(error) or "it does not answer")
                self._drop(child)
            except BaseException:
                self._drop(child)
                raise
        return None

    def _drop(self, child: Child) -> None:
        child.kill()
        self._children.discard(child)

    async def _start(self, processor: Processor) -> Child:
        child = None
        try:
            child = Child()
            self._children.add(child)
            await child.greet()
            await child.prepare(processor)
        except BaseException as error:
            if child is not None:
                self._drop(child)
            if isinstance(error, TimeoutError | OSError):
                why = str(error) or f"not within {START_SECONDS:g} s"
                raise ChildDiedError(f"a child process for {processor.path} did not start: {why}") from None
            raise
        return child
