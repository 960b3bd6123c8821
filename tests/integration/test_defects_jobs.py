"""Defects of BullMQ's Python package around the jobs themselves: their ids, their ends, their events, their retries."""

from __future__ import annotations

import asyncio
from typing import Any

import bullmq
import pytest
import redis.asyncio
from stockworker import StockWorker, pooled, stock_working
from worker_support import Recorder, eventually, working

from queueworker.errors import InvalidJobError
from queueworker.eventrecords import QueueEvent
from queueworker.keys import PRIORITY_SHIFT, QueueKeys
from queueworker.queue import Queue
from queueworker.settings import ConnectionSettings

KEYS = QueueKeys("bull", "q")


async def test_d2_no_event_is_lost_over_quiet_times_and_broken_connections(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis
) -> None:
    """D2: events that come while the reader pauses after a time-out are lost, and a lost connection is its end."""
    seen: list[str | None] = []

    async def read(queue: Queue) -> None:
        async for event in queue.events(block_seconds=0.2):
            seen.extend([event.job_id] if isinstance(event, QueueEvent) and event.name == "added" else [])

    async with Queue("q", redis_settings) as queue:
        await queue.enqueue("any", job_id="before")
        reading = asyncio.create_task(read(queue))
        await eventually(lambda: _blocked(client))
        for number in range(20):
            # Some in a quiet stream, some right after the connection broke.
            if number % 4 == 3:
                await client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            await queue.enqueue("any", job_id=f"job-{number}")
            await asyncio.sleep(0.3 if number % 10 == 9 else 0.02)
        await eventually(lambda: len(seen) >= 20)
        assert not reading.done()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
    assert seen == [f"job-{number}" for number in range(20)]


async def _blocked(client: redis.asyncio.Redis) -> bool:
    return any(one["cmd"] == "xread" for one in await client.client_list())


async def _not_blocked(client: redis.asyncio.Redis) -> bool:
    return not await _blocked(client)


async def test_d2_events_are_lost_on_stock(
    redis_settings: ConnectionSettings, client: redis.asyncio.Redis, stock_queue: bullmq.Queue
) -> None:
    """In small: blocks of 1 s on a connection that times out after 0.2 s, then sleeps for 2 s: an event gets lost."""
    seen: list[str] = []
    before = asyncio.all_tasks()
    connection = {"host": redis_settings.host, "port": redis_settings.port, "socket_timeout": 0.2}
    events = bullmq.QueueEvents("q", {"connection": connection, "blockingTimeout": 1_000})
    events.on("added", lambda one, *_: seen.append(one["jobId"]))
    try:
        await eventually(lambda: _blocked(client))
        # It sleeps as soon as it reads no more: after the first time-out for 2 s, afterwards longer.
        await eventually(lambda: _not_blocked(client))
        await stock_queue.add("any", {}, {"jobId": "unheard"})
        # And reads on behind the event.
        await eventually(lambda: _blocked(client))
        await asyncio.sleep(0.5)
        assert seen == []
    finally:
        for task in asyncio.all_tasks() - before:
            task.cancel()
        await asyncio.sleep(0.1)
        await events.client.aclose()


async def test_d11_second_death_fails_the_job_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D11: a job whose worker died twice is failed for good, whatever attempts it has left."""
    started: list[str] = []

    async def work(job: Any, token: str) -> None:
        started.append(job.id)
        await asyncio.sleep(30)

    job = await stock_queue.add("any", {}, {"attempts": 5})
    # Locks that outlast whatever a machine keeps a worker from, so that only the dead lose theirs.
    short: dict[str, Any] = {"lockDuration": 60_000, "stalledInterval": 200, "drainDelay": 1}
    last: StockWorker
    for deaths in range(2):
        async with stock_working(work, redis_settings, **short) as dying:
            await eventually(lambda deaths=deaths: len(started) == deaths + 1)
            await dying.die()
        # As its time does.
        assert await client.delete(KEYS.lock(job.id)) == 1
    async with stock_working(work, redis_settings, **short) as last:
        await eventually(lambda: last.failed == [job.id])
    fields = await client.hgetall(KEYS.job(job.id))
    assert (fields["failedReason"], fields["stc"]) == ("job stalled more than allowable limit", "2")
    assert len(started) == 2


async def test_d12_ids_that_would_be_dropped_are_refused(redis_settings: ConnectionSettings) -> None:
    """D12: a job whose id starts with `0:` is taken for a marker of old versions and thrown away."""
    async with Queue("q", redis_settings) as queue:
        with pytest.raises(InvalidJobError, match="must not be '0' or start with '0:'"):
            await queue.enqueue("any", {}, job_id="0:1")


async def test_d12_job_is_dropped_on_stock(stock_queue: bullmq.Queue, client: redis.asyncio.Redis) -> None:
    """Counting the jobs removes it."""
    for job_id in ("0:1", "other"):
        await stock_queue.add("any", {}, {"jobId": job_id})
    assert await client.lrange(KEYS.of("wait"), 0, -1) == ["other", "0:1"]
    await stock_queue.getJobCounts("waiting")
    assert await client.lrange(KEYS.of("wait"), 0, -1) == ["other"]


async def _failed_with_priority(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> str:
    async def fail(job: Any) -> None:
        raise ValueError("once")

    job = await stock_queue.add("any", {}, {"priority": 7})
    async with working(fail, redis_settings):
        await eventually(lambda: client.zscore(KEYS.of("failed"), job.id))
    return str(job.id)


async def test_d18_retry_keeps_the_priority(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D18: `retryJobs` puts everything before all jobs that have a priority."""
    job_id = await _failed_with_priority(redis_settings, stock_queue, client)
    async with Queue("q", redis_settings) as ours:
        change = await ours.retry()
    assert change.done == 1
    assert int(await client.zscore(KEYS.of("prioritized"), job_id) or 0) // PRIORITY_SHIFT == 7


async def test_d18_retry_loses_the_priority_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """And `clean` takes `waiting`, the name that the counts use, for a state without jobs."""
    job_id = await _failed_with_priority(redis_settings, stock_queue, client)
    await stock_queue.retryJobs({})
    assert await client.lrange(KEYS.of("wait"), 0, -1) == [job_id]
    assert await stock_queue.clean(0, 10, "waiting") == []
    assert await client.lrange(KEYS.of("wait"), 0, -1) == [job_id]


async def test_d19_finished_jobs_are_kept_within_bounds(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """D19: where neither the job nor the worker says otherwise, finished jobs are kept for ever."""
    await stock_queue.addBulk([{"name": "any", "data": {}, "opts": {}} for _ in range(1_100)])
    async with working(Recorder(), redis_settings, concurrency=20) as worker:
        await eventually(lambda: worker.jobs_done == 1_100)
    assert await client.zcard(KEYS.of("completed")) == 1_000


async def test_d19_finished_jobs_are_kept_for_ever_on_stock(
    redis_settings: ConnectionSettings, stock_queue: bullmq.Queue, client: redis.asyncio.Redis
) -> None:
    """All of them; nothing was asked for."""

    async def work(job: Any, token: str) -> None: ...

    await stock_queue.addBulk([{"name": "any", "data": {}, "opts": {}} for _ in range(1_100)])
    async with stock_working(work, redis_settings, connection=pooled(redis_settings), concurrency=20) as stock:
        await eventually(lambda: len(stock.completed) == 1_100)
    assert await client.zcard(KEYS.of("completed")) == 1_100
