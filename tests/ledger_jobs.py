"""Jobs of the ledger's queue, and what its worker wrote down of them."""

from __future__ import annotations

from typing import Any

import bullmq
import redis.asyncio
from worker_ledger import LEDGER
from worker_support import eventually

from queueworker.keys import QueueKeys

KEYS = QueueKeys("bull", "ledger")


async def add(
    client: redis.asyncio.Redis, *milliseconds: int | None, queue: str = "ledger", name: str = "any", **opts: Any
) -> None:
    jobs = [{"name": name, "data": {"milliseconds": one}, "opts": opts} for one in milliseconds]
    await bullmq.Queue(queue, {"connection": client}).addBulk(jobs)


async def entries(client: redis.asyncio.Redis, kind: str) -> list[str]:
    """Return the job ids of the ledger's entries of a kind, in their order."""
    return [line.split()[1] for line in await client.lrange(LEDGER, 0, -1) if line.startswith(kind + " ")]


async def count(client: redis.asyncio.Redis, kind: str, wanted: int, *, seconds: float = 40) -> list[str]:
    async def enough() -> bool:
        return len(await entries(client, kind)) >= wanted

    await eventually(enough, seconds=seconds, what=f"{wanted} x {kind}")
    return await entries(client, kind)
