"""Our processor of the queue `bench` and of those with a limit; the worker is started by `queueworker work bench`."""

from __future__ import annotations

import asyncio

from bench.worker.marks import Marks

from queueworker_worker.job import Job
from queueworker_worker.processor import processor

marks = Marks.from_environment()


@processor("bench")
@processor("bench-1")
@processor("bench-2")
@processor("bench-3")
@processor("bench-4")
async def task(job: Job) -> None:
    marks.hit(job.data["at"])
    if marks.task_seconds:
        await asyncio.sleep(marks.task_seconds)
