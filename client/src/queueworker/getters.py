"""Looking into a queue: counts, jobs by state, one job whole, rates per minute, live workers."""

from __future__ import annotations

from typing import Any

from queueworker.base import QueueBase
from queueworker.errors import RedisReadError
from queueworker.reader import QueueReader
from queueworker.snapshot import QueueSnapshot


class QueueGetters(QueueBase):
    """The reading half of `Queue`; nothing here changes the queue, and what cannot be read raises RedisReadError."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reader = QueueReader(self._client, address=self.address)

    async def stats(self, *, horizon_ms: int = 0, deadline_seconds: float = 5.0) -> QueueSnapshot:
        """Return what the queue holds; raises RedisReadError, never zeros for what could not be read."""
        outcomes = await self._reader.read([self.keys], horizon_ms=horizon_ms, deadline_seconds=deadline_seconds)
        outcome = outcomes[self.keys]
        if isinstance(outcome, RedisReadError):
            raise outcome
        return outcome
