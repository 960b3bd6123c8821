"""Our processor of the queue `bench`; the worker is started as users start it, by `queueworker work bench`."""

from __future__ import annotations

import asyncio

from bench.worker.marks import Marks

from queueworker_worker.job import Job
from queueworker_worker.processor import processor

marks = Marks.from_environment()


@processor("bench")
async def task(job: Job) -> None:
    marks.hit(job.data["at"])
    if marks.task_seconds:
        await asyncio.sleep(marks.task_seconds)
