"""The main job, from the burst to the summary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

from examples.demo import evidence
from examples.demo.documents import prices
from examples.demo.ledger import Summary, judge
from examples.demo.load import SEED, plan
from examples.demo.manifests import documents
from examples.demo.view import Line, View, open_view
from rich.console import Console
from sqlalchemy.ext.asyncio import AsyncEngine

from queueworker import Queue
from queueworker.embedded import embedded_redis
from queueworker.settings import ConnectionSettings
from queueworker_operator.cluster.port import Key, Resource
from queueworker_operator.runtime import LocalRuntime, Row, RuntimeSettings
from queueworker_processors import migrate, storage
from queueworker_processors.embedded import embedded_postgres
from queueworker_processors.killboard.killmail import QUEUE

TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What is running, and what was seen of it."""

    queues: Mapping[Key, Queue]
    runtime: LocalRuntime
    peaks: dict[str, int] = field(default_factory=dict)

    async def lines(self) -> list[Line]:
        """Look at every QueueWorker and its queue."""
        return [await self._line(row) for row in self.runtime.rows()]

    async def _line(self, row: Row) -> Line:
        # The operator reads a quiet queue every few seconds only; here it is read each time.
        seen = await self.queues[row.key].stats()
        name = row.key.name
        self.peaks[name] = max(self.peaks.get(name, 0), row.replicas)
        return Line(
            name=name,
            queue=seen.queue,
            replicas=row.replicas,
            ready=row.ready,
            ending=row.ending,
            backlog=seen.backlog,
            active=seen.active,
            later=seen.delayed - seen.delayed_due,
            done=seen.completed + seen.failed,
            oldest_seconds=seen.oldest_age_seconds,
            reason=row.problem or row.reason,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How the show ended."""

    summary: Summary
    at_zero: bool
    """All workers ended before the time was up."""
    peaks: Mapping[str, int]
    """The most workers at a time, by QueueWorker."""
    seconds: float

    @property
    def right(self) -> bool:
        """Whether every number is right."""
        return self.summary.right and self.at_zero

    def lines(self) -> list[str]:
        """Return the outcome for people."""
        peaks = ", ".join(f"{name} {most}" for name, most in self.peaks.items())
        end = "0 at the end" if self.at_zero else "some are still there"
        return [*self.summary.lines(), f"workers        at most {peaks}; {end}", f"time           {self.seconds:.0f} s"]


async def run(*, jobs: int, seconds: float, log: Path, console: Console) -> Outcome:
    """Run the main job with so many jobs; it ends when all is done and no worker is left, or when the time is up."""
    began = time.monotonic()
    planned = list(plan(jobs))
    with embedded_redis() as redis, embedded_postgres() as database_url, log.open("w") as output:
        console.print(f"Valkey on {redis.address}, PostgreSQL on a socket; the workers' logs: {log}", soft_wrap=True)
        async with _database(database_url) as engine, AsyncExitStack() as stack:
            found = documents(redis, database_url)
            queues = {one.key: await stack.enter_async_context(_queue(one, redis)) for one in found.resources}
            async with LocalRuntime(found, RuntimeSettings(log=_writer(output))) as runtime:
                show = Show(queues=queues, runtime=runtime)
                for queue in queues.values():
                    await queue.enqueue_many(one.job for one in planned if one.prefix == queue.prefix)
                with open_view(console) as view:
                    at_zero = await _watch(show, view, jobs=jobs, began=began, seconds=seconds)
            records = await evidence.job_records(redis, QUEUE, [one.entry.key for one in planned])
            stored = await evidence.stored_kills(engine)
    return Outcome(
        summary=judge([one.entry for one in planned], records, stored),
        at_zero=at_zero,
        peaks=show.peaks,
        seconds=time.monotonic() - began,
    )


@asynccontextmanager
async def _database(text: str) -> AsyncIterator[AsyncEngine]:
    """Make the tables, put the prices in, and yield the engine."""
    url = storage.database_url({storage.DATABASE_URL: text})
    await migrate.upgrade(url)
    engine = storage.create_engine(url, size=2)
    try:
        await evidence.seed_prices(engine, prices(SEED))
        yield engine
    finally:
        await engine.dispose()


def _queue(resource: Resource, redis: ConnectionSettings) -> Queue:
    if resource.spec is None:
        raise ValueError(f"{resource.key}: {resource.spec_error}")
    return Queue(resource.spec.queues[0].name, redis, prefix=resource.spec.prefix)


def _writer(output: TextIO) -> Callable[[str, str], None]:
    def write(worker: str, line: str) -> None:
        output.write(f"{worker} | {line}\n")
        output.flush()

    return write


async def _watch(show: Show, view: View, *, jobs: int, began: float, seconds: float) -> bool:
    """Show what is until all jobs are done and all workers ended; return whether that was in time."""
    while (now := time.monotonic() - began) < seconds:
        lines = await show.lines()
        view.show(lines, seconds=now)
        if sum(line.done for line in lines) >= jobs and not any(line.replicas or line.ending for line in lines):
            return True
        await asyncio.sleep(TICK_SECONDS)
    return False
