"""The processor of the acceptance tests: sleeps as long as the job says and keeps a ledger of every run in Redis.

A job that was interrupted or run twice has more starts than ends, or more than one of both.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from pydantic import BaseModel
from redis.asyncio import Redis

from queueworker.connection import connect
from queueworker.settings import ConnectionSettings
from queueworker_worker.context import Depends
from queueworker_worker.job import Job
from queueworker_worker.processor import processor

STARTED = "ledger:started"
ENDED = "ledger:ended"


class Sleep(BaseModel):
    milliseconds: int


@asynccontextmanager
async def open_ledger() -> AsyncIterator[Redis]:
    client = connect(ConnectionSettings.from_environment(os.environ))
    try:
        yield client
    finally:
        await client.aclose()


@processor("story")
async def sleep(payload: Sleep, job: Job, ledger: Annotated[Redis, Depends(open_ledger)]) -> str:
    await ledger.hincrby(STARTED, job.id, 1)
    await asyncio.sleep(payload.milliseconds / 1000)
    await ledger.hincrby(ENDED, job.id, 1)
    return "slept"
