"""Deduplication ids: which job one stands for, and letting it go before its time."""

from __future__ import annotations

from queueworker.base import QueueBase, raise_first
from queueworker.errors import RedisReadError


class QueueDeduplication(QueueBase):
    """The part of `Queue` that looks after deduplication ids (keys `de:<id>`)."""

    async def deduplication_job_id(self, deduplication_id: str) -> str | None:
        """Return the id of the job that holds a deduplication id, None where none does; raises RedisReadError."""

        async def read() -> str | None:
            [held] = await self._run([("GET", self._deduplication_key(deduplication_id))])
            raise_first([held])
            return None if held is None else str(held)

        return await self._persist(read, kind=RedisReadError)

    async def remove_deduplication_key(self, deduplication_id: str, *, job_id: str | None = None) -> bool:
        """Let the next job with this deduplication id be added; only while `job_id` holds it, where that is given.

        Tells whether the id was held. The job that held it stays. Source: `removeDeduplicationKey-1.lua`. Raises
        RedisReadError, RedisWriteError.
        """
        key = self._deduplication_key(deduplication_id)
        held = await self.deduplication_job_id(deduplication_id)
        if held is None or (job_id is not None and held != job_id):
            return False
        # Only what was seen is removed: a request that arrives late must not take the id from the next job.
        await self._persist(lambda: self._run_script("removeDeduplicationKey", [key], [held]))
        return True

    def _deduplication_key(self, deduplication_id: str) -> str:
        return self.keys.of(f"de:{deduplication_id}")
