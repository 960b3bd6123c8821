"""The main job, from the burst to the summary."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from examples.demo import evidence
from examples.demo.documents import prices
from examples.demo.ledger import Summary, judge
from examples.demo.load import SEED, Planned, plan
from examples.demo.manifests import JsonObject, queueworkers, secrets
from examples.demo.stage import local_operator
from examples.demo.view import Row, View, open_view
from rich.console import Console

from queueworker import Queue
from queueworker.connection import connect
from queueworker.embedded import embedded_redis
from queueworker.settings import ConnectionSettings
from queueworker.snapshot import QueueSnapshot
from queueworker_operator.cluster.local import LocalCluster
from queueworker_operator.cluster.port import Key
from queueworker_processors import migrate, storage
from queueworker_processors.embedded import embedded_postgres

TICK_SECONDS = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """What is running, and what was seen of it."""

    queues: Mapping[Key, Queue]
    cluster: LocalCluster
    peaks: dict[Key, int] = field(default_factory=dict)

    async def rows(self) -> list[Row]:
        """Look at every QueueWorker and its queue."""
        snapshots = await asyncio.gather(*(queue.stats() for queue in self.queues.values()))
        return [self._row(key, snapshot) for key, snapshot in zip(self.queues, snapshots, strict=True)]

    def _row(self, key: Key, seen: QueueSnapshot) -> Row:
        workers = [worker for worker in self.cluster.workers(key) if not worker.stopping]
        self.peaks[key] = max(self.peaks.get(key, 0), len(workers))
        status = self.cluster.status(key)
        return Row(
            name=key.name,
            queue=f"{seen.prefix}:{seen.queue}",
            replicas=len(workers),
            ready=sum(worker.ready for worker in workers),
            backlog=seen.backlog,
            delayed=seen.delayed - seen.delayed_due,
            active=seen.active,
            done=seen.completed + seen.failed,
            oldest_seconds=seen.oldest_age_seconds,
            reason=str(status.scaling.reason) if status is not None and status.scaling is not None else "",
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
    """Run the main job with so many jobs; ends when all is done and no worker is left, or when the time is up."""
    began = time.monotonic()
    planned = list(plan(jobs))
    with embedded_redis() as redis, embedded_postgres() as database_url, log.open("w") as output:
        url = storage.database_url({storage.DATABASE_URL: database_url})
        await migrate.upgrade(url)
        async with AsyncExitStack() as stack:
            engine = storage.create_engine(url, size=2)
            stack.push_async_callback(engine.dispose)
            await evidence.seed_prices(engine, prices(SEED))
            documents = queueworkers(redis)
            queues = await stack.enter_async_context(_open_queues(documents, redis))
            console.print(
                f"Valkey on {redis.address}, PostgreSQL with {len(prices(SEED))} prices; workers log to {log}"
            )
            view = stack.enter_context(open_view(console))

            def write(worker: str, line: str) -> None:
                output.write(f"{worker} | {line}\n")
                output.flush()

            async with local_operator(documents, secrets(database_url), log=write) as cluster:
                show = Show(queues=queues, cluster=cluster)
                await _put_in(planned, list(queues.values()))
                at_zero = await _watch(show, view, jobs=jobs, began=began, seconds=seconds)
            client = connect(redis)
            stack.push_async_callback(client.aclose)
            records = await evidence.job_records(client, [queue.keys for queue in queues.values()])
            stored = await evidence.stored_kills(engine)
    return Outcome(
        summary=judge([one.entry for one in planned], records, stored),
        at_zero=at_zero,
        peaks={key.name: most for key, most in show.peaks.items()},
        seconds=time.monotonic() - began,
    )


@asynccontextmanager
async def _open_queues(documents: Sequence[JsonObject], redis: ConnectionSettings) -> AsyncIterator[dict[Key, Queue]]:
    async with AsyncExitStack() as stack:
        queues = {}
        for document in documents:
            spec = document["spec"]
            queue = Queue(spec["queues"][0]["name"], redis, prefix=spec.get("prefix", "bull"))
            queues[Key("default", document["metadata"]["name"])] = await stack.enter_async_context(queue)
        yield queues


async def _put_in(planned: Sequence[Planned], queues: Sequence[Queue]) -> None:
    for queue in queues:
        await queue.enqueue_many(one.job for one in planned if one.prefix == queue.prefix)


async def _watch(show: Show, view: View, *, jobs: int, began: float, seconds: float) -> bool:
    """Show what is until all jobs are done and all workers ended; return whether that was in time."""
    while (now := time.monotonic() - began) < seconds:
        rows = await show.rows()
        view.show(rows, seconds=now)
        if sum(row.done for row in rows) >= jobs and not any(show.cluster.workers(key) for key in show.queues):
            return True
        await asyncio.sleep(TICK_SECONDS)
    return False
