"""What BullMQ documents of workers, rate limits, metrics and events, as ours do it.

Locks, graceful end and hostile processors: `test_worker_giveback`, `test_worker_process`; stalled jobs:
`test_conformance_stalled`; the limiter's exactness: `test_defects_waiting`.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable
from typing import Any

import bullmq
import pytest
from redis.asyncio import Redis
from stalls import Stalls
from worker_support import Recorder, eventually, working

from queueworker import Job as NewJob
from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.engine.options import Keep, Limiter
from queueworker_worker.job import Job


async def ended(queue: Queue, **counts: int) -> bool:
    return await queue.counts(*counts) == counts


class Concurrent:
    """Holds its jobs until told, and counts how many run at a time."""

    def __init__(self) -> None:
        self.running = self.most = self.done = 0
        self.go_on = asyncio.Event()

    async def __call__(self, _: Job) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.go_on.wait()
        finally:
            self.running -= 1
        self.done += 1


async def test_concurrency_is_how_many_jobs_one_worker_runs_at_a_time(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    held = Concurrent()
    await queue.enqueue_many(NewJob.create("any", n) for n in range(10))
    async with working(held, redis_settings, concurrency=4):
        await eventually(lambda: held.running == 4)
        await asyncio.sleep(0.2)
        assert await queue.counts("active", "prioritized") == {"active": 4, "prioritized": 6}
        held.go_on.set()
        await eventually(lambda: held.done == 10)
    assert held.most == 4


async def test_concurrency_changes_while_the_worker_runs(redis_settings: ConnectionSettings, queue: Queue) -> None:
    held = Concurrent()
    await queue.enqueue_many(NewJob.create("any", n) for n in range(12))
    async with working(held, redis_settings, concurrency=2) as worker:
        await eventually(lambda: held.running == 2)
        worker.concurrency = 5
        await eventually(lambda: held.running == 5)
        worker.concurrency = 1
        await asyncio.sleep(0.1)
        assert held.running == 5, "what runs is not touched"
        held.go_on.set()
        await eventually(lambda: held.running <= 1)
        held.most = 0
        await eventually(lambda: held.done == 12)
    assert held.most <= 1


async def test_two_workers_of_a_queue_share_its_jobs(redis_settings: ConnectionSettings, queue: Queue) -> None:
    one, two, both = Recorder(), Recorder(), asyncio.Barrier(2)

    def until_both_have_one(recorder: Recorder) -> Callable[[Job], Awaitable[Any]]:
        async def work(job: Job) -> None:
            if not recorder.ran:
                await both.wait()
            await recorder(job)

        return work

    async with (
        working(until_both_have_one(one), redis_settings, name="one"),
        working(until_both_have_one(two), redis_settings, name="two"),
    ):
        await queue.enqueue_many(NewJob.create("any", n) for n in range(30))
        await eventually(lambda: len(one.ran) + len(two.ran) == 30)
    assert sorted(one.ran + two.ran) == list(range(30))
    assert one.ran
    assert two.ran


async def test_global_concurrency_changes_while_workers_run(redis_settings: ConnectionSettings, queue: Queue) -> None:
    held = Concurrent()
    await queue.set_global_concurrency(1)
    await queue.enqueue_many(NewJob.create("any", n) for n in range(8))
    async with working(held, redis_settings, concurrency=6):
        await eventually(lambda: held.running == 1)
        await asyncio.sleep(0.2)
        assert held.running == 1
        await queue.remove_global_concurrency()
        # The next look may be the one after the marker's wait.
        await eventually(lambda: held.running == 6)
        held.go_on.set()
        await eventually(lambda: held.done == 8)


async def test_a_paused_worker_takes_no_more_jobs_and_others_go_on(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    one, two = Recorder(0.05), Recorder()
    async with working(one, redis_settings, name="one") as worker:
        await queue.enqueue("any", "running")
        await eventually(lambda: one.ran)
        worker.pause()
        await eventually(lambda: ended(queue, completed=1))
        async with working(two, redis_settings, name="two"):
            await queue.enqueue_many(NewJob.create("any", n) for n in range(5))
            await eventually(lambda: len(two.ran) == 5)
        await queue.enqueue("any", "after")
        await asyncio.sleep(0.3)
        assert one.ran == ["running"]
        worker.resume()
        await eventually(lambda: one.ran == ["running", "after"])


async def test_a_paused_queue_lets_running_jobs_end_and_takes_new_jobs_in(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    held = Concurrent()
    async with working(held, redis_settings, concurrency=2):
        await queue.enqueue("any")
        await eventually(lambda: held.running == 1)
        await queue.pause()
        for delay in (0, 50):
            await queue.enqueue("any", delay=delay)
        held.go_on.set()
        await eventually(lambda: ended(queue, completed=1))
        await asyncio.sleep(0.3)
        assert held.done == 1
        await queue.resume()
        await eventually(lambda: ended(queue, completed=3))


async def test_a_pause_survives_its_workers(redis_settings: ConnectionSettings, queue: Queue) -> None:
    await queue.pause()
    await queue.enqueue("any", 1)
    recorder = Recorder()
    for name in ("one", "two"):
        async with working(recorder, redis_settings, name=name) as worker:
            await eventually(lambda: worker.ready)
            await asyncio.sleep(0.2)
    assert recorder.ran == []
    assert await queue.is_paused()


@pytest.mark.timing
async def test_limiter_counts_over_all_workers_of_the_queue(
    redis_settings: ConnectionSettings, queue: Queue, stalls: Stalls
) -> None:
    """The limiter is global for the queue: two workers do not double the rate."""
    one, two = Recorder(), Recorder()
    await queue.enqueue_many(NewJob.create("any", n) for n in range(16))
    limiter = Limiter(max=4, duration_ms=300)
    began = time.monotonic()
    async with (
        working(one, redis_settings, name="one", limiter=limiter, concurrency=3),
        working(two, redis_settings, name="two", limiter=limiter, concurrency=3),
    ):
        await eventually(lambda: len(one.ran) + len(two.ran) == 16)
    assert 0.85 <= time.monotonic() - began < 2.5 + stalls.since(began)


async def test_rate_limited_jobs_stay_waiting(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    await queue.enqueue_many(NewJob.create("any", n) for n in range(5))
    async with working(recorder, redis_settings, limiter=Limiter(max=2, duration_ms=60_000), concurrency=5):
        await eventually(lambda: len(recorder.ran) == 2)
        await asyncio.sleep(0.3)
        assert await queue.counts("active", "prioritized", "delayed") == {"active": 0, "prioritized": 3, "delayed": 0}
        assert recorder.ran == [0, 1]


async def test_removing_the_rate_limit_lets_the_jobs_go(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    await queue.rate_limit(60_000)
    await queue.enqueue("any", 1)
    limiter = Limiter(max=10, duration_ms=1_000)
    async with working(recorder, redis_settings, limiter=limiter, drain_delay_seconds=0.3):
        await asyncio.sleep(0.5)
        assert recorder.ran == []
        assert await queue.remove_rate_limit()
        await eventually(lambda: recorder.ran)


async def test_all_jobs_of_a_worker_are_cancelled_at_once(redis_settings: ConnectionSettings, queue: Queue) -> None:
    held, other = Concurrent(), Concurrent()
    async with working(held, redis_settings, name="one", concurrency=3) as worker:
        await queue.enqueue_many(NewJob.create("any", attempts=1) for _ in range(3))
        await eventually(lambda: held.running == 3)
        async with working(other, redis_settings, name="two"):
            await queue.enqueue("any", attempts=1)
            await eventually(lambda: other.running == 1)
            assert worker.cancel_all_jobs("maintenance") == 3
            await eventually(lambda: ended(queue, failed=3))
            assert other.running == 1
            other.go_on.set()
            await eventually(lambda: ended(queue, completed=1))
    assert {job.failed_reason for job in await queue.jobs("failed")} == {"maintenance"}


async def test_auto_removal_by_the_workers_own_policy(redis_settings: ConnectionSettings, client: Redis) -> None:
    """For jobs of producers that say nothing themselves, as BullMQ's own do."""

    async def half(job: Job) -> None:
        if job.name == "fails":
            raise ValueError("no")

    producer = bullmq.Queue("q", {"connection": client})
    for name in ("works", "fails"):
        for n in range(6):
            await producer.add(name, n, {})
    policies = {"remove_on_complete": Keep(count=2, age=3600), "remove_on_fail": Keep(count=4, age=3600)}
    async with working(half, redis_settings, **policies):
        await eventually(lambda: _is_idle(client))
    assert (await client.zcard("bull:q:completed"), await client.zcard("bull:q:failed")) == (2, 4)
    left = [key for key in await client.keys("bull:q:*") if key.rpartition(":")[2].isdigit()]
    assert len(left) == 6, "removed jobs leave no hash"


