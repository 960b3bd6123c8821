"""Jobs as a worker that finished them leaves them."""

from __future__ import annotations

from typing import Any

from redis.asyncio import Redis

from queueworker import Queue


async def finish(client: Redis, ids: list[str], *, state: str = "failed", reason: str = "boom", at_ms: int = 0) -> None:
    """Put jobs where a worker that finished them would have put them."""
    seconds, micros = await client.time()
    now_ms = at_ms or seconds * 1000 + micros // 1000
    async with client.pipeline(transaction=True) as pipe:
        for offset, one in enumerate(ids):
            pipe.zrem("bull:q:prioritized", one)
            pipe.lrem("bull:q:wait", 0, one)
            pipe.zadd(f"bull:q:{state}", {one: now_ms + offset})
            field = "failedReason" if state == "failed" else "returnvalue"
            pipe.hset(f"bull:q:{one}", mapping={"finishedOn": now_ms + offset, field: reason, "atm": 3, "ats": 4})
        await pipe.execute()


async def add_failed(queue: Queue, client: Redis, count: int, *, prefix: str = "f", **options: Any) -> list[str]:
    reason = options.pop("reason", "boom")
    ids = [(await queue.enqueue("n", {"i": i}, job_id=f"{prefix}{i}", **options)).id for i in range(count)]
    await finish(client, ids, reason=reason)
    return ids
