"""Stalled jobs and cancelled ones, as BullMQ's documentation has them."""

from __future__ import annotations

import asyncio

from redis.asyncio import Redis
from worker_support import Recorder, eventually, working

from queueworker import Queue
from queueworker.settings import ConnectionSettings
from queueworker_worker.errors import JobCancelledError
from queueworker_worker.job import Job


async def ended(queue: Queue, **counts: int) -> bool:
    return await queue.counts(*counts) == counts


async def test_a_cancelled_job_fails_with_the_reason_and_is_tried_again(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    runs: list[str | None] = []

    async def work(job: Job) -> str:
        runs.append(None)
        try:
            await asyncio.sleep(60 if len(runs) == 1 else 0)
        finally:
            runs[-1] = job.cancel_reason
        return "done"

    failures: list[BaseException] = []
    async with working(work, redis_settings) as worker:
        worker.on("failed", lambda job, error: failures.append(error))
        added = await queue.enqueue("any", attempts=2, backoff=0)
        await eventually(lambda: runs)
        assert not worker.cancel_job("another", "why")
        assert worker.cancel_job(added.id, "the fleet was recalled")
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert runs == ["the fleet was recalled", None]
    assert (job.attempts_made, job.failed_reason) == (2, "the fleet was recalled")
    assert [type(error) for error in failures] == [JobCancelledError]


async def test_a_cancelled_processor_may_clean_up_and_decide_itself(
    redis_settings: ConnectionSettings, queue: Queue
) -> None:
    started = asyncio.Event()

    async def work(_: Job) -> str:
        try:
            started.set()
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "half of it"
        return "all of it"

    async with working(work, redis_settings) as worker:
        added = await queue.enqueue("any", attempts=1)
        await asyncio.wait_for(started.wait(), 30)
        worker.cancel_job(added.id, "enough")
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert job.return_value == "half of it"


async def test_a_job_that_stalls_too_often_fails(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    """The process died on it again and again: it fails with BullMQ's own reason, and is not run any more."""
    recorder, stalled = Recorder(), []
    added = await queue.enqueue("any", 1)
    await _abandon(client, added.id, stalls=1)
    async with working(recorder, redis_settings, max_stalled_count=1) as worker:
        worker.on("stalled", stalled.append)
        await eventually(lambda: ended(queue, failed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert job.failed_reason == "job stalled more than allowable limit"
    assert recorder.ran == []


async def test_a_stalled_job_goes_back_to_wait_and_the_worker_tells(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    recorder, stalled = Recorder(), []
    added = await queue.enqueue("any", 1, priority=7)
    await _abandon(client, added.id, stalls=0)
    async with working(recorder, redis_settings) as worker:
        worker.on("stalled", stalled.append)
        await eventually(lambda: ended(queue, completed=1))
    job = await queue.job(added.id)
    assert job is not None
    assert (recorder.ran, stalled, job.stalled_count) == ([1], [added.id], 1)


async def test_a_worker_that_skips_the_stalled_check_leaves_them_to_others(
    redis_settings: ConnectionSettings, queue: Queue, client: Redis
) -> None:
    recorder = Recorder()
    added = await queue.enqueue("any", 1)
    await _abandon(client, added.id, stalls=0)
    async with working(recorder, redis_settings, skip_stalled_check=True, name="one") as worker:
        await eventually(lambda: worker.ready)
        await asyncio.sleep(1.0)
        assert recorder.ran == []
        async with working(recorder, redis_settings, name="two"):
            await eventually(lambda: ended(queue, completed=1))


async def _abandon(client: Redis, job_id: str, *, stalls: int) -> None:
    """Leave a job as a worker does that dies with it: active, with no lock, in the set of the last stalled check."""
    await client.zrem("bull:q:prioritized", job_id)
    await client.lpush("bull:q:active", job_id)
    await client.sadd("bull:q:stalled", job_id)
    await client.hset(f"bull:q:{job_id}", "ats", "1")
    if stalls:
        await client.hset(f"bull:q:{job_id}", "stc", str(stalls))