async def test_jobs_are_removed_by_age_when_another_one_ends(redis_settings: ConnectionSettings, queue: Queue) -> None:
    recorder = Recorder()
    async with working(recorder, redis_settings):
        # Only the first by its own policy: one that ends later than a second after another one would remove that.
        for age in (1, 3600, 3600):
            await queue.enqueue("old", remove_on_complete={"age": age})
        await eventually(lambda: ended(queue, completed=3))
        await asyncio.sleep(2.1)
        assert await ended(queue, completed=3), "nothing is removed before the next job ends"
        await queue.enqueue("new", remove_on_complete={"age": 1})
        await eventually(lambda: ended(queue, completed=1, active=0, prioritized=0))
    assert [job.name for job in await queue.jobs("completed")] == ["new"]


async def test_listeners_hear_the_life_of_jobs(redis_settings: ConnectionSettings, queue: Queue) -> None:
    heard: list[tuple[Any, ...]] = []

    async def work(job: Job) -> str:
        if job.name == "fails":
            raise ValueError("no")
        await job.update_progress(50)
        return "result"

    async def slowly(job: Job, result: Any) -> None:
        await asyncio.sleep(0)
        heard.append(("completed", job.name, result))

    async with working(work, redis_settings) as worker:
        worker.on("active", lambda job: heard.append(("active", job.name)))
        worker.on("completed", slowly)
        worker.on("failed", lambda job, error: heard.append(("failed", job.name, str(error))))
        worker.on("progress", lambda job_id, progress: heard.append(("progress", progress)))
        worker.on("drained", lambda: heard.append(("drained",)))
        await queue.enqueue("works")
        await eventually(lambda: ("completed", "works", "result") in heard)
        await queue.enqueue("fails", attempts=1)
        await eventually(lambda: ("failed", "fails", "no") in heard and heard[-1] == ("drained",))
    told = [event for event in heard if event != ("drained",)]
    assert told == [
        ("active", "works"),
        ("progress", 50),
        ("completed", "works", "result"),
        ("active", "fails"),
        ("failed", "fails", "no"),
    ]
    assert ("drained",) in heard


