"""Sending together what many callers add at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from queueworker.errors import QueueWorkerError, RedisWriteError
from queueworker.outcome import Attempt, Enqueued

Results = Sequence[Enqueued | QueueWorkerError]

_Waiting = tuple[Attempt, asyncio.Future[Enqueued]]

_REQUESTS = 2
"""Under way at once: one is prepared or read here while the server works on the other."""


class Gathering:
    """What comes in while requests are under way goes together with the next one; nothing waits for company.

    A request takes `most` jobs and `most_characters` of their data; a job that is larger alone goes alone.
    """

    def __init__(
        self, send: Callable[[Sequence[Attempt]], Awaitable[Results]], *, most: int, most_characters: int
    ) -> None:
        self._send, self._most, self._most_characters = send, most, most_characters
        self._waiting: deque[_Waiting] = deque()
        self._callers: set[asyncio.Future[Enqueued]] = set()
        self._senders: set[asyncio.Task[None]] = set()
        # Not the number of tasks: one that has just ended still stands among them, and sends nothing any more.
        self._sending = 0

    async def add(self, attempt: Attempt) -> Enqueued:
        """Send a job with others, and return what became of it; raises its own error.

        A caller that is cancelled does not know whether its job was added, as with a lost answer.
        """
        future: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
        self._waiting.append((attempt, future))
        self._callers.add(future)
        future.add_done_callback(self._callers.discard)
        if self._sending < _REQUESTS:
            self._sending += 1
            sender = asyncio.create_task(self._send_waiting())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return await future

    async def aclose(self) -> None:
        """Wait until every caller has its answer, and give up what nobody waits for any more.

        Where the wait is cancelled, callers get a RedisWriteError.
        """
        try:
            while self._callers:
                await asyncio.wait(self._callers)
        finally:
            await self._give_up()

    async def _give_up(self) -> None:
        """End all attempts, which would open connections anew that nobody closes."""
        self._waiting.clear()
        for caller in tuple(self._callers):
            _settle(caller, RedisWriteError("the queue was closed before Redis answered: the job may have been added"))
        senders = list(self._senders)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                await self._send_batch(self._take())
        finally:
            self._sending -= 1

    def _take(self) -> list[_Waiting]:
        batch = [self._waiting.popleft()]
        characters = len(batch[0][0].job.payload)
        while self._waiting and len(batch) < self._most:
            characters += len(self._waiting[0][0].job.payload)
            if characters > self._most_characters:
                break
            batch.append(self._waiting.popleft())
        return batch

    async def _send_batch(self, batch: Sequence[_Waiting]) -> None:
        try:
            results: Results = await self._send([attempt for attempt, _ in batch])
        except BaseException as error:
            for _, future in batch:
                _settle(future, error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result)


def _settle(future: asyncio.Future[Enqueued], result: Enqueued | BaseException) -> None:
    if future.done():
        # Its caller was cancelled.
        return
    if isinstance(result, asyncio.CancelledError):
        future.cancel()
    elif isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
