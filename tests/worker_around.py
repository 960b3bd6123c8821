"""Processors with everything around them: hooks, listeners, a backoff, schedulers. They tell it to a list in Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import redis.asyncio

from queueworker.connection import connect
from queueworker.settings import ConnectionSettings
from queueworker_worker import Depends, Job, after, backoff, before, listener, on_error, processor, scheduled

TOLD = "told"


@asynccontextmanager
async def open_redis() -> AsyncIterator[redis.asyncio.Redis]:
    client = connect(ConnectionSettings.from_environment(os.environ))
    assert isinstance(client, redis.asyncio.Redis)
    yield client
    await client.aclose()


async def tell(text: str) -> None:
    async with open_redis() as client:
        await client.rpush(TOLD, text)


@before("around")
async def begin(job: Job) -> None:
    await tell(f"before {job.id}")


@after("around")
async def end(job: Job, result: Any) -> None:
    await tell(f"after {job.id} {result}")


@on_error("around")
async def failed(job: Job, error: BaseException) -> None:
    await tell(f"error {job.id} {error}")


@listener("completed", "around")
async def completed(job: Job, result: Any) -> None:
    await tell(f"completed {job.id} {result}")


@backoff("mine")
def wait(attempts_made: int, error: BaseException, job: Any) -> int:
    return 10 if attempts_made < 2 else -1


@processor("around")
async def work(job: Job, client: Annotated[redis.asyncio.Redis, Depends(open_redis)]) -> int:
    await client.rpush(TOLD, f"work {job.id}")
    if job.data == "fail":
        raise ValueError("wrong")
    return 1


@scheduled("nightly", cron="0 3 * * *", tz="Europe/Berlin", data={"full": True}, attempts=2)
@scheduled("once", every=3_600_000, limit=1)
@processor("planned")
async def planned(job: Job) -> str:
    return job.name


@processor("slow", timeout_seconds=0.2)
async def slow() -> None:
    await asyncio.sleep(30)
