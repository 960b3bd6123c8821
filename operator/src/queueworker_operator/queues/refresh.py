"""Who waits for a read that begins after the question."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Refresh(Generic[K]):
    """The reads that one question waits for; needs a running event loop."""

    def __init__(self, queues: Collection[K], *, details: bool, after: int) -> None:
        """`after` is the number of the last read that began before."""
        self._after = after
        self._counts = set(queues)
        self._details = set(self._counts) if details else set()
        self.done = asyncio.get_running_loop().create_future()
        self._settle()

    def counts_read(self, queues: Collection[K], number: int) -> None:
        """Take note of a read of the counts."""
        if number > self._after:
            self._counts.difference_update(queues)
            self._settle()

    def details_read(self, queues: Collection[K], number: int) -> None:
        """Take note of a read of the details."""
        if number > self._after:
            self._details.difference_update(queues)
            self._settle()

    def drop(self, queue: K) -> None:
        """Wait for this queue no longer: nobody reads it any more."""
        self._counts.discard(queue)
        self._details.discard(queue)
        self._settle()

    def _settle(self) -> None:
        if not self._counts and not self._details and not self.done.done():
            self.done.set_result(None)


class Refreshes(Generic[K]):
    """The questions that wait. Each read has a number, by which it is told which questions came before it began."""

    def __init__(self) -> None:
        self._waiting: list[Refresh[K]] = []
        self._reads = 0

    async def answered(self, queues: Collection[K], *, details: bool, within: float) -> bool:
        """Wait for reads of the queues that begin after this; return whether they ended within so many seconds."""
        refresh = Refresh(queues, details=details, after=self._reads)
        self._waiting.append(refresh)
        try:
            async with asyncio.timeout(within):
                await refresh.done
        except TimeoutError:
            return False
        finally:
            self._waiting.remove(refresh)
        return True

    def read_begins(self) -> None:
        """Take note that the next read begins."""
        self._reads += 1

    def counts_read(self, queues: Collection[K]) -> None:
        """Take note that the read of these queues' counts ended."""
        for refresh in self._waiting:
            refresh.counts_read(queues, self._reads)

    def details_read(self, queues: Collection[K]) -> None:
        """Take note that the read of these queues' details ended."""
        for refresh in self._waiting:
            refresh.details_read(queues, self._reads)

    def drop(self, queue: K) -> None:
        """Wait for this queue no longer."""
        for refresh in self._waiting:
            refresh.drop(queue)