async def test_metrics_count_every_job_that_ended(redis_settings: ConnectionSettings, queue: Queue) -> None:
    async def half(job: Job) -> None:
        if job.name == "fails":
            raise ValueError("no")

    async with working(half, redis_settings):
        for name in ("works", "works", "fails"):
            await queue.enqueue(name, attempts=2, backoff=0, remove_on_complete=True)
        await eventually(lambda: ended(queue, failed=1, active=0, prioritized=0))
    completed, failed = await queue.metrics("completed"), await queue.metrics("failed")
    assert (completed.total, failed.total) == (2, 1), "an attempt that is tried again is no failure"


async def test_a_worker_that_is_told_so_keeps_no_metrics(redis_settings: ConnectionSettings, queue: Queue) -> None:
    async with working(Recorder(), redis_settings, max_data_points=0):
        await queue.enqueue("any")
        await eventually(lambda: ended(queue, completed=1))
    assert (await queue.metrics("completed")).total is None


async def test_jobs_carry_when_they_were_added_taken_and_ended(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    async with working(Recorder(0.05), redis_settings, name="pod-1"):
        before = int(time.time() * 1000)
        added = await queue.enqueue("any")
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    times = [before, job.timestamp, job.processed_on, job.finished_on, math.ceil(time.time() * 1000)]
    assert all(one is not None and then is not None and one <= then for one, then in itertools.pairwise(times)), times
    assert (job.finished_on or 0) - (job.processed_on or 0) >= 49
    assert (job.processed_by, job.attempts_started, job.attempts_made) == ("pod-1", 1, 1)


async def _is_idle(client: Redis) -> bool:
    return not (await client.llen("bull:q:wait") or await client.llen("bull:q:active"))
