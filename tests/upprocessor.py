"""A processor for the tests of `queueworker up`: sleeps, or waits, and writes down when jobs begin and end."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from pydantic import BaseModel

from queueworker_worker.job import Job
from queueworker_worker.processor import processor


class Nap(BaseModel):
    seconds: float | None
    """None: until the file `go` lies beside the ledger."""


@processor("naps")
async def nap(payload: Nap, job: Job) -> None:
    write(f"begin {job.id}")
    while payload.seconds is None and not may_end():  # noqa: ASYNC110 - it is another process that makes the file
        await asyncio.sleep(0.02)
    await asyncio.sleep(payload.seconds or 0)
    write(f"end {job.id}")


def may_end() -> bool:
    return Path(os.environ["LEDGER"]).with_name("go").exists()


def write(line: str) -> None:
    with Path(os.environ["LEDGER"]).open("a") as ledger:
        ledger.write(line + "\n")
