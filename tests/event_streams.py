"""Writing a queue's events by hand, and taking them from a stream."""

from __future__ import annotations

import asyncio

import pytest
from redis.asyncio import Redis

from queueworker import EventsLost, EventStream

QUICK = {"block_seconds": 0.3, "reply_seconds": 20.0}
"""Short blocks; an answer that comes late, as of a machine that is busy, is no loss."""
STREAM = "bull:q:events"


async def happen(client: Redis, *job_ids: str, event: str = "waiting") -> list[str]:
    """Write events as BullMQ's scripts do; return their ids."""
    return [str(await client.xadd(STREAM, {"event": event, "jobId": job_id})) for job_id in job_ids]


async def take(stream: EventStream, count: int, *, seconds: float = 40) -> list[str]:
    """Return the job ids of the next events, `LOST` for each gap."""
    found: list[str] = []
    try:
        async with asyncio.timeout(seconds):
            while len(found) < count:
                event = await anext(stream)
                found.append("LOST" if isinstance(event, EventsLost) else str(event.job_id))
    except TimeoutError:
        pytest.fail(f"after {seconds} s only {len(found)} of {count} events: {found[-20:]}")
    return found


async def nothing_more(stream: EventStream) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(stream), 0.7)
