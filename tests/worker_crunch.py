"""Processors for child processes: what they do well, and every way in which they may end badly."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel

from queueworker_worker.context import Depends
from queueworker_worker.errors import DelayedError, RateLimitError, UnrecoverableError, WaitingChildrenError
from queueworker_worker.job import Job
from queueworker_worker.processor import processor

opened: list[str] = []


class OwnError(Exception):
    def __init__(self, code: int, *, text: str) -> None:
        super().__init__(f"{text} ({code})")


class OwnUnrecoverableError(UnrecoverableError):
    pass


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@contextmanager
def sync_dependency() -> Iterator[str]:
    opened.append("sync")
    yield f"sync of {os.getpid()}"
    note("closed sync")


@asynccontextmanager
async def async_dependency() -> AsyncIterator[str]:
    opened.append("async")
    yield f"async of {os.getpid()}"
    note("closed async")


@asynccontextmanager
async def broken_dependency() -> AsyncIterator[str]:
    raise OSError("no server there")
    yield ""


def note(line: str) -> None:
    if path := os.environ.get("CRUNCH_NOTES"):
        with Path(path).open("a") as notes:
            notes.write(line + "\n")


class Sum(BaseModel):
    numbers: list[int]


@processor("crunch", "sum", execution="process")
def add_up(payload: Sum, job: Job) -> dict[str, Any]:
    return {"sum": sum(payload.numbers), "pid": os.getpid(), "id": job.id, "attempt": job.attempts_made}


@processor("crunch", "pid", execution="process")
def pid() -> int:
    return os.getpid()


@processor("crunch", "worn", execution="process", max_jobs_per_child=2)
def worn() -> int:
    return os.getpid()


@processor("crunch", "async", execution="process")
async def tell(job: Job) -> list[Any]:
    lines = await asyncio.gather(*(job.log(f"line {number}") for number in range(3)))
    await job.update_progress({"done": 50})
    await job.update_data({"next": 1})
    job.discard()
    return [lines, await job.children_values(), job.data]


@processor("crunch", "def", execution="process")
def tell_from_thread(job: Job) -> int:
    return job.from_thread(job.log, "from a def")


@processor("crunch", "needs", execution="process")
def needs(one: Annotated[str, Depends(sync_dependency)], two: Annotated[str, Depends(async_dependency)]) -> list[Any]:
    return [one, two, opened]


@processor("crunch", "broken", execution="process")
def needs_broken(it: Annotated[str, Depends(broken_dependency)]) -> None: ...


@processor("crunch", "raise", execution="process")
def fail(job: Job) -> None:
    errors: dict[str, BaseException] = {
        "value": ValueError("wrong value: \ud800"),
        "key": KeyError("missing"),
        "own": OwnError(7, text="own words"),
        "unreadable": UnreadableError(),
        "unrecoverable": UnrecoverableError("never again"),
        "own unrecoverable": OwnUnrecoverableError("not even once"),
        "delayed": DelayedError(delay_ms=1_500),
        "until": DelayedError(until_ms=9_000_000_000_000),
        "children": WaitingChildrenError(),
        "limit": RateLimitError(700),
        "exit": SystemExit(3),
        "timeout": TimeoutError("its own"),
        "group": ExceptionGroup("several", [ValueError("first"), KeyError("second")]),
    }
    raise errors[job.data]


@processor("crunch", "odd", execution="process")
def odd(job: Job) -> Any:
    return object() if job.data is None else float("nan") if job.data == "nan" else {1, 2}


@processor("crunch", "die", execution="process")
def die(job: Job) -> None:
    if job.data == "exit":
        os._exit(7)
    if job.data == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@processor("crunch", "sleep", execution="process", timeout_seconds=2)
def sleep_too_long(job: Job) -> None:
    note(f"sleeps in {os.getpid()}")
    if job.data:
        with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as grandchild:
            note(f"grandchild {grandchild.pid}")
            grandchild.wait()
    time.sleep(60)


@processor("crunch", "long", execution="process")
def run_long(job: Job) -> int:
    note(f"runs in {os.getpid()}")
    time.sleep(job.data / 1000)
    return os.getpid()


@processor("crunch", "held", execution="process")
def wait_for_a_file() -> int:
    """Until the file `go` lies beside the notes."""
    note(f"is held in {os.getpid()}")
    while not Path(os.environ["CRUNCH_NOTES"]).with_name("go").exists():
        time.sleep(0.02)
    return os.getpid()


@processor("crunch", "hold", execution="process")
def hold_the_interpreter() -> None:
    note(f"holds in {os.getpid()}")
    # PyDLL keeps the GIL: no other thread of the child runs until this returns.
    ctypes.PyDLL(None).sleep(60)
