"""Processors that write into a list in Redis when they start and end a job: what really ran, and how often."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import redis
import redis.asyncio
from pydantic import BaseModel, ConfigDict

from queueworker.connection import connect
from queueworker.settings import ConnectionSettings
from queueworker_worker.context import Depends
from queueworker_worker.job import Job
from queueworker_worker.processor import processor

LEDGER = "ledger"
RELEASED = "released"
"""A key: while it is not there, a job without a length of its own goes on."""


class Sleep(BaseModel):
    model_config = ConfigDict(extra="forbid")
    milliseconds: int | None = 0
    """None: until the test releases it."""


@asynccontextmanager
async def open_ledger() -> AsyncIterator[redis.asyncio.Redis]:
    client = connect(ConnectionSettings.from_environment(os.environ))
    assert isinstance(client, redis.asyncio.Redis)
    await client.rpush(LEDGER, "opened")
    yield client
    await client.rpush(LEDGER, "closed")
    await client.aclose()


Ledger = Annotated[redis.asyncio.Redis, Depends(open_ledger)]


@processor("ledger")
@processor("ledger-two")
async def write(payload: Sleep, job: Job, ledger: Ledger) -> dict[str, int | None]:
    await ledger.rpush(LEDGER, f"start {job.id} {os.environ['QUEUEWORKER_NAME']}")
    await _sleep(payload, ledger)
    await ledger.rpush(LEDGER, f"end {job.id} {os.environ['QUEUEWORKER_NAME']}")
    return {"slept": payload.milliseconds}


async def _sleep(payload: Sleep, ledger: redis.asyncio.Redis) -> None:
    if payload.milliseconds is not None:
        await asyncio.sleep(payload.milliseconds / 1000)
        return
    while not await ledger.exists(RELEASED):  # noqa: ASYNC110 - it is another process that sets it
        await asyncio.sleep(0.02)


@processor("ledger", "freeze")
async def freeze(payload: Sleep) -> None:
    time.sleep((payload.milliseconds or 0) / 1000)  # noqa: ASYNC251 - what must not be done is done here on purpose


@processor("threads")
def in_thread(payload: Sleep, job: Job) -> str:
    settings = ConnectionSettings.from_environment(os.environ)
    with redis.Redis(host=settings.host or "", port=settings.port) as ledger:
        ledger.rpush(LEDGER, f"start {job.id} {os.environ['QUEUEWORKER_NAME']}")
        time.sleep((payload.milliseconds or 0) / 1000)
        ledger.rpush(LEDGER, f"end {job.id} {os.environ['QUEUEWORKER_NAME']}")
    return "done"
