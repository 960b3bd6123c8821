"""A ledger in files: what really ran, and when, told by worker processes that may be killed at any moment.

Each process appends one line to a file of its own at the start and at the end of every attempt. A line is one `write`,
so that it outlives the SIGKILL of its writer, and no server under test is asked to remember it. Times are those of the
host's monotonic clock, which all processes of a host share.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel

from queueworker_worker.context import Depends
from queueworker_worker.job import Job
from queueworker_worker.processor import processor

DIRECTORY = "LEDGER_DIRECTORY"
QUEUES = ("orders", "mails", "reports")
_BYTES_OF_A_RUN = len("start orders-01234 0 12345678901234\nend orders-01234 0 12345678901234\n")


class Work(BaseModel):
    key: str
    milliseconds: int = 0
    failures: int = 0
    """How many attempts fail before one succeeds."""


class Writer:
    """The file of one process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, key: str, attempt: int) -> None:
        os.write(self._file, f"{kind} {key} {attempt} {time.monotonic_ns()}\n".encode())

    def close(self) -> None:
        os.close(self._file)


@asynccontextmanager
async def open_ledger() -> AsyncIterator[Writer]:
    writer = Writer(Path(os.environ[DIRECTORY]) / os.environ["QUEUEWORKER_NAME"])
    yield writer
    writer.close()


@processor("orders")
@processor("mails")
@processor("reports")
async def work(payload: Work, job: Job, ledger: Annotated[Writer, Depends(open_ledger)]) -> str:
    ledger.write("start", payload.key, job.attempts_made)
    await asyncio.sleep(payload.milliseconds / 1000)
    ledger.write("end", payload.key, job.attempts_made)
    if job.attempts_made < payload.failures:
        raise RuntimeError("this attempt was told to fail")
    return payload.key


@dataclass(frozen=True, slots=True)
class Run:
    """One start of one attempt; times in seconds, `end` is None where the processor did not come to its end."""

    key: str
    attempt: int
    worker: str
    start: float
    end: float | None


@dataclass(frozen=True, slots=True)
class Fault:
    """What was done, to which workers (None: all), and from when to when."""

    kind: str
    begin: float
    end: float
    workers: frozenset[str] | None = None
    excuses: bool = True
    """Jobs that run during it may run again."""
    holds_up: bool = False
    """A worker may have taken a job before it and begin it only now, when another one has run it."""

    def hits(self, run: Run, *, recording_seconds: float) -> bool:
        """Tell whether the run may have been under way, its end not yet recorded."""
        if not self.excuses or (self.workers is not None and run.worker not in self.workers):
            return False
        return run.start <= self.end and (run.end is None or run.end + recording_seconds >= self.begin)

    def held_up(self, run: Run, *, recording_seconds: float) -> bool:
        """Tell whether the run may have been begun so late because of it."""
        here = self.holds_up and self.workers is not None and run.worker in self.workers
        return here and self.begin <= run.start <= self.end + recording_seconds


def read_runs(directory: Path) -> list[Run]:
    """Return all runs that the files of a directory tell of, in the order of their starts."""
    runs: list[Run] = []
    for path in directory.iterdir():
        starts: dict[tuple[str, int], float] = {}
        for line in path.read_text().splitlines():
            kind, key, attempt, nanoseconds = line.split(" ")
            what, at = (key, int(attempt)), int(nanoseconds) / 1e9
            if kind == "start":
                if what in starts:
                    # Begun again by the same worker, the first time did not come to its end.
                    runs.append(Run(*what, path.name, starts[what], None))
                starts[what] = at
            else:
                runs.append(Run(*what, path.name, starts.pop(what), at))
        runs += [Run(*what, path.name, at, None) for what, at in starts.items()]
    return sorted(runs, key=lambda run: run.start)


def runs_in(directory: Path) -> int:
    """Return about how many runs have ended so far; cheap, and no server needs to be up for it."""
    return sum(path.stat().st_size for path in directory.iterdir()) // _BYTES_OF_A_RUN


def wrongs(
    jobs: Mapping[str, int], runs: Iterable[Run], faults: Sequence[Fault] = (), *, recording_seconds: float = 1.0
) -> list[str]:
    """Return what must not be, a line for each: attempts that never ended, and second runs that no fault explains.

    `jobs` are the keys and how many attempts of each were told to fail.
    """
    by_attempt: defaultdict[tuple[str, int], list[Run]] = defaultdict(list)
    for run in runs:
        by_attempt[run.key, run.attempt].append(run)
    found = []
    for key, failures in jobs.items():
        for attempt in range(failures + 1):
            told = by_attempt.pop((key, attempt), [])
            if not any(run.end is not None for run in told):
                found.append(f"lost: {key} attempt {attempt}: {told or 'never started'}")
            for run, following in itertools.pairwise(told):
                if not any(
                    fault.hits(run, recording_seconds=recording_seconds)
                    or fault.held_up(following, recording_seconds=recording_seconds)
                    for fault in faults
                ):
                    found.append(f"twice without a fault: {run} and again {following}")
    return found + [f"not wanted: {runs}" for runs in by_attempt.values()]
