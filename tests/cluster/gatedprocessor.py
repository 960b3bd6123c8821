"""A worker that comes to life when its gate is opened, and whose jobs last until the test says so.

So a test chooses who takes the next job. What takes long, the start of the interpreter, is done before the gate.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Annotated

from ledgerprocessor import ENDED, STARTED, open_ledger
from redis.asyncio import Redis

from queueworker_worker.context import Depends
from queueworker_worker.errors import DelayedError
from queueworker_worker.job import Job
from queueworker_worker.processor import processor

RELEASED = "story:released"
SHARED = "story:shared"
"""From then on a worker takes as many jobs as it has slots."""

_gate = Path(os.environ.get("STORY_GATES", "/nonexistent")) / os.environ.get("QUEUEWORKER_NAME", "")


_busy = False


@processor("story", "hold")
async def hold(job: Job, ledger: Annotated[Redis, Depends(open_ledger)]) -> None:
    """Run until all are released; who has such a job leaves further ones to others until then."""
    global _busy
    if _busy and not await ledger.exists(SHARED):
        raise DelayedError(delay_ms=20)
    _busy = True
    await ledger.hincrby(STARTED, job.id, 1)
    released = False
    while not released:
        await asyncio.sleep(0.2)
        released = bool(await ledger.exists(RELEASED))
    await ledger.hincrby(ENDED, job.id, 1)


while "STORY_GATES" in os.environ and not _gate.exists():
    time.sleep(0.05)
