"""Sending together what many callers add at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from queueworker.errors import QueueWorkerError
from queueworker.outcome import Attempt, Enqueued

Results = Sequence[Enqueued | QueueWorkerError]

_REQUESTS = 2
"""Under way at once: one is prepared or read here while the server works on the other."""


class Gathering:
    """What comes in while requests are under way goes together with the next one; nothing waits for company."""

    def __init__(self, send: Callable[[Sequence[Attempt]], Awaitable[Results]], *, most: int) -> None:
        self._send, self._most = send, most
        self._waiting: deque[tuple[Attempt, asyncio.Future[Enqueued]]] = deque()
        self._senders: set[asyncio.Task[None]] = set()

    async def add(self, attempt: Attempt) -> Enqueued:
        """Send a job with others, and return what became of it; raises its own error.

        A caller that is cancelled does not know whether its job was added, as with a lost answer.
        """
        future: asyncio.Future[Enqueued] = asyncio.get_running_loop().create_future()
        self._waiting.append((attempt, future))
        if len(self._senders) < _REQUESTS:
            sender = asyncio.create_task(self._send_waiting())
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)
        return await future

    async def _send_waiting(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
            try:
                results: Results = await self._send([attempt for attempt, _ in batch])
            except BaseException as error:
                for _, future in batch:
                    _settle(future, error)
                if not isinstance(error, Exception):
                    raise
                continue
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
