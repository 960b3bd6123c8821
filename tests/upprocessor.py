"""A processor for the tests of `queueworker up`: sleeps, and writes down when jobs begin and end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from queueworker_worker.job import Job
from queueworker_worker.processor import processor


class Nap(BaseModel):
    seconds: float


@processor("naps")
async def nap(payload: Nap, job: Job) -> None:
    write(f"begin {job.id}")
    await asyncio.sleep(payload.seconds)
    write(f"end {job.id}")


def write(line: str) -> None:
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(line + "\n")
